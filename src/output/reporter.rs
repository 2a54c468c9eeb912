//! Log lines: each message goes to standard error and syslog, each with its own queue and thread.

use super::change_lines::ChangeLines;
use super::death_summary::DeathSummary;
use super::reminder_lines::ReminderLines;
use super::run_lines::{RunLines, RunReports};
use super::saved_state::{Doubt, Records, Versions};
use super::stderr::{SharedFormat, StderrWriter, is_journal};
use super::syslog::{SyslogSettings, SyslogWriter};
use super::{Drill, Facility, LogFormat, Sink, SyslogTarget, journal, lock};
use crate::monitor::remedy::{Outcome, RemedyReport};
use crate::monitor::{Event, Severity};
use crate::render::{Message, Priority, escape, messages};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Logs a line about the daemon itself, from any thread.
pub type LogFn = Arc<dyn Fn(Priority, &str) + Send + Sync>;

#[derive(Clone, Debug)]
pub struct ReportSettings {
    pub log_level: Priority,
    pub log_format: LogFormat,
    pub syslog: SyslogTarget,
    pub syslog_facility: Facility,
    pub syslog_level: Priority,
    pub report_runs: RunReports,
    /// Another choice for syslog.
    pub syslog_report_runs: Option<RunReports>,
}

impl Default for ReportSettings {
    fn default() -> ReportSettings {
        ReportSettings {
            log_level: Priority::Info,
            log_format: LogFormat::Text,
            syslog: SyslogTarget::Auto,
            syslog_facility: Facility::LOG_DAEMON,
            syslog_level: Priority::Info,
            report_runs: RunReports::Always,
            syslog_report_runs: None,
        }
    }
}

impl ReportSettings {
    /// Of standard error, and of syslog.
    fn of_sinks(&self) -> [LineSettings; 2] {
        let is_syslog_on = self.syslog_target() != SyslogTarget::Off;
        [
            LineSettings {
                level: Some(self.log_level),
                reports: self.report_runs,
                each_change: self.log_level == Priority::Debug || self.log_format == LogFormat::Json,
            },
            LineSettings {
                level: is_syslog_on.then_some(self.syslog_level),
                reports: self.syslog_report_runs.unwrap_or(self.report_runs),
                each_change: self.syslog_level == Priority::Debug,
            },
        ]
    }

    /// The journal receives what is written to standard error: syslog would duplicate it.
    fn syslog_target(&self) -> SyslogTarget {
        match &self.syslog {
            SyslogTarget::Auto if is_journal() => SyslogTarget::Off,
            other => other.clone(),
        }
    }
}

/// Which lines a sink receives.
struct LineSettings {
    /// The lowest priority, if any.
    level: Option<Priority>,
    reports: RunReports,
    /// Each change of the mount table has a line, however many there are.
    each_change: bool,
}

/// All sinks. Only [`Reporter::close`] waits for them, up to its limit.
#[derive(Clone, Debug)]
pub struct Reporter {
    routes: Arc<[Route]>,
    held: Arc<Mutex<Held>>,
    format: Option<SharedFormat>,
    uses_journal: Arc<AtomicBool>,
    syslog: Option<SyslogSettings>,
}

/// Lines that wait for others.
#[derive(Debug, Default)]
struct Held {
    changes: ChangeLines,
    deaths: DeathSummary,
    reminders: ReminderLines,
}

/// A sink and which lines it receives; that can change while it is in use.
#[derive(Debug)]
struct Route {
    sink: Sink,
    /// The number of the lowest priority, or 0 for none.
    level: AtomicU8,
    each_change: AtomicBool,
    runs: Mutex<RunLines>,
}

impl Route {
    fn new(sink: Sink, settings: &LineSettings) -> Route {
        let route = Route { sink, level: 0.into(), each_change: false.into(), runs: Mutex::default() };
        route.apply(settings);
        route
    }

    fn apply(&self, settings: &LineSettings) {
        self.level.store(settings.level.map_or(0, Priority::number), Ordering::Relaxed);
        self.each_change.store(settings.each_change, Ordering::Relaxed);
        lock(&self.runs).reports = settings.reports;
    }

    fn admits(&self, priority: Priority) -> bool {
        priority.number() <= self.level.load(Ordering::Relaxed)
    }

    fn has_each_change(&self) -> bool {
        self.each_change.load(Ordering::Relaxed)
    }
}

