//! The one loop. It waits for the mount table, the probers, signals and the next deadline; hands what happened to the
//! monitor; and carries out what the monitor decides. Nothing it calls can touch a watched file system, and nothing
//! it calls waits for a sink.
//!
//! A turn: wait, read the clock once, read everything that is readable, then let the monitor judge deadlines. So an
//! answer that has come is never beaten by its own deadline.

mod clock;
mod evidence_coordinator;
mod namespace_watch;
mod owner;
mod snapshot_publisher;
mod supervision;
mod table_reader;

pub use owner::{ConfigUpdate, Ended, Options, Owner, ProgressCallback, RunMode, RunResult, Told};
pub use table_reader::{ReadKind, ReadThrottle};

use crate::children::collector::CollectorEvent;
use crate::children::prober::Pool;
use crate::children::prober::PoolEvent;
use crate::monitor::{Effect, Event, Input, Monitor, MonitorConfig, ProbeSettings, Time};
use crate::render::Priority;
use crate::render::Snapshot;
use crate::render::escape::escape_os;
use crate::render::notices;
use crate::render::status_line;
use anyhow::Context as _;
use clock::Clock;
use evidence_coordinator::EvidenceCoordinator;
use mio::{Events, Interest, Poll, Token, Waker};
use namespace_watch::NamespaceWatch;
use platform::MountWatch;
use platform::service::{ServiceManager, monotonic_usec};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use snapshot_publisher::SnapshotPublisher;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use supervision::ServiceNotifier;
use table_reader::TableReader;

const MOUNTS: Token = Token(0);
const SIGNALS: Token = Token(1);
/// Somebody wants to see the loop turn.
const WAKER: Token = Token(2);
/// The collector of evidence, and the kernel log: far above the pool's tokens.
const COLLECTOR: Token = Token(1 << 20);
const KERNEL_LOG: Token = Token((1 << 20) + 1);
/// The mount namespace that is watched may have ended.
const NAMESPACE: Token = Token(3);
/// Tokens from here on are the pool's.
const FIRST_PROBER: usize = 4;
/// Readiness events taken in one turn: more wait for the next turn.
const EVENTS_PER_TURN: usize = 64;
/// That the kernel waits for a file server is not told more often than this.
const STALL_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// How often somebody who looks on is shown what is still waited for.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Everything the loop holds.
pub struct Daemon<'a> {
    poll: Poll,
    clock: Clock,
    signals: Signals,
    table_reader: TableReader,
    settings: ProbeSettings,
    monitor: Monitor,
    pool: Pool,
    evidence: EvidenceCoordinator,
    showing: SnapshotPublisher,
    notifier: ServiceNotifier,
    owner: &'a mut dyn Owner,
    last_run: Option<usize>,
    interrupted: bool,
    elsewhere: NamespaceWatch,
    namespace_ended: bool,
    stall_logged_at: Option<Time>,
}

