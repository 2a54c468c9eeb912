//! Log lines: each message goes to standard error and syslog, each with its own queue and thread.

use super::stderr::{SharedFormat, StderrWriter};
use super::syslog::{SyslogSettings, SyslogWriter};
use super::{Facility, LogFormat, Sink, SyslogTarget, lock};
use crate::monitor::Event;
use crate::render::{Message, Priority, Severity, escape, messages};
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// The level of syslog: all messages except [`Priority::Debug`].
const SYSLOG_LEVEL: Priority = Priority::Info;

/// Logs a line about the daemon itself, from any thread.
pub type LogFn = Arc<dyn Fn(Priority, &str) + Send + Sync>;

#[derive(Clone, Debug)]
pub struct ReportSettings {
    pub log_level: Priority,
    pub log_format: LogFormat,
    pub syslog: SyslogTarget,
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

impl ReportSettings {
    fn syslog_level(&self) -> Option<Priority> {
        (self.syslog != SyslogTarget::Off).then_some(SYSLOG_LEVEL)
    }
}

/// All sinks. Only [`Reporter::close`] waits for them, up to its limit.
#[derive(Clone, Debug)]
pub struct Reporter {
    sinks: Vec<(Sink, Level)>,
    format: Option<SharedFormat>,
    syslog: Option<SyslogSettings>,
}

/// The lowest priority that a sink receives, if any; can change while the sink is in use.
type Level = Arc<AtomicU8>;

fn level(priority: Option<Priority>) -> Level {
    Arc::new(priority.map_or(0, Priority::number).into())
}

impl Reporter {
    /// Starts the sinks. A sink that cannot be reached is logged on the others and retried.
    pub fn start(settings: &ReportSettings) -> io::Result<Reporter> {
        let format = SharedFormat::new(Mutex::new(settings.log_format));
        let stderr = Sink::start("stderr", StderrWriter::new(format.clone())?)?;
        let log_level = level(Some(settings.log_level));
        let others =
            Reporter { sinks: vec![(stderr.clone(), log_level.clone())], format: None, syslog: None };
        let target = SyslogSettings::new(Mutex::new((settings.syslog.clone(), settings.syslog_facility)));
        let syslog = Sink::start("syslog", SyslogWriter::new(target.clone(), others.log_fn()))?;
        let sinks = vec![(stderr, log_level), (syslog, level(settings.syslog_level()))];
        Ok(Reporter { sinks, format: Some(format), syslog: Some(target) })
    }

    /// Applies settings, also to waiting messages. The threads stay the same, so that repeated changes do not leave behind
    /// one hung thread each.
    pub fn reconfigure(&self, settings: &ReportSettings) {
        let levels = [Some(settings.log_level), settings.syslog_level()];
        for ((_, level), wanted) in self.sinks.iter().zip(levels) {
            level.store(wanted.map_or(0, Priority::number), Ordering::Relaxed);
        }
        if let (Some(format), Some(syslog)) = (&self.format, &self.syslog) {
            *lock(format) = settings.log_format;
            let target = (settings.syslog.clone(), settings.syslog_facility);
            if std::mem::replace(&mut *lock(syslog), target).0 != settings.syslog {
                self.sinks().for_each(Sink::retry_now); // the old target may have failed for a long time
            }
        }
    }

    /// Each sink with the lowest priority that it receives.
    pub fn with_sinks(sinks: Vec<(Sink, Priority)>) -> Reporter {
        let sinks = sinks.into_iter().map(|(sink, priority)| (sink, level(Some(priority)))).collect();
        Reporter { sinks, format: None, syslog: None }
    }

    /// Logs an event and returns the message. `severity` caps the priority of failures.
    pub fn report(&self, time: SystemTime, event: &Event, severity: Severity) -> Arc<Message> {
        let (priority, text) = messages::line(event);
        let is_failure =
            matches!(event, Event::Failed { .. } | Event::StillFailing { .. } | Event::Missing { .. });
        let priority = if is_failure { severity.cap_priority(priority) } else { priority };
        self.send(Message { time, priority, text, event: Some(event.clone()) })
    }

    /// Logs a line about the daemon itself. Names in it must already be escaped.
    pub fn notice(&self, time: SystemTime, priority: Priority, text: &str) {
        self.send(Message { time, priority, text: escape::one_line(text).into_owned(), event: None });
    }

    pub fn log_fn(&self) -> LogFn {
        let reporter = self.clone();
        Arc::new(move |priority, text: &str| reporter.notice(SystemTime::now(), priority, text))
    }

    /// Lets the sinks write their queued messages, for at most `limit` in total. True if everything was written.
    pub fn close(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        for (sink, _) in &self.sinks {
            sink.finish();
        }
        let left = || end.saturating_duration_since(Instant::now());
        self.sinks.iter().filter(|(sink, _)| !sink.close(left())).count() == 0
    }

    pub fn sinks(&self) -> impl Iterator<Item = &Sink> {
        self.sinks.iter().map(|(sink, _)| sink)
    }

    fn send(&self, message: Message) -> Arc<Message> {
        let message = Arc::new(message);
        let is_admitted = |level: &Level| message.priority.number() <= level.load(Ordering::Relaxed);
        for (sink, _) in self.sinks.iter().filter(|(_, level)| is_admitted(level)) {
            sink.offer(Arc::clone(&message));
        }
        message
    }
}