impl Reporter {
    /// Starts the sinks. A sink that cannot be reached is logged on the others and retried.
    pub fn start(settings: &ReportSettings) -> io::Result<Reporter> {
        let [of_stderr, of_syslog] = settings.of_sinks();
        let format = SharedFormat::new(Mutex::new(settings.log_format));
        let uses_journal = Arc::default();
        let stderr = Sink::start("stderr", StderrWriter::new(format.clone(), Arc::clone(&uses_journal))?)?;
        let others = Reporter::with_routes([Route::new(stderr.clone(), &of_stderr)]);
        let target = SyslogSettings::new(Mutex::new((settings.syslog_target(), settings.syslog_facility)));
        let syslog = Sink::start("syslog", SyslogWriter::new(target.clone(), others.log_fn()))?;
        let routes = [Route::new(stderr, &of_stderr), Route::new(syslog, &of_syslog)];
        let (format, syslog) = (Some(format), Some(target));
        Ok(Reporter { format, uses_journal, syslog, ..Reporter::with_routes(routes) })
    }

    /// Applies settings, also to waiting messages. The threads stay the same, so that repeated changes do not leave behind
    /// one hung thread each.
    pub fn reconfigure(&self, settings: &ReportSettings) {
        for (route, settings) in self.routes.iter().zip(settings.of_sinks()) {
            route.apply(&settings);
        }
        if let (Some(format), Some(syslog)) = (&self.format, &self.syslog) {
            *lock(format) = settings.log_format;
            let target = (settings.syslog_target(), settings.syslog_facility);
            if std::mem::replace(&mut *lock(syslog), target.clone()).0 != target.0 {
                self.sinks().for_each(Sink::retry_now); // the old target may have failed for a long time
            }
        }
    }

    /// Each sink with the lowest priority that it receives.
    pub fn with_sinks(sinks: Vec<(Sink, Priority)>) -> Reporter {
        let settings =
            |level| LineSettings { level: Some(level), reports: RunReports::Always, each_change: false };
        Reporter::with_routes(sinks.into_iter().map(|(sink, level)| Route::new(sink, &settings(level))))
    }

    fn with_routes(routes: impl IntoIterator<Item = Route>) -> Reporter {
        let routes = routes.into_iter().collect();
        Reporter { routes, held: Arc::default(), format: None, uses_journal: Arc::default(), syslog: None }
    }

    /// Logs an event and returns the message. `severity` caps the priority of failures.
    pub fn report(&self, now: Instant, time: SystemTime, event: &Event, severity: Severity) -> Arc<Message> {
        Arc::clone(self.report_as(now, time, event, severity, (None, None)).any())
    }

    /// The same. Earlier daemons may have reported it to some outputs; what this one does is recorded.
    pub(super) fn report_as(
        &self,
        now: Instant,
        time: SystemTime,
        event: &Event,
        severity: Severity,
        (doubt, records): (Option<Doubt>, Option<Arc<Records>>),
    ) -> Versions {
        let (priority, text) = messages::line(event);
        let priority = if is_about_failure(event) { priority.capped_by(severity) } else { priority };
        let message = Message { time, priority, text, event: Some(event.clone()) };
        let versions = Versions::new(message, doubt, records);
        self.send_event(now, event, &versions);
        versions
    }

    fn send_event(&self, now: Instant, event: &Event, versions: &Versions) {
        let mut held = lock(&self.held);
        let Held { changes, deaths, reminders } = &mut *held;
        let message = versions.any();
        // What may be a repeat differs between outputs: it has its own line.
        let is_due = match versions.are_doubted() {
            true => true,
            false => {
                deaths.add(now, event);
                match ChangeLines::are_for(message) {
                    true => changes.admit(now, message),
                    false => reminders.admit(now, message),
                }
            }
        };
        for route in self.routes.iter().filter(|route| route.admits(message.priority)) {
            if (is_due || route.has_each_change())
                && lock(&route.runs).admit(now, event, || changes.take_line(now))
                && let Some(message) = versions.of(route.sink.name)
            {
                route.sink.offer(Arc::clone(message));
            }
        }
    }

    /// Sends the line of a drill, which waits for no others and is not held back.
    pub(super) fn drill(&self, drill: &Drill, message: &Arc<Message>) {
        for route in self.routes.iter().filter(|route| route.admits(message.priority)) {
            let (output, target) = self.describe(route.sink.name);
            route.sink.drill(Arc::clone(message), drill.expect(output, target));
        }
    }