impl<'a> Daemon<'a> {
    /// Opens everything that can fail at the start. The mount table is registered before it is first read, so that
    /// no change is missed in between.
    ///
    /// # Errors
    /// What the system says to `epoll`, signal handlers and opening the mount table, with words for it.
    pub fn new(options: Options, owner: &'a mut dyn Owner) -> anyhow::Result<Daemon<'a>> {
        // No directory is kept busy by us.
        std::env::set_current_dir("/").context("cannot change to the directory /")?;
        let poll = Poll::new().context("cannot create an event queue")?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD]).context("cannot catch signals")?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .context("cannot wait for signals")?;
        let table = platform::OWN_MOUNT_TABLE;
        let watch = match &options.namespace {
            None => MountWatch::open(table.as_ref())
                .with_context(|| format!("cannot open {table} ({})", platform::MOUNT_TABLE_HINT))?,
            Some(namespace) => namespace.watch().context("cannot open the table of the mount namespace")?,
        };
        let mut table_reader = TableReader::new(watch);
        table_reader.register(poll.registry(), MOUNTS).context("cannot wait for mounts")?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).context("cannot create a waker")?);
        if let Some(live) = &options.live {
            live.set_waker(Arc::clone(&waker));
        }
        owner.wake_with(waker);
        let registry = poll.registry().try_clone().context("cannot share the event queue")?;
        let shared = registry.try_clone().context("cannot share the event queue")?;
        let evidence = EvidenceCoordinator::new(shared, (COLLECTOR, KERNEL_LOG), options.prober.clone())
            .context("cannot prepare the collection of evidence")?;
        let mut pool = Pool::new(registry, FIRST_PROBER, options.prober).context("cannot prepare probers")?;
        if let Some(namespace) = &options.namespace {
            pool.enter(namespace.try_clone_fd().context("cannot prepare probers")?);
        }
        let elsewhere = NamespaceWatch::new(options.namespace, poll.registry(), NAMESPACE)
            .context("cannot wait for the end of the mount namespace")?;
        let clock = Clock::start();
        let config = MonitorConfig {
            poll_interval: options.settings.poll_interval,
            policy: options.policy,
            expected: options.expected,
        };
        let monitor = Monitor::new(config).spread(options.seed);
        Ok(Daemon {
            poll,
            clock,
            settings: options.settings,
            signals,
            table_reader,
            monitor,
            pool,
            evidence,
            showing: SnapshotPublisher::new(options.live),
            notifier: ServiceNotifier::new(None),
            owner,
            last_run: None,
            interrupted: false,
            elsewhere,
            namespace_ended: false,
            stall_logged_at: None,
        })
    }

    /// With a service manager to be told how it goes.
    #[must_use]
    pub fn serving(mut self, manager: Option<ServiceManager>) -> Daemon<'a> {
        self.notifier = ServiceNotifier::new(manager);
        self
    }

    /// Runs until a signal comes or, for [`RunMode::Once`], every mount is judged.
    ///
    /// # Errors
    /// Only if the first reading of the mount table or the event queue itself fails; all else is told and survived.
    pub fn run(mut self, mut purpose: RunMode<'_>) -> anyhow::Result<RunResult> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut now = self.clock.now();
        let table = self.table_reader.read_first(now).context("cannot read the mount table")?;
        if matches!(purpose, RunMode::Watch) {
            self.evidence.table_was_read(&table);
        }
        self.monitor.handle(now, Input::TableUpdate(table));
        self.notifier.ready();
        loop {
            self.decide(now);
            self.show(now);
            let done = match purpose {
                RunMode::Watch => false,
                RunMode::Once(_) => self.last_run.is_some(),
                RunMode::Explain => self.last_run.is_some() && !self.monitor.is_collecting(),
            };
            let ends = self.interrupted || self.namespace_ended;
            if ends {
                self.notifier.stopping();
            }
            self.notify(now);
            if ends || done {
                self.pool.shutdown();
                self.evidence.desk.shutdown();
                let status = self.monitor.status();
                let (unjudged, interrupted) = (self.last_run.unwrap_or(0), self.interrupted);
                let namespace_ended = self.namespace_ended;
                // The process ends: to free thousands of mounts one by one is work for nobody. But an open table keeps
                // the mounts of a namespace that has ended.
                std::mem::forget(self.monitor);
                if !namespace_ended {
                    std::mem::forget(self.table_reader);
                }
                return Ok(RunResult { status, at: now, unjudged, interrupted, namespace_ended });
            }
            let planned = self.next_deadline();
            let mut until = planned;
            if let RunMode::Once(Some(look)) = &mut purpose {
                look(&self.monitor.status(), now);
                let next = now + PROGRESS_INTERVAL;
                until = Some(until.map_or(next, |at| at.min(next)));
            }
            let before = self.clock.now();
            match self.poll.poll(&mut events, until.map(|at| at.since(before))) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                Err(error) => return Err(error).context("cannot wait for events"),
            }
            now = self.clock.now();
            self.take_in(now, &events, planned);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let others = [
            self.table_reader.next_deadline(),
            self.pool.next_deadline(),
            self.evidence.next_deadline(),
            self.showing.next(),
            self.notifier.next(),
            self.elsewhere.next(),
        ];
        self.monitor.next_deadline().into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Everything that is readable now.
    fn take_in(&mut self, now: Time, events: &Events, planned: Option<Time>) {
        if let Some(lost) = clock::stall(planned, now) {
            self.monitor.handle(now, Input::Stalled(lost));
        }
        for event in events {
            match event.token() {
                MOUNTS => self.take_changes(now),
                WAKER => self.take_nudge(now),
                NAMESPACE => self.elsewhere.stirred(now),
                SIGNALS => self.take_signals(now),
                COLLECTOR => self.evidence.desk.handle_ready(now),
                KERNEL_LOG => {
                    for sign in self.evidence.log_is_readable(now) {
                        self.monitor.handle(now, sign);
                    }
                }
                token => self.pool.handle_ready(now, token),
            }
        }
        if self.elsewhere.is_due(now) {
            self.look_elsewhere(now);
        }
        self.pool.handle_deadline(now);
        self.evidence.handle_deadline(now);
        self.take_wishes(now);
    }

    /// Is the namespace that is watched still there? Without it there is nothing to do any more.
    fn look_elsewhere(&mut self, now: Time) {
        if let Some(namespace) = self.elsewhere.has_ended(now) {
            self.namespace_ended = true;
            let name = escape_os(namespace.path());
            let text = format!("The mount namespace of {name} has ended; nothing is left to watch");
            self.notice(Priority::Error, text);
        }
    }

    fn take_wishes(&mut self, now: Time) {
        let wishes = self.owner.wishes(self.monitor.table());
        if !self.owner.is_reloading() {
            self.notifier.reloaded();
        }
        let Some(ConfigUpdate { settings, policy, expected }) = wishes else { return };
        self.settings = settings;
        let config = MonitorConfig { poll_interval: settings.poll_interval, policy, expected };
        self.monitor.handle(now, Input::Reconfigured(config));
        self.showing.changed();
        self.notifier.changed();
    }

    /// Turning may be all that is wanted.
    fn take_nudge(&mut self, now: Time) {
        let mountpoints = self.showing.evidence_wanted();
        if !mountpoints.is_empty() {
            self.monitor.handle(now, Input::EvidenceRequested { mountpoints });
        }
    }

    fn take_changes(&mut self, now: Time) {
        let changes = self.table_reader.on_readable(now);
        if changes.server_not_responding {
            self.monitor.handle(now, Input::ServerNotResponding);
            if self.stall_logged_at.is_none_or(|before| now >= before + STALL_LOG_INTERVAL) {
                self.stall_logged_at = Some(now);
                let text =
                    "The kernel waits for a file server that does not answer; asking all network mounts";
                self.notice(Priority::Warning, text.into());
            }
        }
    }

    fn take_signals(&mut self, now: Time) {
        for signal in self.signals.pending() {
            match signal {
                SIGCHLD => {
                    self.pool.reap_children(now);
                    self.evidence.desk.reap_children(now);
                }
                SIGHUP => {
                    self.notifier.reloading(monotonic_usec());
                    self.interrupted |= self.owner.hung_up().0;
                }
                _ => self.interrupted = true,
            }
        }
    }

    /// Lets the monitor and the pool decide until both have nothing more to do at this moment.
    fn decide(&mut self, now: Time) {
        loop {
            self.take_news(now);
            self.monitor.settle(now);
            let mut acted = self.read_table_if_due(now);
            while let Some(action) = self.monitor.next_effect() {
                acted = true;
                self.carry_out(now, action);
            }
            self.pool.flush(now);
            self.evidence.desk.flush(now);
            if !acted && !self.pool.has_events() && !self.evidence.desk.has_events() {
                return;
            }
        }
    }

    fn take_news(&mut self, now: Time) {
        let events: Vec<PoolEvent> = self.pool.drain_events().collect();
        for event in events {
            if let PoolEvent::Responded { probe, .. } | PoolEvent::Aborted { probe } = &event {
                self.evidence.over(*probe);
            }
            if matches!(event, PoolEvent::Notice(_) | PoolEvent::Stranded { .. } | PoolEvent::Freed { .. }) {
                self.showing.changed(); // how many probers there are, and how many of them are lost
            }
            let input = match event {
                PoolEvent::Responded { probe, outcome, took } => {
                    Input::ProbeResponded { probe, outcome, took }
                }
                PoolEvent::Stuck { probe, call, elapsed, pid, tid } => {
                    self.evidence.stuck(probe, pid, tid);
                    Input::ProbeStuck { probe, call, elapsed }
                }
                PoolEvent::Aborted { probe } => Input::ProbeAborted { probe },
                PoolEvent::Freed { probe } => Input::ProbeFreed { probe },
                PoolEvent::Stranded { probe } => Input::ProbeStranded { probe },
                PoolEvent::Notice(notice) => {
                    let (priority, text) = notices::of_prober(&notice);
                    self.notice(priority, text);
                    continue;
                }
            };
            self.monitor.handle(now, input);
        }
        for event in self.evidence.news() {
            let input = match event {
                CollectorEvent::Found { device, evidence } => {
                    Input::EvidenceFound { superblock: device, evidence }
                }
                CollectorEvent::Ended { device } => Input::EvidenceEnded { superblock: device },
                CollectorEvent::Notice(notice) => {
                    let (priority, text) = notices::of_collector(&notice);
                    self.notice(priority, text);
                    continue;
                }
            };
            self.monitor.handle(now, input);
        }
    }

    fn carry_out(&mut self, now: Time, action: Effect) {
        match action {
            Effect::StartProbe { probe, target } => self.pool.start(probe, &target),
            Effect::ConfirmHang { probe } => self.pool.confirm(probe),
            Effect::AbandonProbe { probe } => {
                self.evidence.over(probe);
                self.pool.abandon(probe);
            }
            Effect::CollectEvidence { mount, mount_ids, probe, alone, patience } => {
                self.evidence.collect(now, &mount, &mount_ids, probe, alone, patience);
                if let Some(probe) = probe {
                    self.pool.locate(probe);
                }
            }
            Effect::Report(event) => {
                self.showing.changed();
                self.notifier.changed();
                if let Event::Run { unjudged, .. } = event {
                    self.last_run = Some(unjudged);
                    self.elsewhere.stirred(now); // where no event tells
                }
                self.owner.told(SystemTime::now(), Told::Event(&event, &self.monitor));
            }
        }
    }

    fn show(&mut self, now: Time) {
        self.showing.turned(self.monitor.health_revision());
        self.notifier.turned(self.monitor.health_revision());
        let (monitor, pool, clock, settings) = (&self.monitor, &self.pool, self.clock, &self.settings);
        let make = || Snapshot {
            serial: 0,
            status: monitor.status(),
            at: now,
            wall: SystemTime::now(),
            settings: *settings,
            probers: pool.probers(),
            probers_stranded: pool.probers_stranded(),
        };
        let begun = clock.now();
        self.showing.show(now, make, || clock.now() - begun);
    }

    fn notify(&mut self, now: Time) {
        let (monitor, clock) = (&self.monitor, self.clock);
        let begun = clock.now();
        let error = self.notifier.tell(now, || status_line::line(&monitor.status()), || clock.now() - begun);
        if let Some(error) = error {
            let text = format!("Cannot tell the service manager how it goes: {error}; trying again");
            self.notice(Priority::Warning, text);
        }
    }

    /// Reads the mount table if it changed, is doubted, or a full reading is due.
    fn read_table_if_due(&mut self, now: Time) -> bool {
        if let Some(doubt) = self.monitor.take_table_doubt() {
            self.table_reader.on_doubt(now, doubt);
        }
        let begun = self.clock.now();
        let Some(result) = self.table_reader.read_if_due(now) else { return false };
        if let Some((priority, text)) = self.table_reader.log_line(&result) {
            self.notice(priority, text);
        }
        let Ok(table) = result else { return false };
        self.evidence.table_was_read(&table);
        self.monitor.handle(now, Input::TableUpdate(table));
        let finished = self.clock.now();
        self.table_reader.finish(finished, finished - begun);
        true
    }

    fn notice(&mut self, priority: Priority, text: String) {
        self.owner.told(SystemTime::now(), Told::Notice(priority, text));
    }
}
