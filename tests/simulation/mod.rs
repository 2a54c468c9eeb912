//! A simulated machine around the pure monitor: mounts, file systems with faults, a prober, and a clock that jumps from
//! one deadline to the next. What the monitor does is logged as text.

#![allow(dead_code, unreachable_pub)] // each test that includes this uses a part of it

mod describe;

use describe::{describe, event_failure};
use mount_status_monitor::daemon::{ReadKind, ReadThrottle};
use mount_status_monitor::monitor::{
    Change, Effect, Event, Expected, ExpectedOptions, Input, Monitor, MonitorConfig, OptionsPolicy, Policy,
    ProbeId, ProbeSettings, Time, diff,
};
use platform::evidence::{Evidence, Observation};
use platform::{Call, DeviceNumber, Errno, FsKind, Mount, MountKey, MountTable, ProbeOutcome, Target, Usage};
use platform::{TableChange, TableChanges, TableUpdate};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a file system does when it is probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FsBehavior {
    Responds(Duration),
    Fails(Errno, Duration),
    /// A directory on the path may not be searched.
    PathRefused,
    /// Never responds; killing the prober frees the probe.
    Hangs,
    /// Never responds, and the probe cannot be killed.
    Unkillable,
    /// The path leads to another mount.
    WrongMount,
    KillsProber,
}

pub const QUICK: Duration = Duration::from_millis(1);
/// The interval of the mounts below `/fast`.
const FAST_INTERVAL: Duration = Duration::from_secs(10);
const COLLECTION_TIME: Duration = Duration::from_millis(500);

struct ActiveProbe {
    target: Target,
    minor: Option<u32>,
    since: Time,
    is_abandoned: bool,
    /// The file system in which it is stuck, and the call.
    stuck_in: Option<(u32, Call)>,
}

pub struct Simulation {
    pub now: Time,
    pub settings: ProbeSettings,
    pub monitor: Monitor,
    pub mounts: BTreeMap<u64, Arc<Mount>>,
    pub log: Vec<String>,
    pub events: Vec<(Time, Event)>,
    fs: HashMap<u32, FsBehavior>,
    scheduled: BTreeMap<(Time, u64), Input>,
    sequence: u64,
    probes: HashMap<ProbeId, ActiveProbe>,
    pub read_cost: Duration,
    throttle: ReadThrottle,
    expected: Vec<Arc<Expected>>,
    /// The options that mounts at and below these paths must have.
    expected_options: Vec<(PathBuf, ExpectedOptions)>,
    /// Superblocks that the kernel has made read-only.
    pub read_only: HashSet<u32>,
    /// Log that evidence is collected and reported.
    pub with_evidence: bool,
    /// After an announcement, only what has changed is read, not the whole table.
    pub reads_changes: bool,
}

fn config(settings: ProbeSettings, policy: Policy, expected: &[Arc<Expected>]) -> MonitorConfig {
    MonitorConfig {
        poll_interval: settings.poll_interval,
        policy,
        expected: expected.to_vec(),
        expected_options: None,
        data_paths: None,
        searches_every_directory: false,
    }
}

/// Watches all mounts but automount triggers; those below `/fast` are probed each ten seconds.
pub fn policy(settings: ProbeSettings) -> Policy {
    Box::new(move |mount| {
        let is_fast = mount.mountpoint.starts_with("/fast");
        let poll_interval = if is_fast { FAST_INTERVAL } else { settings.poll_interval };
        let is_watched = mount.fstype != "autofs" && mount.device != "excluded";
        is_watched.then_some(ProbeSettings { poll_interval, ..settings })
    })
}

impl Simulation {
    pub fn new(settings: ProbeSettings, seed: u64) -> Simulation {
        Simulation {
            now: Time::default(),
            settings,
            monitor: Monitor::new(config(settings, policy(settings), &[]), seed),
            mounts: BTreeMap::new(),
            log: Vec::new(),
            events: Vec::new(),
            fs: HashMap::new(),
            scheduled: BTreeMap::new(),
            sequence: 0,
            probes: HashMap::new(),
            read_cost: QUICK,
            throttle: ReadThrottle::default(),
            expected: Vec::new(),
            expected_options: Vec::new(),
            read_only: HashSet::new(),
            with_evidence: false,
            reads_changes: false,
        }
    }

    pub fn mount(&mut self, key: u64, path: &str, fstype: &str, minor: u32, parent: u32) {
        self.insert(Mount {
            key: MountKey(key),
            id: u32::try_from(key).expect("small keys"),
            parent,
            device_number: DeviceNumber { major: 0, minor },
            root: "/".into(),
            mountpoint: path.into(),
            fstype: fstype.into(),
            device: match fstype {
                "excluded" => "excluded".into(),
                "nfs4" => format!("server{minor}:/export").into(),
                _ => format!("dev{minor}").into(),
            },
            options: "rw".into(),
            super_options: "rw".into(),
            connection_owner: None,
            shortened: platform::ShortenedNames::default(),
        });
    }

