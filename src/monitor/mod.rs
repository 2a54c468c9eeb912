//! What the monitor knows and decides. Pure: no I/O, no clock, no threads, no logging. Time is an argument, decisions
//! are [`Effect`]s; `daemon` carries them out and feeds back what happens.
//!
//! Read on in this order: [`Input`] and [`Effect`]; `mounts` (the table is applied), `asking` (who is asked when),
//! `verdict` (what an answer or its absence means), `run`. `slot` holds what is remembered.

mod asking;
mod counters;
mod diff;
mod event;
mod evidence;
mod expected;
mod expiry;
mod health;
mod interface;
mod mounts;
mod reconfigure;
mod retry;
mod run;
mod settings;
mod silence;
mod slot;
mod spread;
mod status;
#[doc(hidden)]
pub mod testing;
mod time;
mod timers;
mod verdict;
mod visible;

pub use counters::{Counters, DURATION_BOUNDS, Durations, FsCounters};
pub use diff::{Change, diff};
pub use event::Event;
pub use evidence::{EvidenceRecord, server_name};
pub use expected::{Expected, ExpectedStatus};
pub use health::{Failure, Health, Reason};
pub use interface::{Effect, Input, MonitorConfig, ProbeId, TableDoubt};
pub use settings::ProbeSettings;
pub use status::{LastResponse, LastRun, MountStatus, Status};
pub use time::Time;

use counters::Count;
use platform::{DeviceNumber, Mount, MountKey, MountTable};
use run::Run;
use rustc_hash::FxHashMap;
use slot::{Probe, Slot, Superblock};
use spread::Spread;
pub(crate) use spread::splitmix64;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use timers::Timers;

/// What the offset of the runs is drawn for; no mount has this identity.
const OFFSET_OF_RUNS: u64 = 0;

/// Which mounts are watched, and how: `None` for one that is not to be touched.
pub type Policy = Box<dyn Fn(&Mount) -> Option<ProbeSettings> + Send>;

/// The state machine. Feed it with [`Monitor::handle`], carry out [`Monitor::next_action`] until there is none, and
/// come back at [`Monitor::next_deadline`] at the latest.
pub struct Monitor {
    policy: Policy,
    /// From one run to the next.
    interval: Duration,
    spread: Spread,
    table: MountTable,
    /// The table's ids, for the way up to a parent.
    by_id: FxHashMap<u32, MountKey>,
    slots: FxHashMap<MountKey, Slot>,
    superblocks: FxHashMap<DeviceNumber, Superblock>,
    probes: FxHashMap<ProbeId, Probe>,
    last_probe: u64,
    /// Mounts that may be asked as soon as the window has room.
    ready: VecDeque<MountKey>,
    /// Places of the window that are taken.
    young: usize,
    /// Young probes and when they grow old; those that were answered meanwhile are still in it.
    growing_old: VecDeque<(Time, ProbeId)>,
    /// Condemned or lost probes: nothing is expected of them any more.
    given_up: usize,
    /// Mounts that are hung right now.
    hung: usize,
    timers: Timers<Timer>,
    doubt: Option<TableDoubt>,
    run: Run,
    /// When the last run was due, whether it was opened or became part of the one before.
    last_due: Time,
    runs_begun: u64,
    expected: Vec<expected::Watched>,
    last_run: Option<LastRun>,
    count: Count,
    saw_table: bool,
    /// Changes of health so far.
    health_revision: u64,
    /// File systems that evidence is being collected about.
    collecting: usize,
    /// What the kernel said last of servers, and when.
    heeded: Vec<(Vec<u8>, bool, Time)>,
    /// A hang is over: what lies behind it is to be asked again.
    way_is_free: bool,
    /// When all network file systems were asked because the kernel waits for one of them.
    asked_for_silence: Option<Time>,
    effects: VecDeque<Effect>,
}

