//! Events, snapshots and statuses as text: log lines, tables, JSON, plugin output, metrics, the status page. Nothing here
//! does I/O; `output` and `commands` do.

pub mod diagnosis;
pub mod escape;
mod evidence;
mod human_duration;
pub mod json;
mod message;
pub mod messages;
pub mod metrics;
pub mod nagios;
mod next_steps;
pub mod notices;
pub mod page;
pub mod parts;
mod priority;
pub mod progress;
mod rows;
#[cfg(test)]
pub(crate) mod samples;
mod severity;
mod snapshot;
pub mod status_line;
mod status_summary;
pub mod table;
pub mod timestamp;

pub use human_duration::HumanDuration;
pub use message::Message;
pub(crate) use message::event_cost;
pub use priority::Priority;
pub use severity::Severity;
pub use snapshot::Snapshot;
pub use status_summary::StatusSummary;

/// The name of this program in syslog and before messages of the command line.
pub const PROCESS_NAME: &str = "mount_status_monitor";