    /// The name and the target of a sink.
    fn describe(&self, sink: &'static str) -> (&'static str, String) {
        let is_text = self.format.as_ref().is_some_and(|format| *lock(format) == LogFormat::Text);
        match &self.syslog {
            Some(syslog) if sink == "syslog" => (sink, lock(syslog).0.to_string()),
            _ if is_text && self.uses_journal.load(Ordering::Relaxed) => {
                ("journal", journal::SOCKET.to_owned())
            }
            _ => (sink, String::new()),
        }
    }

    /// When to call [`Reporter::send_held`].
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let Held { changes, deaths, reminders } = &*lock(&self.held);
        [changes.next_deadline(), deaths.next_deadline(), reminders.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sends the lines that waited for others and are due. If everything ends, all but that of next steps are.
    pub(super) fn send_held(&self, now: Instant, is_ending: bool) {
        let deaths = lock(&self.held).deaths.take_due(now);
        if let Some(line) = deaths {
            self.notice(SystemTime::now(), Priority::Notice, &line);
        }
        let Held { changes, reminders, .. } = &mut *lock(&self.held);
        for message in changes.take_due(now, is_ending).into_iter().chain(reminders.take_due(now, is_ending))
        {
            for route in self.routes.iter().filter(|it| it.admits(message.priority) && !it.has_each_change())
            {
                route.sink.offer(Arc::clone(&message));
            }
        }
    }

    /// Logs a line about the daemon itself. Names in it must already be escaped.
    pub fn notice(&self, time: SystemTime, priority: Priority, text: &str) {
        let text = escape::one_line(text).into_owned();
        let message = Arc::new(Message { time, priority, text, event: None });
        for route in self.routes.iter().filter(|route| route.admits(priority)) {
            route.sink.offer(Arc::clone(&message));
        }
    }

    pub fn log_fn(&self) -> LogFn {
        let reporter = self.clone();
        Arc::new(move |priority, text: &str| reporter.notice(SystemTime::now(), priority, text))
    }

    /// Lets the sinks write their queued messages, for at most `limit` in total. True if everything was written.
    pub fn close(&self, limit: Duration) -> bool {
        self.close_with(None, limit)
    }

    /// The same, with a last line. The first sink, standard error, is closed last: the others log on it that they cannot be
    /// reached.
    pub fn close_with(&self, last: Option<&str>, limit: Duration) -> bool {
        let message = last.map(|text| {
            let (time, text) = (SystemTime::now(), text.to_owned());
            Arc::new(Message { time, priority: Priority::Info, text, event: None })
        });
        let finish = |route: &Route| {
            let admitted = message.iter().filter(|message| route.admits(message.priority));
            admitted.for_each(|message| route.sink.offer(Arc::clone(message)));
            route.sink.finish();
        };
        let Some((first, others)) = self.routes.split_first() else { return true };
        let end = Instant::now() + limit;
        let close =
            |route: &Route, end: Instant| route.sink.close(end.saturating_duration_since(Instant::now()));
        others.iter().for_each(finish);
        let unwritten = others.iter().filter(|route| !close(route, end - limit / 2)).count();
        finish(first);
        close(first, end) && unwritten == 0
    }

    pub fn sinks(&self) -> impl Iterator<Item = &Sink> {
        self.routes.iter().map(|route| &route.sink)
    }
}

/// Whether the severity of the mount's rule caps the priority of the line. That of a remedy which hit another mount says
/// nothing about that mount.
fn is_about_failure(event: &Event) -> bool {
    match event {
        Event::Failed { .. } | Event::StillFailing { .. } | Event::Missing { .. } => true,
        Event::Remedy { report, .. } => {
            !matches!(**report, RemedyReport::Failed { outcome: Outcome::WrongHit, .. })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::sshfs;

    #[test]
    fn severity_caps_remedies_but_not_those_that_hit_another_mount() {
        let reporter = Reporter::with_sinks(vec![]);
        for (outcome, expected) in [(Outcome::Failed, Priority::Notice), (Outcome::WrongHit, Priority::Error)]
        {
            let report = Box::new(RemedyReport::Failed { outcome, gave_up: true, advice: String::new() });
            let event = Event::Remedy { mount: sshfs(), report };
            let message = reporter.report(Instant::now(), SystemTime::UNIX_EPOCH, &event, Severity::Info);
            assert_eq!(message.priority, expected, "{outcome:?}");
        }
    }
}
