//! Text for people and programs, made from events and snapshots: log lines, tables, JSON, plugin output, metrics.
//!
//! Nothing here writes anywhere; `output` does.

pub mod diagnosis;
pub mod document;
pub mod escape;
pub mod evidence;
mod evidence_json;
mod human_duration;
pub mod json;
mod json_values;
mod message;
pub mod messages;
pub mod metrics;
pub mod nagios;
pub mod next_steps;
pub mod notices;
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
pub mod terminal;
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
