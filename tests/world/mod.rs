//! A made-up machine around the pure monitor: mounts, file systems with faults, a prober that behaves, a clock that
//! jumps from one deadline to the next. Whatever the monitor does is logged as text.

#![allow(dead_code, unreachable_pub)] // each test that includes this uses a part of it

use mount_status_monitor::daemon::ReadThrottle;
use mount_status_monitor::monitor::{
    Effect, Event, Expected, Failure, Input, Monitor, MonitorConfig, Policy, ProbeId, ProbeSettings, Time,
};
use platform::evidence::{Evidence, Observation};
use platform::{Call, DeviceNumber, Errno, FsKind, Mount, MountKey, MountTable, ProbeOutcome, Target, Usage};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a file system does when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fs {
    Answers(Duration),
    Fails(Errno, Duration),
    /// Never answers; killing the prober frees the probe.
    Hangs,
    /// Never answers, and the probe cannot be killed.
    Unkillable,
    /// The path reaches something else.
    WrongMount,
    /// The prober dies of it.
    KillsTheProber,
}

pub const QUICK: Duration = Duration::from_millis(1);
const LOST_AFTER: Duration = Duration::from_millis(500);
const COLLECTING: Duration = Duration::from_millis(500);

struct Asked {
    target: Arc<Target>,
    minor: u32,
    since: Time,
    condemned: bool,
    lost: bool,
    /// The file system that it is stuck in, and in which call.
    held: Option<(u32, Call)>,
}

pub struct World {
    pub now: Time,
    pub settings: ProbeSettings,
    pub monitor: Monitor,
    pub mounts: BTreeMap<u64, Arc<Mount>>,
    pub log: Vec<String>,
    pub events: Vec<(Time, Event)>,
    fs: HashMap<u32, Fs>,
    coming: BTreeMap<(Time, u64), Input>,
    sequence: u64,
    probes: HashMap<ProbeId, Asked>,
    read_cost: Duration,
    throttle: ReadThrottle,
    expected: Vec<Arc<Expected>>,
    read_only: HashMap<u32, bool>,
    /// Are the scenario's lines to show that evidence is collected and told?
    pub with_evidence: bool,
}

fn config(settings: ProbeSettings, policy: Policy, expected: &[Arc<Expected>]) -> MonitorConfig {
    MonitorConfig { poll_interval: settings.poll_interval, policy, expected: expected.to_vec() }
}

pub fn policy(settings: ProbeSettings) -> Policy {
    Box::new(move |mount| (mount.fstype != "autofs" && mount.device != "excluded").then_some(settings))
}

impl World {
    pub fn new(settings: ProbeSettings) -> World {
        World::seeded(settings, 0)
    }

    /// With a seed that keeps it apart from others.
    pub fn seeded(settings: ProbeSettings, seed: u64) -> World {
        World {
            now: Time::default(),
            settings,
            monitor: Monitor::new(config(settings, policy(settings), &[]), seed),
            mounts: BTreeMap::new(),
            log: Vec::new(),
            events: Vec::new(),
            fs: HashMap::new(),
            coming: BTreeMap::new(),
            sequence: 0,
            probes: HashMap::new(),
            read_cost: QUICK,
            throttle: ReadThrottle::default(),
            expected: Vec::new(),
            read_only: HashMap::new(),
            with_evidence: false,
        }
    }

    pub fn mount(&mut self, key: u64, path: &str, fstype: &str, minor: u32, parent: u32) {
        self.insert(Mount {
            key: MountKey(key),
            id: u32::try_from(key).expect("small keys"),
            parent,
            device_number: DeviceNumber { major: 0, minor },
            root: "/".into(),
            mountpoint: PathBuf::from(path),
            fstype: fstype.into(),
            device: match fstype {
                "excluded" => "excluded".into(),
                "nfs4" => format!("server{minor}:/export").into(),
                _ => format!("dev{minor}").into(),
            },
            options: "rw".into(),
            super_options: "rw".into(),
        });
    }

    /// What has to be there from now on: at these places, of this type or of any, as another file says each time.
    pub fn expect(&mut self, places: &[(&str, Option<&str>)]) {
        let origin = format!("{:?}", self.now);
        let expected = |&(path, fstype): &(&str, Option<&str>)| {
            let fstype = fstype.map(std::ffi::OsString::from);
            let fits = move |mount: &Mount| fstype.as_ref().is_none_or(|fstype| mount.fstype == *fstype);
            Arc::new(Expected::new(path.into(), String::new(), origin.clone(), fits))
        };
        self.expected = places.iter().map(expected).collect();
        self.feed(Input::Reconfigured(config(self.settings, policy(self.settings), &self.expected)));
    }