    /// Replaces the expected mounts: at these paths, of this type or any. Their origin differs each time.
    pub fn expect(&mut self, mounts: &[(&str, Option<&str>)]) {
        let origin = format!("{:?}", self.now);
        let expected = |&(path, fstype): &(&str, Option<&str>)| {
            let fstype = fstype.map(std::ffi::OsString::from);
            let matches = move |mount: &Mount| fstype.as_ref().is_none_or(|fstype| *mount.fstype == **fstype);
            Arc::new(Expected::new(path.into(), String::new(), origin.clone(), matches))
        };
        self.expected = mounts.iter().map(expected).collect();
        self.load(config(self.settings, policy(self.settings), &self.expected));
    }

    /// Replaces the options that mounts at and below paths must have.
    pub fn expect_options<'a>(&mut self, mounts: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let options = |options: &str| ExpectedOptions::new(options.split(',').map(str::to_owned).collect());
        let expected =
            mounts.into_iter().map(|(path, list)| (path.into(), options(list).expect("valid options")));
        self.expected_options = expected.collect();
        self.load(config(self.settings, policy(self.settings), &self.expected));
    }

    fn load(&mut self, config: MonitorConfig) {
        let expected = self.expected_options.clone();
        let policy: OptionsPolicy = Box::new(move |mount| {
            let of_path = expected.iter().find(|(path, _)| mount.mountpoint.starts_with(path));
            of_path.map(|(_, options)| options.clone())
        });
        let expected_options = (!self.expected_options.is_empty()).then_some(policy);
        self.feed(Input::Reconfigured(MonitorConfig { expected_options, ..config }));
    }

    /// Loads another interval of the runs and other settings of mounts; mounts of the type `without` are no longer
    /// watched.
    pub fn reconfigure(&mut self, runs: Duration, settings: ProbeSettings, without: Option<String>) {
        let default = policy(settings);
        let policy = Box::new(move |mount: &Mount| {
            default(mount).filter(|_| without.as_ref().is_none_or(|without| mount.fstype != **without))
        });
        self.load(MonitorConfig { poll_interval: runs, ..config(settings, policy, &self.expected) });
    }

    fn insert(&mut self, mount: Mount) {
        self.mounts.insert(mount.key.0, Arc::new(mount));
    }

    pub fn alter(&mut self, key: u64, change: impl FnOnce(&mut Mount)) {
        if let Some(mount) = self.mounts.get(&key) {
            let mut mount = Mount::clone(mount);
            change(&mut mount);
            self.insert(mount);
        }
    }

    /// Changes the behaviour of a file system, also for the probes that wait for it.
    pub fn set_fs(&mut self, minor: u32, fs: FsBehavior) {
        self.fs.insert(minor, fs);
        let waits = |probe: &ActiveProbe| probe.stuck_in.is_some_and(|(stuck_in, _)| stuck_in == minor);
        let mut waiting: Vec<ProbeId> =
            self.probes.iter().filter(|(_, probe)| waits(probe)).map(|(id, _)| *id).collect();
        waiting.sort_unstable(); // a history can be repeated
        for probe in waiting {
            if matches!(fs, FsBehavior::Hangs | FsBehavior::Unkillable) {
                continue;
            }
            if self.probes[&probe].is_abandoned {
                self.schedule(QUICK, Input::ProbeFreed { probe });
            } else {
                self.respond(probe);
            }
        }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.monitor.next_deadline().into_iter().chain(self.throttle.next_deadline()).min()
    }

    pub fn is_hanging(&self, minor: u32) -> bool {
        matches!(self.fs.get(&minor), Some(FsBehavior::Hangs | FsBehavior::Unkillable))
    }

    /// Whether a probe reaches its mount or another one; or the file system and call in which it is stuck.
    fn resolve(&self, target: &Target) -> Result<bool, (u32, Call)> {
        let (reached, hung_ancestor) = self.walk(&target.path);
        if let Some(minor) = hung_ancestor {
            return Err((minor, Call::Identify));
        }
        if reached != Some(target.key.0) {
            return Ok(false);
        }
        let minor = self.mounts[&target.key.0].device_number.minor;
        let call = if target.kind == FsKind::Network { Call::Statfs } else { Call::Statx };
        if self.is_hanging(minor) { Err((minor, call)) } else { Ok(true) }
    }

    /// Resolves a path as the kernel does, directory by directory: which mount it reaches, and the first hung file system
    /// in which it looks up a name.
    pub fn walk(&self, path: &Path) -> (Option<u64>, Option<u32>) {
        let root =
            self.mounts.values().filter(|mount| mount.mountpoint == Path::new("/") && mount.parent == 0);
        let Some(mut here) = root.map(|mount| mount.key.0).next() else { return (None, None) };
        let mut at = PathBuf::from("/");
        let mut hung_ancestor = None;
        let mut names = path.components().skip(1);
        loop {
            let over = |id: u64| {
                let on_it = |mount: &&Arc<Mount>| u64::from(mount.parent) == id && mount.mountpoint == at;
                self.mounts.values().filter(|mount| mount.key.0 != id).rfind(on_it)
            };
            while let Some(mount) = over(here) {
                here = mount.key.0;
            }
            let Some(name) = names.next() else { return (Some(here), hung_ancestor) };
            let minor = self.mounts[&here].device_number.minor;
            hung_ancestor = hung_ancestor.or(self.is_hanging(minor).then_some(minor));
            at.push(name);
        }
    }

    /// What the ancestors of a mount add to each response time.
    fn ancestor_delay(&self, target: &Target) -> Duration {
        let mut took = Duration::ZERO;
        let mut mount = self.mounts.get(&target.key.0);
        while let Some(parent) = mount.and_then(|mount| self.mounts.get(&u64::from(mount.parent))) {
            if let Some(FsBehavior::Responds(time)) = self.fs.get(&parent.device_number.minor) {
                took += *time;
            }
            mount = Some(parent);
        }
        took
    }

    fn schedule(&mut self, after: Duration, input: Input) {
        self.sequence += 1;
        self.scheduled.insert((self.now + after, self.sequence), input);
    }

    /// Passes one input to the monitor and executes the immediate effects.
    pub fn feed(&mut self, input: Input) {
        self.monitor.handle(self.now, input);
        self.settle();
    }

    /// Passes the table to the monitor, as at the start.
    pub fn feed_table(&mut self) {
        self.throttle.finish(self.now, Duration::ZERO, true);
        self.feed(Input::TableUpdate(TableUpdate::Whole(self.table())));
    }

    fn table(&self) -> MountTable {
        MountTable::new(self.mounts.values().cloned().collect())
    }

    fn changes(&self) -> TableUpdate {
        let changes = diff(self.monitor.tree(), &self.table());
        let change = |change: Change| match change {
            Change::Unmounted(mount) => TableChange::Gone(mount.key),
            Change::Mounted(after) | Change::Remounted { after, .. } | Change::Moved { after, .. } => {
                TableChange::Present(after)
            }
        };
        TableUpdate::Changes(TableChanges { changes: changes.into_iter().map(change).collect(), missed: 0 })
    }

    /// The kernel announces a change of the table.
    pub fn announce(&mut self) {
        self.throttle.request_changes(self.now);
        self.settle();
    }

    fn settle(&mut self) {
        self.monitor.settle(self.now);
        if let Some(doubt) = self.monitor.take_table_doubt() {
            self.throttle.on_doubt(self.now, doubt);
        }
        if let Some(kind) = self.throttle.take_due(self.now) {
            self.log(format!("read {kind:?}").to_lowercase());
            let update = match kind {
                ReadKind::Changes if self.reads_changes => self.changes(),
                _ => TableUpdate::Whole(self.table()),
            };
            self.schedule(Duration::ZERO, Input::TableUpdate(update));
        }
        while let Some(effect) = self.monitor.next_effect() {
            self.execute(effect);
        }
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::StartProbe { probe, target } => self.start(probe, target),
            Effect::ConfirmHang { probe } => {
                self.log(format!("confirm {}", probe.0));
                if let Some(active) = self.probes.get(&probe) {
                    let is_slow_path = self.ancestor_delay(&active.target) > QUICK;
                    let slow_call = if is_slow_path { Call::Identify } else { Call::Statfs };
                    let call = active.stuck_in.map_or(slow_call, |(_, call)| call);
                    let elapsed = (self.now + QUICK) - active.since;
                    self.schedule(QUICK, Input::ProbeStuck { probe, call, elapsed });
                }
            }
            Effect::AbandonProbe { probe } => {
                self.log(format!("abandon {}", probe.0));
                let Some(active) = self.probes.get_mut(&probe) else { return };
                active.is_abandoned = true;
                let fs = active.stuck_in.and_then(|(minor, _)| self.fs.get(&minor));
                if fs != Some(&FsBehavior::Unkillable) {
                    self.schedule(QUICK, Input::ProbeFreed { probe });
                }
            }
            Effect::CollectEvidence { mount, probe, only_hung, .. } => self.collect(&mount, probe, only_hung),
            Effect::Notify(notice) => self.log(format!("{notice:?}")),
            Effect::Report(event) => {
                let has_evidence = event_failure(&event).is_some_and(|failure| failure.evidence.is_some());
                let suffix = if self.with_evidence && has_evidence { " with evidence" } else { "" };
                self.log(describe(&event) + suffix);
                self.events.push((self.now, event));
            }
        }
    }

    /// Half a second later something is found, and the collection ends.
    fn collect(&mut self, mount: &Mount, probe: Option<ProbeId>, only_hung: bool) {
        if self.with_evidence {
            let of = probe.map(|probe| format!(" of {}", probe.0)).unwrap_or_default();
            let alone = if only_hung { " alone" } else { "" };
            self.log(format!("collect {}{of}{alone}", mount.mountpoint.display()));
        }
        let superblock = mount.device_number;
        let evidence = Evidence { fuse_waiting: Some(Observation::Found(7)), ..Evidence::default() };
        let found = Input::EvidenceFound { superblock, evidence: Box::new(evidence) };
        self.schedule(COLLECTION_TIME, found);
        self.schedule(COLLECTION_TIME, Input::EvidenceEnded { superblock });
    }

    fn start(&mut self, probe: ProbeId, target: Target) {
        self.log(format!("probe {} {}", probe.0, target.path.display()));
        let minor = self.mounts.get(&target.key.0).map(|mount| mount.device_number.minor);
        let since = self.now;
        let active = ActiveProbe { target, minor, since, is_abandoned: false, stuck_in: None };
        self.probes.insert(probe, active);
        self.respond(probe);
    }

    /// Schedules the end of a probe, unless it is stuck.
    fn respond(&mut self, probe: ProbeId) {
        let resolved = self.resolve(&self.probes[&probe].target);
        let Some(active) = self.probes.get_mut(&probe) else { return };
        active.stuck_in = resolved.err();
        let Ok(reached) = resolved else { return };
        let active = &self.probes[&probe];
        let waited = self.now - active.since;
        let of_mount = active.minor.unwrap_or_default();
        let read_only = self.read_only.contains(&of_mount);
        let usage =
            Usage { block_size: 4096, blocks: 100, free: 50, available: 50, read_only, ..Usage::default() };
        let fs = if reached { self.fs.get(&of_mount).copied() } else { Some(FsBehavior::WrongMount) };
        let fs = fs.unwrap_or(FsBehavior::Responds(QUICK));
        let delay = self.ancestor_delay(&active.target);
        let (outcome, took) = match fs {
            FsBehavior::Responds(took) => (ProbeOutcome::Alive(usage), took),
            FsBehavior::Fails(errno, took) => (ProbeOutcome::Failed { call: Call::Statfs, errno }, took),
            FsBehavior::PathRefused => {
                (ProbeOutcome::Failed { call: Call::Identify, errno: Errno::EACCES }, QUICK)
            }
            FsBehavior::WrongMount => (ProbeOutcome::WrongMount, QUICK),
            FsBehavior::KillsProber => return self.schedule(QUICK, Input::ProbeAborted { probe }),
            FsBehavior::Hangs | FsBehavior::Unkillable => return,
        };
        let took = delay + took;
        self.schedule(took, Input::ProbeResponded { probe, outcome, took: waited + took });
    }

    /// Lets time pass, deadline by deadline, up to and including `until`.
    pub fn run_until(&mut self, until: Time) {
        loop {
            let input = self.scheduled.keys().next().map(|&(at, _)| at);
            let deadline = self.next_deadline().map(|at| at.max(self.now));
            let Some(next) = input.into_iter().chain(deadline).min().filter(|&at| at <= until) else { break };
            self.now = next;
            // Inputs that have arrived are handled before deadlines are judged.
            while let Some((&(at, sequence), _)) = self.scheduled.first_key_value() {
                if at > self.now {
                    break;
                }
                let input = self.scheduled.remove(&(at, sequence)).expect("it was seen above");
                if let Some(input) = self.filter(input) {
                    let is_table = matches!(input, Input::TableUpdate(_));
                    self.monitor.handle(self.now, input);
                    if is_table {
                        self.throttle.finish(self.now, self.read_cost, true);
                    }
                }
            }
            self.settle();
        }
        self.now = until;
    }

    /// Drops inputs about a probe that has ended: each probe has exactly one end.
    fn filter(&mut self, input: Input) -> Option<Input> {
        match &input {
            Input::ProbeResponded { probe, .. }
            | Input::ProbeAborted { probe }
            | Input::ProbeFreed { probe } => {
                self.probes.remove(probe)?;
            }
            Input::ProbeStuck { probe, .. } => {
                self.probes.get(probe)?;
            }
            _ => {}
        }
        Some(input)
    }

    /// The superblocks of the unanswered probes. That of a mount which was gone before its probe is not known.
    pub fn unanswered(&self) -> impl Iterator<Item = u32> {
        self.probes.values().filter_map(|probe| probe.minor)
    }

    fn log(&mut self, text: String) {
        self.log.push(format!("{:>10.3}s  {text}", self.now.since_start().as_secs_f64()));
    }
}
