//! The outputs: standard error, syslog, HTTP, push gateway, text file, hooks, Alertmanager. Each output has its own
//! bounded queue and thread, so that a blocked output delays no other. The event loop accesses all of them through
//! [`Outputs`].

pub mod alertmanager;
mod bad_mounts;
mod change_lines;
mod death_summary;
mod dispatcher;
mod drill;
mod event_clients;
mod event_log;
pub mod exporters;
pub mod hooks;
pub mod http;
pub mod http_client;
mod journal;
mod metrics;
mod outputs;
pub mod push;
mod ranked_queue;
mod reminder_lines;
mod reporter;
mod run_lines;
pub mod saved_state;
pub mod sink;
mod state;
pub mod stderr;
pub mod syslog;
pub mod textfile;
mod token_bucket;
mod worker_thread;

pub use ::syslog::Facility;
pub use dispatcher::Dispatcher;
pub use drill::{DRILL_INTERVAL, DRILL_TIMEOUT, Drill, Outcome as DrillOutcome};
pub use event_log::{EventLog, NumberedMessage};
pub use outputs::{Outputs, Report};
pub use reporter::{LogFn, ReportSettings, Reporter};
pub use run_lines::RunReports;
pub use sink::Sink;
pub use state::SharedState;
pub use stderr::LogFormat;
pub use syslog::SyslogTarget;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ignores poisoning: a thread that panics leaves these values consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