/// Something to be done at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Timer {
    /// A probe grows old or is overdue.
    Probe(ProbeId),
    /// A hung file system is asked again.
    Retry(DeviceNumber),
    /// A mount is asked again, by its own interval or because it is dead.
    Ask(MountKey),
    /// A mount is still dead: remind people.
    Remind(MountKey),
    /// An expected mount is looked for a second time.
    Expected,
    /// The next run begins.
    Run,
    /// A reminder about a mount of this file system is near.
    Evidence(DeviceNumber),
}

impl Monitor {
    /// A monitor that starts a run each `poll_interval`, the first with the first mount table.
    #[must_use]
    pub fn new(config: MonitorConfig) -> Monitor {
        let mut monitor = Monitor {
            policy: config.policy,
            interval: config.poll_interval,
            spread: Spread::default(),
            table: MountTable::default(),
            by_id: FxHashMap::default(),
            slots: FxHashMap::default(),
            superblocks: FxHashMap::default(),
            probes: FxHashMap::default(),
            last_probe: 0,
            ready: VecDeque::new(),
            young: 0,
            growing_old: VecDeque::new(),
            given_up: 0,
            hung: 0,
            timers: Timers::new(),
            doubt: None,
            run: Run::default(),
            last_due: Time::default(),
            runs_begun: 0,
            expected: Vec::new(),
            last_run: None,
            count: Count::default(),
            saw_table: false,
            health_revision: 0,
            collecting: 0,
            heeded: Vec::new(),
            way_is_free: false,
            asked_for_silence: None,
            effects: VecDeque::new(),
        };
        monitor.expect(Time::default(), &config.expected);
        monitor
    }

    /// Keeps this machine apart from others that started at the same moment or lost the same server: `seed` should be
    /// its own. The second run then follows anywhere within the interval after the first, and pauses before another
    /// attempt are a little shorter. 0 leaves everything as it is.
    #[must_use]
    pub fn spread(mut self, seed: u64) -> Monitor {
        self.spread = Spread::of(seed);
        self
    }

