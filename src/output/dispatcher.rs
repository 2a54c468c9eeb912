//! Starts, reconfigures and stops each output, and passes reports and snapshots to them. Each output has its own queue
//! or thread, so nothing here waits for one.

use super::alertmanager::AlertmanagerClient;
use super::exporters::Exporters;
use super::hooks::Hooks;
use super::http::{self, Server};
use super::outputs::{Item, OutputQueue, Report};
use super::saved_state::{Deliveries, Doubt, HandedOver, Records, Restored, StateFile, StateSaver, is_alarm};
use super::{Drill, Reporter, SharedState, Sink, bad_mounts, drill, lock};
use crate::config::{Config, NO_MOUNT_LEFT, ReloadResult, changes, options_for_next_start};
use crate::monitor::{Event, Time};
use crate::output::metrics::{MetricSources, Renderer};
use crate::render::{Message, Priority, Snapshot, messages};
use anyhow::Context as _;
use platform::{Mount, MountTable};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// A stop waits this long for the push gateway: a push is cancelled; a group that is not deleted in time remains.
const EXPORTERS_STOP_TIMEOUT: Duration = Duration::from_millis(400);
/// A stop waits this long for hooks, at the same time. Running commands may end by themselves for half of it.
const HOOKS_STOP_TIMEOUT: Duration = Duration::from_millis(300);
/// A single run waits this long for the push gateway and the text file.
const SINGLE_RUN_EXPORT_TIMEOUT: Duration = Duration::from_secs(1);
/// A single run waits this long for its hooks and alerts.
const SINGLE_RUN_HOOKS_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of replaced exporters that still hang, for example on a text file on dead storage. At this number,
/// changed settings wait for the next start.
const MAX_HUNG_EXPORTERS: usize = 4;
const MAX_RULE_WARNINGS: usize = 20;
/// A stop waits this long for the state that the next daemon gets.
const STATE_STOP_TIMEOUT: Duration = Duration::from_millis(200);

/// What a daemon finds within this time after its start may be what an earlier one has reported, but not kept: all mounts
/// are probed at the start, and reminders wait 10 s.
const REPEAT_TIME: Duration = Duration::from_secs(60);

/// Owns all outputs. [`Outputs`](super::Outputs) runs it on a thread; a single run of the daemon calls it directly.
pub struct Dispatcher {
    config: Arc<Config>,
    reporter: Reporter,
    state: SharedState,
    hooks: Hooks,
    alertmanager: AlertmanagerClient,
    server: Option<Server>,
    exporters: Exporters,
    replaced_exporters: Vec<Exporters>,
    /// Shared with the HTTP server, which renders metrics with the current one.
    renderer: Arc<Mutex<Arc<Renderer>>>,
    bad_mounts: Option<Sink>,
    saver: Option<StateSaver>,
    /// The mount points about which an earlier daemon may have reported the next alarm, or its end.
    doubts: HashSet<PathBuf>,
    /// What earlier daemons have handed over, and until when it may be repeated.
    handed_over: HandedOver,
    repeats_until: Option<Instant>,
    records: Option<Arc<Records>>,
    /// The alarms in the queue that the saver knows: when each happened, and where.
    announced: HashSet<(SystemTime, PathBuf)>,
    /// The end of the last run whose snapshot was published.
    last_run: Option<Time>,
    has_reported_run: bool,
    config_refused: bool,
    /// Reports that did not fit into the queue of all outputs.
    dropped_reports: Arc<AtomicU64>,
}

impl Dispatcher {
    /// Starts only log lines and hooks, for a single run.
    pub fn new(config: Arc<Config>, reporter: Reporter) -> anyhow::Result<Dispatcher> {
        let hooks =
            Hooks::start(&config.hooks, reporter.log_fn()).context("cannot start a thread for hooks")?;
        let alertmanager = AlertmanagerClient::new(reporter.log_fn());
        Ok(Dispatcher {
            config,
            reporter,
            state: SharedState::default(),
            hooks,
            alertmanager,
            server: None,
            exporters: Exporters::default(),
            replaced_exporters: Vec::new(),
            renderer: Arc::default(),
            bad_mounts: None,
            saver: None,
            doubts: HashSet::new(),
            handed_over: HandedOver::default(),
            repeats_until: None,
            records: None,
            announced: HashSet::new(),
            last_run: None,
            has_reported_run: false,
            config_refused: false,
            dropped_reports: Arc::default(),
        })
    }

