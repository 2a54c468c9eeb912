//! Every sentence that an operator sees, and the sinks that carry it.
//!
//! [`lines`] and [`json`] say what happened; [`Reporter`] hands each message to its sinks and returns at once,
//! whatever hangs behind them. [`table`], [`nagios`] and [`progress`] show a whole [`Status`](crate::monitor::Status)
//! to somebody who asked for it.

pub mod document;
mod duration;
pub mod escape;
pub mod evidence;
mod evidence_json;
pub mod json;
pub mod lines;
mod message;
pub mod nagios;
pub mod notices;
mod priority;
pub mod progress;
mod rate;
#[cfg(test)]
mod samples;
pub mod sink;
pub mod stamp;
pub mod stderr;
pub mod syslog;
pub mod table;
pub mod terminal;
mod verdict;

pub use ::syslog::Facility;
pub use duration::Span;
pub use message::Message;
pub use priority::Priority;
pub use sink::Sink;
pub use stderr::LogFormat;
pub use syslog::SyslogTarget;
pub use verdict::Verdict;

use crate::monitor::Event;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The name in syslog and before messages of the command line.
pub const PROCESS_NAME: &str = "mount_status_monitor";

/// What syslog gets: all but [`Priority::Debug`].
const SYSLOG_LEVEL: Priority = Priority::Info;

/// Which sinks there are.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    /// The least pressing priority that standard error shows.
    pub log_level: Priority,
    /// How standard error looks.
    pub log_format: LogFormat,
    /// Where syslog is.
    pub syslog: SyslogTarget,
    /// The facility of syslog messages.
    pub syslog_facility: Facility,
}

impl Default for ReportSettings {
    fn default() -> ReportSettings {
        ReportSettings {
            log_level: Priority::Info,
            log_format: LogFormat::Text,
            syslog: SyslogTarget::Local,
            syslog_facility: Facility::LOG_DAEMON,
        }
    }
}

/// All sinks. None of its methods waits for one, except [`Reporter::close`] for as long as it is told to.
#[derive(Clone, Debug)]
pub struct Reporter {
    sinks: Vec<(Sink, Priority)>,
}

impl Reporter {
    /// Starts the sinks. Only a machine that cannot start a thread fails here; a sink that cannot be reached is told
    /// on the others and tried again.
    pub fn start(settings: &ReportSettings) -> io::Result<Reporter> {
        let stderr = Sink::start("stderr", stderr::Stderr::new(settings.log_format)?)?;
        let level = settings.log_level;
        let mut sinks = vec![(stderr.clone(), level)];
        if settings.syslog != SyslogTarget::Off {
            let others = Reporter::over(vec![(stderr, level)]);
            let tell = Box::new(move |priority, text: String| {
                drop(others.notice(SystemTime::now(), priority, &text));
            });
            let output = syslog::SyslogOutput::new(settings.syslog.clone(), settings.syslog_facility, tell);
            sinks.push((Sink::start("syslog", output)?, SYSLOG_LEVEL));
        }
        Ok(Reporter::over(sinks))
    }

    /// A reporter over these sinks, each with the least pressing priority that it gets.
    #[must_use]
    pub fn over(sinks: Vec<(Sink, Priority)>) -> Reporter {
        Reporter { sinks }
    }

    /// Tells an event, and returns what the sinks are told.
    pub fn tell(&self, time: SystemTime, event: &Event) -> Arc<Message> {
        let (priority, text) = lines::line(event);
        self.send(Message { time, priority, text, event: Some(event.clone()) })
    }

    /// Tells something about the daemon itself. Names in it must have been escaped; what else would break the line is
    /// escaped here.
    pub fn notice(&self, time: SystemTime, priority: Priority, text: &str) -> Arc<Message> {
        self.send(Message { time, priority, text: escape::one_line(text).into_owned(), event: None })
    }

    /// Lets the sinks write what they hold, all together for at most `patience`. Was all written? What blocks is left
    /// behind.
    pub fn close(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        for (sink, _) in &self.sinks {
            sink.finish();
        }
        let left = || end.saturating_duration_since(Instant::now());
        self.sinks.iter().filter(|(sink, _)| !sink.close(left())).count() == 0
    }

    /// The sinks, for their counters.
    pub fn sinks(&self) -> impl Iterator<Item = &Sink> {
        self.sinks.iter().map(|(sink, _)| sink)
    }

    fn send(&self, message: Message) -> Arc<Message> {
        let message = Arc::new(message);
        for (sink, _) in self.sinks.iter().filter(|(_, level)| message.priority <= *level) {
            sink.offer(Arc::clone(&message));
        }
        message
    }
}