    /// Other settings from now on; mounts of this type, if one is named, are no longer watched.
    pub fn reconfigure(&mut self, settings: ProbeSettings, without: Option<String>) {
        let usual = policy(settings);
        let policy = Box::new(move |mount: &Mount| {
            usual(mount).filter(|_| without.as_ref().is_none_or(|without| mount.fstype != **without))
        });
        self.feed(Input::Reconfigured(config(settings, policy, &self.expected)));
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

    pub fn set_read_only(&mut self, minor: u32) {
        self.read_only.insert(minor, true);
    }

    pub fn set_read_cost(&mut self, cost: Duration) {
        self.read_cost = cost;
    }

    /// A file system changes its behaviour; probes that wait for it feel it.
    pub fn set_fs(&mut self, minor: u32, fs: Fs) {
        self.fs.insert(minor, fs);
        let held = |asked: &Asked| asked.held.is_some_and(|(by, _)| by == minor);
        let waiting: Vec<ProbeId> = self.probes.iter().filter(|(_, a)| held(a)).map(|(id, _)| *id).collect();
        for probe in waiting {
            let asked = &self.probes[&probe];
            if matches!(fs, Fs::Hangs | Fs::Unkillable) {
                continue; // still
            }
            if asked.condemned {
                self.come(QUICK, Input::ProbeFreed { probe });
            } else {
                self.behave(probe);
            }
        }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.monitor.next_deadline().into_iter().chain(self.throttle.next_deadline()).min()
    }

    pub fn is_hanging(&self, minor: u32) -> bool {
        matches!(self.fs.get(&minor), Some(Fs::Hangs | Fs::Unkillable))
    }

    /// What a probe meets: it is stuck in a call, or reaches the mount that is meant, or another.
    fn meets(&self, target: &Target) -> Result<bool, (u32, Call)> {
        let (reached, way_hangs) = self.walk(&target.path);
        if let Some(minor) = way_hangs {
            return Err((minor, Call::Identify));
        }
        if reached != Some(target.key.0) {
            return Ok(false);
        }
        let minor = self.mounts[&target.key.0].device_number.minor;
        let call = if target.kind == FsKind::Network { Call::Statfs } else { Call::Statx };
        if self.is_hanging(minor) { Err((minor, call)) } else { Ok(true) }
    }

    /// Resolves a path as the kernel does, directory by directory: which mount it reaches, and the first file system
    /// on the way that hangs when it is asked for a name.
    pub fn walk(&self, path: &Path) -> (Option<u64>, Option<u32>) {
        let root =
            self.mounts.values().filter(|mount| mount.mountpoint == Path::new("/") && mount.parent == 0);
        let Some(mut here) = root.map(|mount| mount.key.0).next() else { return (None, None) };
        let mut at = PathBuf::from("/");
        let mut way_hangs = None;
        let mut names = path.components().skip(1);
        loop {
            let over = |id: u64| {
                let on_it = |mount: &&Arc<Mount>| u64::from(mount.parent) == id && mount.mountpoint == at;
                self.mounts.values().filter(|mount| mount.key.0 != id).rfind(on_it)
            };
            while let Some(mount) = over(here) {
                here = mount.key.0;
            }
            let Some(name) = names.next() else { return (Some(here), way_hangs) };
            let minor = self.mounts[&here].device_number.minor;
            way_hangs = way_hangs.or(self.is_hanging(minor).then_some(minor));
            at.push(name);
        }
    }

    /// What the mounts through which a path leads add to each answer.
    fn way_takes(&self, target: &Target) -> Duration {
        let mut took = Duration::ZERO;
        let mut mount = self.mounts.get(&target.key.0);
        while let Some(parent) = mount.and_then(|mount| self.mounts.get(&u64::from(mount.parent))) {
            if let Some(Fs::Answers(time)) = self.fs.get(&parent.device_number.minor) {
                took += *time;
            }
            mount = Some(parent);
        }
        took
    }

    fn come(&mut self, after: Duration, input: Input) {
        self.sequence += 1;
        self.coming.insert((self.now + after, self.sequence), input);
    }

    /// Feeds one input and carries out all that follows at this moment.
    pub fn feed(&mut self, input: Input) {
        self.monitor.handle(self.now, input);
        self.act();
    }

    /// Hands the table in as it is, as at the start.
    pub fn feed_table(&mut self) {
        let table = MountTable::new(self.mounts.values().cloned().collect());
        self.throttle.finish(self.now, Duration::ZERO, true);
        self.feed(Input::TableUpdate(table));
    }

    /// The kernel announces a change of the table.
    pub fn announce(&mut self) {
        self.throttle.request_refresh(self.now);
        self.act();
    }

    fn act(&mut self) {
        self.monitor.settle(self.now);
        if let Some(doubt) = self.monitor.take_table_doubt() {
            self.throttle.on_doubt(self.now, doubt);
        }
        if let Some(kind) = self.throttle.take_due(self.now) {
            self.say(format!("read {kind:?}").to_lowercase());
            let table = MountTable::new(self.mounts.values().cloned().collect());
            self.come(Duration::ZERO, Input::TableUpdate(table));
        }
        while let Some(action) = self.monitor.next_effect() {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Effect) {
        match action {
            Effect::StartProbe { probe, target } => self.start(probe, target),
            Effect::ConfirmHang { probe } => {
                self.say(format!("confirm {}", probe.0));
                if let Some(asked) = self.probes.get(&probe) {
                    let slow =
                        if self.way_takes(&asked.target) > QUICK { Call::Identify } else { Call::Statfs };
                    let call = asked.held.map_or(slow, |(_, call)| call);
                    let elapsed = (self.now + QUICK) - asked.since;
                    self.come(QUICK, Input::ProbeStuck { probe, call, elapsed });
                }
            }
            Effect::AbandonProbe { probe } => {
                self.say(format!("condemn {}", probe.0));
                let Some(asked) = self.probes.get_mut(&probe) else { return };
                asked.condemned = true;
                if asked.held.is_some_and(|(by, _)| self.fs.get(&by) == Some(&Fs::Unkillable)) {
                    self.come(LOST_AFTER, Input::ProbeStranded { probe });
                } else {
                    self.come(QUICK, Input::ProbeFreed { probe });
                }
            }
            Effect::CollectEvidence { mount, probe, alone, .. } => self.collect(&mount, probe, alone),
            Effect::Report(event) => {
                let known = event_failure(&event).is_some_and(|failure| failure.evidence.is_some());
                let known = if self.with_evidence && known { " with evidence" } else { "" };
                self.say(describe(&event) + known);
                self.events.push((self.now, event));
            }
        }
    }

    /// Half a second later something has been found, and that is all.
    fn collect(&mut self, mount: &Mount, probe: Option<ProbeId>, alone: bool) {
        if self.with_evidence {
            let of = probe.map(|probe| format!(" of {}", probe.0)).unwrap_or_default();
            let alone = if alone { " alone" } else { "" };
            self.say(format!("collect {}{of}{alone}", mount.mountpoint.display()));
        }
        let superblock = mount.device_number;
        let evidence = Evidence { fuse_waiting: Some(Observation::Found(7)), ..Evidence::default() };
        let found = Input::EvidenceFound { superblock, evidence: Box::new(evidence) };
        self.come(COLLECTING, found);
        self.come(COLLECTING, Input::EvidenceEnded { superblock });
    }

    fn start(&mut self, probe: ProbeId, target: Arc<Target>) {
        self.say(format!("probe {} {}", probe.0, target.path.display()));
        let minor = self.mounts.get(&target.key.0).map_or(0, |mount| mount.device_number.minor);
        let since = self.now;
        self.probes.insert(probe, Asked { target, minor, since, condemned: false, lost: false, held: None });
        self.behave(probe);
    }

    fn behave(&mut self, probe: ProbeId) {
        let met = self.meets(&self.probes[&probe].target);
        let Some(asked) = self.probes.get_mut(&probe) else { return };
        asked.held = met.err();
        let Ok(reached) = met else { return };
        let asked = &self.probes[&probe];
        let waited = self.now - asked.since;
        let read_only = self.read_only.get(&asked.minor).copied().unwrap_or(false);
        let usage =
            Usage { block_size: 4096, blocks: 100, free: 50, available: 50, read_only, ..Usage::default() };
        let fs = if reached { self.fs.get(&asked.minor).copied() } else { Some(Fs::WrongMount) };
        let fs = fs.unwrap_or(Fs::Answers(QUICK));
        let way = self.way_takes(&asked.target);
        let (outcome, took) = match fs {
            Fs::Answers(took) => (ProbeOutcome::Alive(usage), took),
            Fs::Fails(errno, took) => (ProbeOutcome::Failed { call: Call::Statfs, errno }, took),
            Fs::WrongMount => (ProbeOutcome::WrongMount, QUICK),
            Fs::KillsTheProber => return self.come(QUICK, Input::ProbeAborted { probe }),
            Fs::Hangs | Fs::Unkillable => return,
        };
        let took = way + took;
        self.come(took, Input::ProbeResponded { probe, outcome, took: waited + took });
    }

    /// Lets time pass, event by event, up to and including `until`.
    pub fn run_until(&mut self, until: Time) {
        loop {
            let input = self.coming.keys().next().map(|&(at, _)| at);
            let deadline = self.next_deadline().map(|at| at.max(self.now));
            let Some(next) = input.into_iter().chain(deadline).min().filter(|&at| at <= until) else { break };
            self.now = next;
            // All that is readable now is read before deadlines are judged.
            while let Some((&(at, sequence), _)) = self.coming.first_key_value() {
                if at > self.now {
                    break;
                }
                let input = self.coming.remove(&(at, sequence)).expect("just seen");
                if let Some(input) = self.still_true(input) {
                    let is_table = matches!(input, Input::TableUpdate(_));
                    self.monitor.handle(self.now, input);
                    if is_table {
                        self.throttle.finish(self.now, self.read_cost, true);
                    }
                }
            }
            self.act();
        }
        self.now = until;
    }

    /// Each probe has exactly one end.
    fn still_true(&mut self, input: Input) -> Option<Input> {
        match &input {
            Input::ProbeResponded { probe, .. }
            | Input::ProbeAborted { probe }
            | Input::ProbeFreed { probe } => {
                self.probes.remove(probe)?;
            }
            Input::ProbeStuck { probe, .. } => {
                self.probes.get(probe)?;
            }
            Input::ProbeStranded { probe } => self.probes.get_mut(probe)?.lost = true,
            _ => {}
        }
        Some(input)
    }

    /// Unanswered probes: (superblock, path, lost).
    pub fn unanswered(&self) -> Vec<(u32, PathBuf, bool)> {
        self.probes.values().map(|a| (a.minor, a.target.path.clone(), a.lost || a.condemned)).collect()
    }

    fn say(&mut self, text: String) {
        self.log.push(format!("{:>10.3}s  {text}", self.now.since_start().as_secs_f64()));
    }
}

fn event_failure(event: &Event) -> Option<&Failure> {
    match event {
        Event::Failed { failure, .. } | Event::StillFailing { failure, .. } => Some(failure),
        _ => None,
    }
}

fn describe(event: &Event) -> String {
    let path = event.mount().map_or_else(String::new, |mount| mount.mountpoint.display().to_string());
    let name = event.name();
    let detail = match event {
        Event::Mounted { .. } => String::new(),
        Event::Unmounted { health, .. } => format!(" was {}", health.as_str()),
        Event::Remounted { mount, before } => {
            format!(" {} -> {}", before.options.display(), mount.options.display())
        }
        Event::Moved { from, .. } => format!(" from {}", from.display()),
        Event::Failed { failure, .. } => format!(" {}{}", failure.reason.as_str(), waited(failure.waited)),
        Event::StillFailing { failure, lasted, .. } => format!(" {} for {lasted:?}", failure.reason.as_str()),
        Event::Recovered { lasted, was, .. } => format!(" from {was} after {lasted:?}"),
        Event::Slow { took, .. } => format!(" {took:?}"),
        Event::Denied { errno, .. } => format!(" {errno}"),
        Event::Missing { expected, containing_mount } => {
            let around = containing_mount
                .as_ref()
                .map_or("nowhere".into(), |mount| mount.mountpoint.display().to_string());
            return format!("MISSING {} now in {around}", expected.mountpoint.display());
        }
        Event::Found { lasted, .. } => format!(" after {lasted:?}"),
        Event::Run { mounts, dead, unjudged, .. } => {
            return format!("RUN {mounts} mounts, {dead} dead, {unjudged} unjudged");
        }
    };
    format!("{} {path}{detail}", name.to_uppercase())
}

fn waited(waited: Duration) -> String {
    if waited.is_zero() { String::new() } else { format!(" {waited:?}") }
}