    pub(super) fn start(&mut self, table: &MountTable) -> anyhow::Result<()> {
        if self.config.print_bad_mounts {
            let sink = Sink::start("stdout", bad_mounts::Stdout);
            self.bad_mounts = Some(sink.context("cannot start a thread for standard output")?);
        }
        self.start_exporters().context("cannot start a thread for metrics")?;
        self.start_server().context("cannot start a thread for HTTP")?;
        self.warn_about_rules(table);
        Ok(())
    }

    /// Continues from what an earlier daemon has left in the file, and keeps the state there.
    pub(super) fn keep_state(&mut self, mut file: StateFile, restored: Option<Restored>) -> io::Result<()> {
        self.handed_over = file.take_handed_over();
        self.repeats_until = Some(Instant::now() + REPEAT_TIME);
        if let Some(Restored { status, events, last_event, .. }) = restored {
            self.state.events().restore(events, last_event.max(self.handed_over.event_number));
            self.doubts = status.doubts().collect();
        }
        self.records = file.records();
        if let Some(records) = &self.records {
            self.reporter.sinks().for_each(|sink| sink.record_in(records));
            self.hooks.record_in(records);
        }
        let sinks = self.reporter.sinks().cloned().collect();
        let deliveries = Deliveries { sinks, hooks: self.hooks.clone() };
        let (state, log) = (self.state.clone(), self.reporter.log_fn());
        self.saver = Some(StateSaver::start(file, deliveries, state, log)?);
        Ok(())
    }

