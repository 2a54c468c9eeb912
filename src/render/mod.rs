//! Events, snapshots and statuses as text: log lines, tables, JSON, plugin output, metrics, the status page. Nothing here
//! does I/O; `output` and `commands` do.

pub mod diagnosis;
pub mod drill;
pub mod escape;
mod evidence;
mod human_duration;
pub mod journal;
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
pub(crate) mod remedy_messages;
pub mod remedy_plan;
pub mod remedy_progress;
pub(crate) mod remedy_state;
mod rows;
#[cfg(test)]
pub(crate) mod samples;
mod snapshot;
pub mod status_line;
mod status_summary;
mod surroundings;
pub mod table;
pub mod timestamp;

pub use human_duration::HumanDuration;
pub use message::Message;
pub(crate) use message::event_cost;
pub use next_steps::{dead_mounts_line, next_steps_line};
pub use priority::Priority;
pub use snapshot::{ConfigState, Snapshot};
pub use status_summary::StatusSummary;
pub use surroundings::Surroundings;

/// The name of this program in syslog and before messages of the command line.
pub const PROCESS_NAME: &str = "mount_status_monitor";
