//! Every sentence that an operator sees, and the sinks that carry it.
//!
//! [`lines`] and [`json`] say what happened; [`Reporter`] hands each message to its sinks and returns at once,
//! whatever hangs behind them. [`table`], [`nagios`] and [`progress`] show a whole [`Status`](crate::monitor::Status)
//! to somebody who asked for it.

use super::{Facility, LogFormat, SharedFormat, Sink, SyslogTarget, stderr, syslog};
use crate::monitor::Event;
use crate::render::{Message, Priority, Severity, escape, messages};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// What syslog gets: all but [`Priority::Debug`].
const SYSLOG_LEVEL: Priority = Priority::Info;

fn syslog_level(settings: &ReportSettings) -> Option<Priority> {
    (settings.syslog != SyslogTarget::Off).then_some(SYSLOG_LEVEL)
}

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
    sinks: Vec<(Sink, Level)>,
    format: Option<SharedFormat>,
    syslog: Option<syslog::Wanted>,
}

/// The least pressing priority that a sink gets, or none at all; can be changed while the sink is in use.
#[derive(Clone, Debug)]
struct Level(Arc<AtomicU8>);

impl Level {
    fn new(level: Option<Priority>) -> Level {
        let new = Level(Arc::default());
        new.set(level);
        new
    }

    fn set(&self, level: Option<Priority>) {
        self.0.store(level.map_or(0, Priority::number), Ordering::Relaxed);
    }

    fn admits(&self, priority: Priority) -> bool {
        priority.number() <= self.0.load(Ordering::Relaxed)
    }
}

impl Reporter {
    /// Starts the sinks. Only a machine that cannot start a thread fails here; a sink that cannot be reached is told
    /// on the others and tried again.
    pub fn start(settings: &ReportSettings) -> io::Result<Reporter> {
        let format = SharedFormat::from(settings.log_format);
        let stderr = Sink::start("stderr", stderr::Stderr::new(format.clone())?)?;
        let level = Level::new(Some(settings.log_level));
        let others = Reporter { sinks: vec![(stderr.clone(), level.clone())], format: None, syslog: None };
        let tell = Box::new(move |priority, text: String| {
            drop(others.notice(SystemTime::now(), priority, &text));
        });
        let wanted = syslog::Wanted::new(settings.syslog.clone(), settings.syslog_facility);
        let syslog = Sink::start("syslog", syslog::SyslogOutput::new(wanted.clone(), tell))?;
        let sinks = vec![(stderr, level), (syslog, Level::new(syslog_level(settings)))];
        Ok(Reporter { sinks, format: Some(format), syslog: Some(wanted) })
    }

    /// From now on these settings; what waits in a sink is written by the new ones, too. The threads stay, so that one
    /// that blocks is not left behind by each change.
    pub fn adopt(&self, settings: &ReportSettings) {
        let levels = [Some(settings.log_level), syslog_level(settings)];
        for ((_, level), wanted) in self.sinks.iter().zip(levels) {
            level.set(wanted);
        }
        if let (Some(format), Some(syslog)) = (&self.format, &self.syslog) {
            format.set(settings.log_format);
            if syslog.set(settings.syslog.clone(), settings.syslog_facility) {
                // The one before may not have been reached for long.
                self.sinks().for_each(Sink::hurry);
            }
        }
    }

    /// A reporter over these sinks, each with the least pressing priority that it gets.
    #[must_use]
    pub fn over(sinks: Vec<(Sink, Priority)>) -> Reporter {
        let sinks = sinks.into_iter().map(|(sink, level)| (sink, Level::new(Some(level)))).collect();
        Reporter { sinks, format: None, syslog: None }
    }

    /// Tells an event, and returns what the sinks are told. Bad news of a mount matters as its `severity` says.
    pub fn tell(&self, time: SystemTime, event: &Event, severity: Severity) -> Arc<Message> {
        let (priority, text) = messages::line(event);
        let is_bad =
            matches!(event, Event::Failed { .. } | Event::StillFailing { .. } | Event::Missing { .. });
        let priority = if is_bad { severity.soften(priority) } else { priority };
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
        for (sink, _) in self.sinks.iter().filter(|(_, level)| level.admits(message.priority)) {
            sink.offer(Arc::clone(&message));
        }
        message
    }
}
