//! The event loop. It waits for the mount table, the child processes, signals and the next deadline; passes what
//! happened to the monitor (`inputs`); and executes the monitor's effects. Nothing it calls touches a watched file
//! system, and nothing it calls waits for an output.
//!
//! A turn waits, reads the clock once, reads everything that is readable, and only then checks deadlines. So a response
//! that has already arrived never counts as late.

mod clock;
mod cost_throttle;
mod early_signs;
mod inputs;
mod kernel_log;
mod namespace_watch;
mod options;
mod remedies;
mod supervision;
mod table_reader;
mod watched_table;

pub use options::{EventHandler, Options, RunMode, RunResult};
pub use table_reader::{ReadKind, ReadThrottle};
pub use watched_table::WatchedTable;

use crate::children::collector::{CollectRequest, CollectorHandle};
use crate::children::launcher::LauncherWatch;
use crate::children::prober::Pool;
use crate::config::{Config, ConfigReloader};
use crate::monitor::{Effect, Event, Input, Monitor, ProbeId, ProbeSettings, Time};
use crate::output::Report;
use crate::render::{ConfigState, Priority, Snapshot, notices, status_line};
use anyhow::Context as _;
use clock::{Clock, PauseDetector};
use cost_throttle::CostThrottle;
use early_signs::EarlySigns;
use kernel_log::KernelLogWatch;
use mio::{Events, Interest, Poll, Token, Waker};
use namespace_watch::NamespaceWatch;
use platform::service::ServiceManager;
use platform::{DeviceNumber, MountSource, TableUpdate};
use remedies::RemedyRunner;
use rustc_hash::FxHashMap;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook_mio::v1_0::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use supervision::ServiceNotifier;
use table_reader::TableReader;

const MOUNTS: Token = Token(0);
const SIGNALS: Token = Token(1);
/// Another thread has a configuration, requests evidence or checks that the loop turns.
const WAKER: Token = Token(2);
const NAMESPACE: Token = Token(3);
/// The first token of the pool, which uses one for each prober.
const FIRST_PROBER: usize = 4;
/// Above every token of the pool.
const COLLECTOR: Token = Token(1 << 20);
const KERNEL_LOG: Token = Token((1 << 20) + 1);
const SIGNS: Token = Token((1 << 20) + 2);
/// The first token of the attempts to remedy a mount.
const FIRST_ATTEMPT: usize = (1 << 20) + 3;
/// Maximum number of readiness events processed in one turn; the rest waits for the next turn.
const MAX_EVENTS_PER_TURN: usize = 64;
/// Minimum interval between snapshots: pages and gateways show a hang well within a second of its detection.
const MIN_SNAPSHOT_INTERVAL: Duration = Duration::from_millis(200);
/// Snapshots take at most 1/20 of a core.
const SNAPSHOT_COST_FACTOR: u32 = 20;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

pub struct Daemon<'a> {
    poll: Poll,
    clock: Clock,
    pauses: PauseDetector,
    waker: Arc<Waker>,
    signals: Signals,
    /// Set: the signals that end a run have their default action again.
    signals_end_process: Arc<AtomicBool>,
    table_reader: TableReader,
    settings: ProbeSettings,
    config: ConfigState,
    monitor: Monitor,
    launcher: LauncherWatch,
    pool: Pool,
    /// The file that data-path probes write.
    own_file: String,
    collector: CollectorHandle,
    /// Probes whose threads are being located for the collector.
    locating: FxHashMap<ProbeId, DeviceNumber>,
    kernel_log: KernelLogWatch,
    snapshot_throttle: CostThrottle,
    snapshot_serial: u64,
    service_manager: ServiceNotifier,
    handler: EventHandler<'a>,
    reloader: Option<ConfigReloader>,
    namespace: NamespaceWatch,
    /// Only in the daemon: commands act on nothing.
    remedies: Option<RemedyRunner>,
    /// Only in the daemon.
    early_signs: Option<EarlySigns>,
    /// The monitor's health revision at the end of the last turn.
    health_revision: u64,
    /// Mounts that the last run could not judge; `None` before the first run is complete.
    unjudged: Option<usize>,
    interrupted: bool,
    namespace_ended: bool,
    stall_logged_at: Option<Time>,
}