    pub(super) fn dropped_reports(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped_reports)
    }

    pub(super) fn state(&self) -> &SharedState {
        &self.state
    }

    pub(super) fn run(mut self, queue: &OutputQueue) {
        loop {
            match queue.next(self.next_deadline()) {
                Item::Report(time, report) => {
                    self.announce(time, &report, queue);
                    self.report(Instant::now(), time, &report);
                }
                Item::Publish(snapshot) => self.publish(snapshot),
                Item::Drill(drill) => self.drill(&drill),
                Item::Reconfigure(reload, table) => self.reload(reload, &table),
                Item::Dropped(count) => {
                    self.notice(Priority::Warning, &format!("{count} events were dropped: too many at once"));
                }
                Item::Deadline => {}
                Item::Stop => return self.stop(),
            }
            self.send_held(Instant::now());
        }
    }

    /// Lets the file of the state say that an alarm is handed over, and those that wait, which all wait for one write then.
    fn announce(&mut self, time: SystemTime, report: &Report, queue: &OutputQueue) {
        let (Some(saver), Report::Event(event)) = (&self.saver, report) else { return };
        let Some(path) = event.mountpoint().filter(|_| is_alarm(event)) else { return };
        if self.announced.remove(&(time, path.to_owned())) {
            return;
        }
        let waiting = queue.waiting(is_alarm);
        let place = |(time, event): &(SystemTime, Event)| Some((*time, event.mountpoint()?.to_owned()));
        self.announced = waiting.iter().filter_map(place).collect();
        saver.announce([(time, event.clone())].into_iter().chain(waiting).collect());
    }

    /// When to call [`Dispatcher::send_held`].
    pub fn next_deadline(&self) -> Option<Instant> {
        self.reporter.next_deadline()
    }

    /// Sends the log lines that waited for others and are due.
    pub fn send_held(&self, now: Instant) {
        self.reporter.send_held(now, false);
    }

    /// `time` is when it happened; `now` is when its log line is written.
    pub fn report(&mut self, now: Instant, time: SystemTime, report: &Report) {
        let event = match report {
            Report::Event(event) => event,
            Report::Notice(priority, text) => return self.reporter.notice(time, *priority, text),
        };
        let doubt = self.doubt(now, event);
        if let Some(records) = &self.records {
            records.hand_over(time, event);
        }
        let (severity, selected) = self.config.rules.route(event);
        let versions = self.reporter.report_as(now, time, event, severity, (doubt, self.records.clone()));
        self.hooks.offer_versions(&versions, selected, severity.as_str());
        self.state.add_event(Arc::clone(versions.any()));
        if let Some(records) = &self.records {
            records.set_event_number(self.state.events().last());
        }
        if let Event::Run { mounts, .. } = event
            && !std::mem::replace(&mut self.has_reported_run, true)
            && *mounts == 0
        {
            self.notice(Priority::Warning, &format!("Nothing to watch: {NO_MOUNT_LEFT}"));
        }
    }

    /// Which outputs may have got this event from an earlier daemon, if any.
    fn doubt(&mut self, now: Instant, event: &Event) -> Option<Doubt> {
        let is_in_doubt = is_alarm(event) && event.mountpoint().is_some_and(|path| self.doubts.remove(path));
        let is_new_daemon = self.repeats_until.is_some_and(|until| now < until);
        if !is_new_daemon && !is_in_doubt && self.doubts.is_empty() {
            self.handed_over = HandedOver::default(); // its memory
        }
        self.handed_over.doubt(event, is_in_doubt, is_new_daemon)
    }

    /// Hands the event of a drill to every output, whatever the rules select.
    fn drill(&self, drill: &Drill) {
        let event = Event::Drill { mount: self.pretended_mount(drill.mountpoint()) };
        let (severity, _) = self.config.rules.route(&event);
        let (priority, text) = messages::line(&event);
        let message = Arc::new(Message { time: drill.time(), priority, text, event: Some(event.clone()) });
        self.reporter.drill(drill, &message);
        self.hooks.drill(drill, &message, severity.as_str());
        self.exporters.drill(drill);
        if let Some(settings) = &self.config.alertmanager {
            let receipt = drill.expect("alertmanager", settings.url.origin());
            self.alertmanager.drill(&event, severity, drill.time(), receipt);
        }
        let clients = match self.state.event_clients().count() {
            1 => "1 client".to_owned(),
            count => format!("{count} clients"),
        };
        self.state.add_drill(message, drill.expect("events", clients));
        drill.set_dispatched();
    }

    /// The mount that is known at this path, or one that does not exist. Nothing touches it.
    fn pretended_mount(&self, mountpoint: &Path) -> Arc<Mount> {
        let latest = self.state.latest();
        let mut known = latest.iter().flat_map(|latest| latest.status.mounts.iter());
        let known = known.find(|known| known.mount.mountpoint.as_path() == mountpoint);
        known.map_or_else(|| Arc::new(drill::pretended_mount(mountpoint)), |known| Arc::clone(&known.mount))
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>) {
        self.state.publish(Arc::clone(&snapshot));
        if let Some(saver) = &self.saver {
            saver.publish(&snapshot);
        }
        self.alertmanager.update(&snapshot, &self.config);
        let last_run = snapshot.status.last_run.map(|run| run.at);
        if std::mem::replace(&mut self.last_run, last_run) != last_run
            && let Some(sink) = &self.bad_mounts
            && let Some(message) = bad_mounts::message(snapshot.wall, &snapshot.status)
        {
            sink.offer(message);
        }
    }

    fn reload(&mut self, reload: ReloadResult, table: &MountTable) {
        match reload.result {
            Ok(config) => {
                let is_refused = std::mem::take(&mut self.config_refused);
                let changed = changes(&self.config, &config);
                if !changed.is_empty() || reload.requested || is_refused {
                    self.apply(config, reload.requested, &changed);
                    self.warn_about_rules(table);
                }
            }
            Err(problems) => {
                self.config_refused = true;
                for problem in problems {
                    let text = format!("Configuration not reloaded, the old one stays in force: {problem}");
                    self.notice(Priority::Error, &text);
                }
            }
        }
    }

    fn apply(&mut self, config: Arc<Config>, requested: bool, changed: &str) {
        let before = std::mem::replace(&mut self.config, config);
        self.reporter.reconfigure(&self.config.report);
        let text = if changed.is_empty() { "nothing has changed" } else { changed };
        self.notice(Priority::Notice, &format!("Configuration reloaded: {text}"));
        for warning in self.config.warnings() {
            self.notice(Priority::Warning, &warning);
        }
        if let Some(snapshot) = self.state.latest() {
            self.alertmanager.update(&snapshot, &self.config);
        }
        self.report_failed_start("hooks", self.hooks.reconfigure(&self.config.hooks));
        if before.metrics != self.config.metrics {
            self.replace_exporters();
        }
        // A requested reload may follow the release of an address that was in use.
        let retry = requested && self.server.as_ref().is_some_and(Server::bind_failed);
        if before.http != self.config.http || retry {
            let started = self.start_server();
            self.report_failed_start("HTTP", started);
        }
        for key in options_for_next_start(&before, &self.config) {
            self.notice(Priority::Warning, &format!("{key} takes effect at the next start"));
        }
    }

    fn warn_about_rules(&self, table: &MountTable) {
        let warnings = self.config.rules.warnings(table, self.config.settings);
        for warning in warnings.iter().take(MAX_RULE_WARNINGS) {
            self.notice(Priority::Warning, warning);
        }
        let more = warnings.len().saturating_sub(MAX_RULE_WARNINGS);
        if more > 0 {
            let text = format!("{more} more rules are not in use; see --check-config");
            self.notice(Priority::Warning, &text);
        }
    }

    fn start_exporters(&mut self) -> io::Result<()> {
        let (metrics, renderer) = (&self.config.metrics, self.new_renderer());
        *lock(&self.renderer) = Arc::clone(&renderer);
        self.exporters = Exporters::start(metrics, &renderer, &self.state, &self.reporter.log_fn(), false)?;
        Ok(())
    }

    fn new_renderer(&self) -> Arc<Renderer> {
        Arc::new(Renderer::new(MetricSources {
            hooks: Some(self.hooks.clone()),
            alertmanager: Some(self.alertmanager.clone()),
            sinks: self.reporter.sinks().cloned().collect(),
            dropped_reports: self.dropped_reports(),
            push: self.config.metrics.push.as_ref().map(|_| Mutex::default()),
        }))
    }

    fn replace_exporters(&mut self) {
        self.replaced_exporters.retain(|exporters| !exporters.have_ended());
        if self.replaced_exporters.len() >= MAX_HUNG_EXPORTERS {
            let text =
                "The settings of metrics stay as they were: earlier exporters still hang; restart the daemon";
            return self.notice(Priority::Error, text);
        }
        let before = std::mem::take(&mut self.exporters);
        before.stop(Duration::ZERO); // it ends by itself
        self.replaced_exporters.push(before);
        let started = self.start_exporters();
        self.report_failed_start("metrics", started);
    }

    fn report_failed_start(&self, what: &str, started: io::Result<()>) {
        if let Err(error) = started {
            self.notice(Priority::Error, &format!("Cannot start a thread for {what}: {error}"));
        }
    }

    /// The new server stops the previous one, if any.
    fn start_server(&mut self) -> io::Result<()> {
        let log = self.reporter.log_fn();
        let warn = Arc::new(move |text: &str| log(Priority::Warning, text));
        let renderer = Arc::clone(&self.renderer);
        let metrics: http::MetricsSource = Arc::new(move |snapshot| {
            let renderer = Arc::clone(&lock(&renderer));
            renderer.text(snapshot)
        });
        let before = self.server.take();
        self.server = http::start(&self.config.http, self.state.clone(), metrics, warn, before)?;
        Ok(())
    }

    /// Sends the result of a single run to Alertmanager and the exporters, and waits for hooks.
    pub fn finish_single_run(&self, snapshot: &Arc<Snapshot>) {
        self.alertmanager.update(snapshot, &self.config);
        let (metrics, log) = (&self.config.metrics, self.reporter.log_fn());
        Exporters::export_once(metrics, &self.new_renderer(), snapshot, SINGLE_RUN_EXPORT_TIMEOUT, &log);
        let deadline = Instant::now() + SINGLE_RUN_HOOKS_TIMEOUT;
        let is_done = self.hooks.wait_until_idle(SINGLE_RUN_HOOKS_TIMEOUT)
            & self.alertmanager.wait_until_idle(deadline.saturating_duration_since(Instant::now()));
        if !is_done {
            let seconds = SINGLE_RUN_HOOKS_TIMEOUT.as_secs();
            log(Priority::Warning, &format!("Hooks are not done after {seconds}s; they are stopped"));
        }
    }

    /// Stops all outputs except the reporter.
    pub fn stop(self) {
        self.reporter.send_held(Instant::now(), true);
        // The listeners first, so that the next daemon can open them although something here hangs.
        let server = self.server.map(Server::begin_stop);
        let state_deadline = Instant::now() + STATE_STOP_TIMEOUT;
        if let Some(saver) = &self.saver {
            saver.begin_stop(); // hooks that are stopped have not delivered
        }
        self.hooks.begin_stop(HOOKS_STOP_TIMEOUT);
        self.exporters.stop(EXPORTERS_STOP_TIMEOUT);
        if let Some(server) = server {
            server.wait();
        }
        self.hooks.stop(HOOKS_STOP_TIMEOUT);
        self.alertmanager.stop(Duration::ZERO);
        if let Some(saver) = self.saver {
            saver.wait(state_deadline);
        }
    }

    fn notice(&self, priority: Priority, text: &str) {
        self.reporter.notice(SystemTime::now(), priority, text);
    }
}