    /// Takes in what happened, and everything that is due by `now`. Time never runs backwards.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::TableUpdate(table) => {
                self.count.counters.table_reads += 1;
                self.table_was_read(now, table);
            }
            Input::ProbeResponded { probe, outcome, took } => self.answered(now, probe, outcome, took),
            Input::ProbeStuck { probe, call, elapsed } => self.stuck(now, probe, call, elapsed),
            Input::ProbeAborted { probe } => self.aborted(now, probe),
            Input::ProbeStranded { probe } => self.lost(probe),
            Input::ProbeFreed { probe } => self.freed(now, probe),
            Input::EvidenceFound { superblock, evidence } => self.evidence_found(now, superblock, *evidence),
            Input::EvidenceEnded { superblock } => self.evidence_ended(superblock),
            Input::EvidenceRequested { mountpoints } => self.collect_on_wish(now, &mountpoints),
            Input::ServerStatusHint { server, responds } => self.server_sign(now, &server, responds),
            Input::ServerNotResponding => self.server_is_silent(now),
            Input::Stalled(lost) => self.give_time_back(lost),
            Input::Reconfigured(config) => {
                self.reconfigure(now, config.poll_interval, config.policy);
                self.expect(now, &config.expected);
            }
        }
    }

    /// To be called when all inputs of one turn are in: does what is due by `now`. Answers that are already here are
    /// so judged before deadlines.
    pub fn settle(&mut self, now: Time) {
        self.end_grace(now);
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Probe(probe) => self.probe_timer(now, probe),
                Timer::Retry(superblock) => self.retry(now, superblock),
                Timer::Ask(key) => self.own_timer(now, key),
                Timer::Remind(key) => self.remind(now, key),
                Timer::Expected => self.doubt = Some(TableDoubt::Contradicted),
                Timer::Run => self.begin_run(now),
                Timer::Evidence(superblock) => self.collect_for_reminder(now, superblock),
            }
        }
        if std::mem::take(&mut self.way_is_free) {
            self.ask_what_was_behind(now);
        }
        self.start_ready(now);
        self.close_run(now);
    }

    /// When [`Monitor::settle`] has something to do again, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let grace = self.growing_old.front().map(|&(at, _)| at);
        self.timers.next().into_iter().chain(grace).min()
    }

    /// The next thing to do, in order.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns once why the mount table should be read, if there is a reason since the last call.
    pub fn take_table_doubt(&mut self) -> Option<TableDoubt> {
        self.doubt.take()
    }

    /// How often the health of a mount has changed so far: whoever shows [`Monitor::status`] need not show it again
    /// before that grows or something is reported.
    #[must_use]
    pub fn health_revision(&self) -> u64 {
        self.health_revision
    }

    /// The mount table, watched or not.
    #[must_use]
    pub fn table(&self) -> &MountTable {
        &self.table
    }

    /// What is known now.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = Status {
            in_flight: self.probes.len(),
            last_run: self.last_run,
            counters: self.count.counters.clone(),
            expected: self.expected_status(),
            ..Status::default()
        };
        for slot in self.table.iter().filter_map(|mount| self.slots.get(&mount.key)) {
            status.total += usize::from(!slot.hidden);
            status.dead += usize::from(slot.health.failure().is_some());
            status.mounts.push(MountStatus {
                mount: slot.mount.clone(),
                health: slot.health.clone(),
                since: slot.since,
                last_response: slot.answered,
                waiting_since: self.waiting_since(slot),
                settings: slot.settings,
            });
        }
        status
    }

    fn report(&mut self, event: Event) {
        let counters = &mut self.count.counters;
        match event {
            Event::Mounted { .. } => counters.mounted += 1,
            Event::Unmounted { .. } => counters.unmounted += 1,
            Event::Remounted { .. } => counters.remounted += 1,
            Event::Moved { .. } => counters.moved += 1,
            Event::Failed { .. }
            | Event::StillFailing { .. }
            | Event::Recovered { .. }
            | Event::Slow { .. }
            | Event::Denied { .. }
            | Event::Missing { .. }
            | Event::Found { .. }
            | Event::Run { .. } => {}
        }
        self.effects.push_back(Effect::Report(event));
    }

    fn begin_run(&mut self, now: Time) {
        self.runs_begun += 1;
        self.timers.set(Timer::Run, now + self.until_next_run());
        self.last_due = now;
        self.doubt = self.doubt.max(Some(TableDoubt::RunStarted));
        let opened = self.run.open(now);
        let keys: Vec<MountKey> = self.table.iter().map(|mount| mount.key).collect();
        for key in keys {
            let Some(slot) = self.slots.get_mut(&key).filter(|slot| !slot.hidden) else { continue };
            if opened.is_some() {
                slot.run = opened;
                self.run.expect_one();
            }
            if slot.pause == self.interval || slot.health == Health::Pending {
                self.ask(now, key);
            } else if !self.slots.get(&key).is_some_and(|slot| self.is_awaited(slot)) {
                self.settle_for_run(key); // on a schedule of its own: its standing verdict counts
            }
        }
    }

    /// From the beginning of the last run to that of the next.
    fn until_next_run(&self) -> Duration {
        match self.runs_begun {
            0 | 1 => self.spread.first_wait(self.interval, OFFSET_OF_RUNS),
            _ => self.interval,
        }
    }

    /// The run no longer waits for this mount.
    fn settle_for_run(&mut self, key: MountKey) {
        if let Some(slot) = self.slots.get_mut(&key) {
            self.run.settle(&mut slot.run);
        }
    }

    fn close_run(&mut self, now: Time) {
        // Whoever runs once is told what is missing.
        if self.last_run.is_none() && self.suspects_missing() || !self.run.close_if_complete() {
            return;
        }
        let (mut mounts, mut dead) = (0, 0);
        for slot in self.slots.values().filter(|slot| !slot.hidden) {
            mounts += 1;
            dead += usize::from(slot.health.failure().is_some());
        }
        let (unjudged, took) = (self.run.unjudged, now - self.run.started);
        self.last_run = Some(LastRun { at: now, took });
        self.report(Event::Run { mounts, dead, unjudged, took });
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("mounts", &self.slots.len())
            .field("probes", &self.probes.len())
            .finish_non_exhaustive()
    }
}