impl<'a> Daemon<'a> {
    /// Does everything that can fail at the start.
    pub fn new(options: Options, handler: EventHandler<'a>) -> anyhow::Result<Daemon<'a>> {
        std::env::set_current_dir("/").context("cannot change to the directory /")?; // keeps no directory busy
        let WatchedTable { poll, clock, reader: table_reader, namespace, table } = options.table;
        let registry = || poll.registry().try_clone().context("cannot share the event queue");
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD]).context("cannot catch signals")?;
        let signals_end_process = prepare_default_actions().context("cannot catch signals")?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .context("cannot wait for signals")?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).context("cannot create a waker")?);
        if let Some(outputs) = handler.outputs() {
            outputs.state().set_waker(Arc::clone(&waker));
        }
        let collector = CollectorHandle::new(registry()?, COLLECTOR, None)
            .context("cannot prepare the collection of evidence")?;
        let kernel_log = KernelLogWatch::new(registry()?, KERNEL_LOG);
        let mut pool = Pool::new(registry()?, FIRST_PROBER, None).context("cannot prepare probers")?;
        if let Some(namespace) = &namespace {
            pool.set_mount_namespace(namespace.try_clone_fd().context("cannot prepare probers")?);
        }
        let namespace = NamespaceWatch::new(namespace, poll.registry(), NAMESPACE)
            .context("cannot wait for the end of the mount namespace")?;
        let mut monitor = Monitor::new(options.monitor, options.seed);
        if let Some(saved) = options.saved {
            monitor.restore(saved);
        }
        monitor.handle(clock.now(), Input::TableUpdate(TableUpdate::Whole(table)));
        Ok(Daemon {
            poll,
            clock,
            pauses: PauseDetector::new(platform::time_suspended()),
            waker,
            signals,
            signals_end_process,
            table_reader,
            settings: options.settings,
            config: ConfigState { temporary_rules: options.temporary_rules, ..ConfigState::default() },
            monitor,
            launcher: LauncherWatch::new(),
            pool,
            own_file: platform::own_file(options.seed),
            collector,
            locating: FxHashMap::default(),
            kernel_log,
            snapshot_throttle: CostThrottle::new(MIN_SNAPSHOT_INTERVAL, SNAPSHOT_COST_FACTOR),
            snapshot_serial: 0,
            service_manager: ServiceNotifier::new(None),
            handler,
            reloader: None,
            namespace,
            remedies: None,
            early_signs: None,
            health_revision: 0,
            unjudged: None,
            interrupted: false,
            namespace_ended: false,
            stall_logged_at: None,
        })
    }

    /// The number of mounts that are watched and can be reached by their own path.
    pub fn watched_mounts(&self) -> usize {
        self.monitor.visible_mounts()
    }

    pub fn excluded_mounts(&self) -> usize {
        self.monitor.excluded_mounts()
    }

    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// SIGHUP reloads the configuration instead of ending the loop, and the service manager is notified.
    pub fn with_service(mut self, reloader: ConfigReloader, manager: Option<ServiceManager>) -> Daemon<'a> {
        self.reloader = Some(reloader);
        self.service_manager = ServiceNotifier::new(manager);
        self
    }

    /// Carries out the remedies of the rules.
    pub fn with_remedies(mut self, config: &Arc<Config>) -> anyhow::Result<Daemon<'a>> {
        let registry = self.poll.registry().try_clone().context("cannot share the event queue")?;
        let remedies =
            RemedyRunner::new(config, registry, FIRST_ATTEMPT).context("cannot prepare remedies")?;
        self.remedies = Some(remedies);
        Ok(self)
    }

    /// Probes mounts at once for which tasks seem to wait.
    pub fn with_early_signs(mut self, config: &Config) -> anyhow::Result<Daemon<'a>> {
        let registry = self.poll.registry().try_clone().context("cannot share the event queue")?;
        let signs = EarlySigns::new(config, registry, SIGNS).context("cannot prepare early signs")?;
        self.early_signs = platform::signs::IS_SUPPORTED.then_some(signs);
        Ok(self)
    }

    /// Runs until a signal arrives or the run mode is complete. Only failures of the event queue end it; all others are
    /// logged.
    pub fn run(mut self, mut mode: RunMode<'_>) -> anyhow::Result<RunResult> {
        let mut events = Events::with_capacity(MAX_EVENTS_PER_TURN);
        let mut now = self.clock.now();
        self.begin(&mode);
        loop {
            self.decide(now);
            self.publish_snapshot(now);
            if self.is_ending() {
                self.service_manager.stopping();
                self.snapshot_throttle.mark_changed_now(now);
                self.publish_snapshot(now); // the last state is kept for the next daemon
            }
            self.notify_service_manager(now);
            if self.is_ending() || self.is_done(now, &mut mode) {
                return Ok(self.finish(now));
            }
            let planned = self.next_deadline();
            let wake_at = self.show_progress(now, &mut mode, planned);
            let timeout = wake_at.map(|at| at.since(self.clock.now()));
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                Err(error) => return Err(error).context("cannot wait for events"),
            }
            now = self.clock.now();
            if let Some(pause) = self.pauses.check(platform::time_suspended(), planned, now) {
                if let (Input::Resumed, Some(remedies)) = (&pause, &mut self.remedies) {
                    remedies.mark_resumed(now);
                }
                self.monitor.handle(now, pause);
                self.pool.extend_deadlines();
                if let Some(signs) = &mut self.early_signs {
                    signs.extend_deadline(now);
                }
            }
            self.process_ready(now, &events);
        }
    }

    fn begin(&mut self, mode: &RunMode<'_>) {
        if self.table_reader.source() != MountSource::Events {
            let text =
                format!("Changes of the mount table are read from {}", self.table_reader.source().name());
            self.notice(Priority::Debug, text);
        }
        if matches!(mode, RunMode::Watch) {
            self.kernel_log.set_needed(self.monitor.has_hinted_mounts());
        }
        self.service_manager.ready();
        self.mark_changed();
    }

    fn is_ending(&self) -> bool {
        self.interrupted || self.namespace_ended
    }

    fn is_done(&mut self, now: Time, mode: &mut RunMode<'_>) -> bool {
        match mode {
            RunMode::Until(is_over) => is_over(&self.monitor.status(), now),
            RunMode::Watch => false,
            RunMode::Once(_) => self.unjudged.is_some(),
            RunMode::Explain => self.unjudged.is_some() && !self.monitor.is_collecting(),
        }
    }

    fn finish(mut self, now: Time) -> RunResult {
        if self.handler.outputs().is_none() {
            // The command prints its result, to a reader that may not read.
            self.signals_end_process.store(true, Ordering::SeqCst);
            self.process_signals(now); // those before that
        }
        let result = RunResult {
            snapshot: self.snapshot(now),
            unjudged: self.unjudged.unwrap_or(0),
            interrupted: self.interrupted,
            namespace_ended: self.namespace_ended,
        };
        self.pool.shutdown();
        self.collector.shutdown();
        if let Some(signs) = &mut self.early_signs {
            signs.shutdown();
        }
        // The process ends: freeing thousands of mounts one by one would only cost time. But an open table keeps the
        // mounts of a namespace that has ended.
        std::mem::forget(self.monitor);
        if !self.namespace_ended {
            std::mem::forget(self.table_reader);
        }
        result
    }

    /// Calls the progress callback of the run mode, if any. Returns when to wake up.
    fn show_progress(&mut self, now: Time, mode: &mut RunMode<'_>, planned: Option<Time>) -> Option<Time> {
        match mode {
            RunMode::Once(Some(on_progress)) => on_progress(&self.monitor.status(), now),
            RunMode::Until(_) => {}
            RunMode::Watch | RunMode::Once(None) | RunMode::Explain => return planned,
        }
        let next = now + PROGRESS_INTERVAL;
        Some(planned.map_or(next, |at| at.min(next)))
    }

    fn next_deadline(&self) -> Option<Time> {
        let snapshots = self.handler.outputs().and_then(|_| self.snapshot_throttle.next_deadline());
        let deadlines = [
            self.monitor.next_deadline(),
            self.table_reader.next_deadline(),
            self.pool.next_deadline(),
            self.collector.next_deadline(),
            self.launcher.next_deadline(),
            self.kernel_log.next_deadline(),
            snapshots,
            self.service_manager.next_deadline(),
            self.namespace.next_deadline(),
            self.remedies.as_ref().and_then(RemedyRunner::next_deadline),
            self.early_signs.as_ref().and_then(EarlySigns::next_deadline),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Runs the monitor and the children until neither has anything more to do now.
    fn decide(&mut self, now: Time) {
        loop {
            self.drain_child_events(now);
            self.monitor.settle(now);
            let mut has_acted = self.read_table_if_due(now);
            while let Some(effect) = self.monitor.next_effect() {
                has_acted = true;
                self.execute(now, effect);
            }
            self.pool.flush(now);
            self.collector.flush(now);
            if !has_acted && !self.pool.has_events() && !self.collector.has_events() {
                break;
            }
        }
        self.look_for_signs(now);
        self.check_launcher(now);
        let revision = self.monitor.health_revision();
        if std::mem::replace(&mut self.health_revision, revision) != revision {
            self.mark_changed();
            if let Some(remedies) = &mut self.remedies {
                remedies.mark_changed();
            }
        }
        self.run_remedies(now);
    }

    fn execute(&mut self, now: Time, effect: Effect) {
        match effect {
            Effect::StartProbe { probe, mut target } => {
                if let Some(data) = &mut target.data {
                    data.own_file.clone_from(&self.own_file);
                }
                self.pool.start(probe, &target);
            }
            Effect::ConfirmHang { probe } => self.pool.confirm(probe),
            Effect::AbandonProbe { probe } => {
                self.locating.remove(&probe);
                self.pool.abandon(probe);
            }
            Effect::CollectEvidence { mount, mount_ids, probe, only_hung, server_timeout } => {
                self.collector
                    .collect(now, CollectRequest::new(&mount, &mount_ids, only_hung, server_timeout));
                if let Some(probe) = probe {
                    self.locating.insert(probe, mount.device_number);
                    self.pool.locate(probe);
                }
            }
            Effect::Notify(notice) => {
                let (priority, text) = notices::of_user(&notice);
                self.notice(priority, text);
            }
            Effect::Report(event) => {
                self.mark_changed();
                if let Event::Run { unjudged, .. } = event {
                    self.unjudged = Some(unjudged);
                    self.namespace.schedule_check(now); // for kernels that do not signal its end
                    self.snapshot_throttle.mark_changed_now(now);
                    self.publish_snapshot(now); // before the line, so that its readers find the results
                    self.follow_links_of_missing();
                }
                self.handler.report(Report::Event(event));
            }
        }
    }

    /// A link on the path of an expected mount may lead elsewhere by now.
    fn follow_links_of_missing(&self) {
        if let Some(reloader) = self.reloader.as_ref().filter(|_| self.monitor.is_mount_missing()) {
            reloader.request_links();
        }
    }

    fn publish_snapshot(&mut self, now: Time) {
        let Some(outputs) = self.handler.outputs() else { return };
        outputs.state().tick();
        if !self.snapshot_throttle.is_due(now) {
            return;
        }
        self.snapshot_serial += 1;
        let begun = self.clock.now();
        let snapshot = self.snapshot(now);
        if let Some(outputs) = self.handler.outputs() {
            outputs.publish(snapshot);
        }
        self.snapshot_throttle.finish(now, self.clock.now() - begun);
    }

    fn snapshot(&mut self, now: Time) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            serial: self.snapshot_serial,
            status: Arc::new(self.monitor.status()),
            at: now,
            wall: SystemTime::now(),
            taken: self.clock.instant(now),
            settings: self.settings,
            probers: self.pool.probers(),
            probers_stranded: self.pool.probers_stranded(),
            runs_from_memory: platform::process::runs_from_memory(),
            mount_source: self.table_reader.source(),
            config: self.config.clone(),
            remedies: self
                .remedies
                .as_ref()
                .map(|remedies| Arc::new(remedies.overview()))
                .unwrap_or_default(),
        })
    }

    fn notify_service_manager(&mut self, now: Time) {
        let (monitor, clock, config) = (&mut self.monitor, self.clock, &self.config);
        let status = || {
            let begun = clock.now();
            (status_line::line(&monitor.status(), config), clock.now() - begun)
        };
        if let Err(error) = self.service_manager.send_due(now, status) {
            let text = format!("Cannot notify the service manager: {error}; trying again");
            self.notice(Priority::Warning, text);
        }
    }

    fn mark_changed(&mut self) {
        self.snapshot_throttle.mark_changed();
        self.service_manager.mark_changed();
    }

    fn notice(&mut self, priority: Priority, text: String) {
        self.handler.report(Report::Notice(priority, text));
    }
}

/// The signals that end a run have their default action as soon as the flag is set.
fn prepare_default_actions() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        flag::register_conditional_default(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}
