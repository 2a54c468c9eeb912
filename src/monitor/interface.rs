//! The inputs and effects of the monitor.

use super::severity::Severity;
use super::{
    Counters, DataPathPolicy, DataPathStatus, Event, Expected, ExpectedStatus, Health, MountStatuses,
    OptionsPolicy, ReportState, Time, UnexpectedOptions, UserNotice,
};
use platform::evidence::{Evidence, StalledStorage};
use platform::signs::Sign;
use platform::{Call, DeviceNumber, Mount, MountKey, ProbeOutcome, TableUpdate, Target, Usage};
use rustc_hash::FxHashSet;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Identifies one probe for the lifetime of the daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProbeId(pub u64);

/// How one mount is probed, and how severe its failure is. The same for all mounts unless a rule overrides it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeSettings {
    /// Interval between two probes.
    pub poll_interval: Duration,
    /// A mount without a response within this time is hung.
    pub timeout: Duration,
    /// A response later than this is slow.
    pub slow_after: Duration,
    pub flap: FlapSettings,
    pub severity: Severity,
}

/// The settings of one mount. Most mounts share them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MountSettings {
    pub probe: ProbeSettings,
    /// The interval between its probes while it responds: that of the settings, or longer if that would prevent the mount
    /// from expiring.
    pub probe_interval: Duration,
}

impl Default for MountSettings {
    fn default() -> MountSettings {
        let probe = ProbeSettings::default();
        MountSettings { probe, probe_interval: probe.poll_interval }
    }
}

impl Deref for MountSettings {
    type Target = ProbeSettings;
    fn deref(&self) -> &ProbeSettings {
        &self.probe
    }
}

/// When a mount flaps: after this many changes within the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlapSettings {
    /// 0: every change is reported.
    pub changes: u32,
    pub window: Duration,
}

impl Default for FlapSettings {
    /// Three failures with their recoveries within five minutes: a server that is restarted twice does not flap.
    fn default() -> FlapSettings {
        FlapSettings { changes: 6, window: Duration::from_secs(300) }
    }
}

impl Default for ProbeSettings {
    fn default() -> ProbeSettings {
        ProbeSettings {
            poll_interval: Duration::from_secs(60),
            timeout: Duration::from_secs(3),
            slow_after: Duration::from_secs(1),
            flap: FlapSettings::default(),
            severity: Severity::default(),
        }
    }
}

/// Which mounts are watched, and how: `None` for one that must not be touched.
pub type Policy = Box<dyn Fn(&Mount) -> Option<ProbeSettings> + Send>;

pub struct MonitorConfig {
    /// Interval between two runs.
    pub poll_interval: Duration,
    pub policy: Policy,
    pub expected: Vec<Arc<Expected>>,
    /// `None` if no rule expects options.
    pub expected_options: Option<OptionsPolicy>,
    /// `None` if no rule has data-path probes.
    pub data_paths: Option<DataPathPolicy>,
    /// No directory's permissions keep a probe from its mount.
    pub searches_every_directory: bool,
}

/// To prove that a probe is stuck, its prober watches it for this long.
pub const PROOF_TIME: Duration = Duration::from_millis(100);

/// An external event.
pub enum Input {
    /// The mount table was read.
    TableUpdate(TableUpdate),
    /// A probe ended with an outcome, in time or late. Its calls `took` this long.
    ProbeResponded { probe: ProbeId, outcome: ProbeOutcome, took: Duration },
    /// It is proven that a probe is stuck in a call. Its thread had been working on it for `elapsed` when the prober was
    /// asked, and has been stuck for [`PROOF_TIME`] since.
    ProbeStuck { probe: ProbeId, call: Call, elapsed: Duration },
    /// A probe ended without a response: its prober died, did not start or does not respond.
    ProbeAborted { probe: ProbeId },
    /// An abandoned probe ended without a response: its mount can be probed again.
    ProbeFreed { probe: ProbeId },
    /// A part of the evidence about a superblock was found.
    EvidenceFound { superblock: DeviceNumber, evidence: Box<Evidence> },
    /// The collection of evidence about a superblock ended.
    EvidenceEnded { superblock: DeviceNumber },
    /// Fresh evidence was requested about the dead mounts at these mount points.
    EvidenceRequested { mountpoints: Vec<PathBuf> },
    /// Somebody waits for a fresh judgement of the mounts at these mount points, or of all.
    ProbesRequested(ProbeSelection),
    /// The kernel client reports that a server does not respond or responds again. It is named as in the device of its
    /// mounts.
    ServerStatusHint { server: Vec<u8>, responds: bool },
    /// The kernel reports that something waits for such storage.
    StorageStall(StalledStorage),
    /// Tasks seem to wait for these servers.
    EarlySigns(Vec<Sign>),
    /// The kernel reports that some file server does not respond, but not which.
    ServerNotResponding,
    /// The configuration was loaded again.
    Reconfigured(MonitorConfig),
    /// This process did not run for this long: deadlines are extended.
    Stalled(Duration),
    /// The machine was suspended, or this process did not run for long: nothing is reported before a new probe.
    Resumed,
}

/// Mounts to probe on request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProbeSelection {
    All,
    These(FxHashSet<MountKey>),
}

impl ProbeSelection {
    pub fn contains(&self, key: MountKey) -> bool {
        match self {
            ProbeSelection::All => true,
            ProbeSelection::These(keys) => keys.contains(&key),
        }
    }

    /// The mounts of either selection.
    pub fn union(self, other: ProbeSelection) -> ProbeSelection {
        match (self, other) {
            (ProbeSelection::These(mut keys), ProbeSelection::These(more)) => {
                keys.extend(more);
                ProbeSelection::These(keys)
            }
            _ => ProbeSelection::All,
        }
    }
}

/// A decision of the monitor for the daemon to execute. Effects are executed in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Probe this mount.
    StartProbe { probe: ProbeId, target: Target },
    /// This probe is past its deadline: let its prober prove that it is stuck in a call.
    ConfirmHang { probe: ProbeId },
    /// The mount of this probe was judged without its response: end it.
    AbandonProbe { probe: ProbeId },
    /// Collect evidence about a superblock. The evidence and then `EvidenceEnded` follow.
    CollectEvidence {
        /// One of its mounts.
        mount: Arc<Mount>,
        /// The table's ids of all its mounts.
        mount_ids: Vec<u32>,
        /// The probe that waits for it. Its thread can be examined while it is stuck.
        probe: Option<ProbeId>,
        /// It is hung, and no other file system of its family is.
        only_hung: bool,
        /// How long to wait for its server.
        server_timeout: Duration,
    },
    /// Report an event to the outputs.
    Report(Event),
    /// Report what the budget of a user does not permit.
    Notify(UserNotice),
}

/// Why the mount table may be out of date.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TableDoubt {
    /// A run has started: a good moment for a full read, because not every change causes an event.
    RunStarted,
    /// A response contradicts it, or an expected mount is not in it.
    Contradicted,
}

/// The state of the monitor at one moment.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Status {
    /// When this was the state.
    pub at: Time,
    /// The watched mounts, in the order of the mount table.
    pub mounts: MountStatuses,
    pub expected: Vec<ExpectedStatus>,
    /// The mounts with other options than a rule expects, without hidden ones.
    pub unexpected_options: Vec<Arc<UnexpectedOptions>>,
    /// The number of mounts that can be judged: all except hidden ones.
    pub total: usize,
    pub dead: usize,
    /// Mounts of users who have more than are watched.
    pub not_watched: usize,
    pub in_flight: usize,
    pub last_run: Option<LastRun>,
    pub counters: Counters,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountStatus {
    pub mount: Arc<Mount>,
    pub health: Health,
    /// When the mount entered this health; for a dead mount, when it died, even if the reason has changed since.
    pub since: Time,
    /// When it was last judged; `None` if it was not yet. See [`MountStatus::judged_by`].
    pub judged_at: Option<Time>,
    /// It is hung, and a probe of it, or of the mount that blocks it, waits: this proves the hang at all times.
    pub is_hang_proven: bool,
    pub last_response: Option<LastResponse>,
    pub waiting_since: Option<Time>,
    pub settings: Arc<MountSettings>,
    /// Since when it flaps, if it does: its changes are not reported.
    pub flapping: Option<Box<Flapping>>,
    /// That it is slow was reported and is not over; a mount that is slow now and then is reported seldom.
    pub is_reported_slow: bool,
    /// Whether its options are other than a rule expects; `None` without such a rule.
    pub has_unexpected_options: Option<bool>,
    /// What was reported about it, if anything.
    pub report: Option<Box<ReportState>>,
    /// `None` without a rule with data-path probes.
    pub data_path: Option<Box<DataPathStatus>>,
}

impl MountStatus {
    /// When it was last judged, in a status of `status_at`.
    pub fn judged_by(&self, status_at: Time) -> Option<Time> {
        if self.is_hang_proven { Some(status_at) } else { self.judged_at }
    }

    /// How old its last judgement is at `now`, or how long it has waited for the first.
    pub fn unjudged_at(&self, now: Time) -> Duration {
        now.since(self.judged_by(now).unwrap_or(self.since))
    }

    /// The age of its last judgement, if that is older than judgements are while all is well: the probe interval and the
    /// timeout.
    pub fn outdated_at(&self, now: Time) -> Option<Duration> {
        let age = now.since(self.judged_by(now)?);
        (age > self.settings.probe_interval.saturating_add(self.settings.timeout)
            && self.health != Health::Hidden)
            .then_some(age)
    }
}

/// A mount that flaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flapping {
    /// The first change.
    pub since: Time,
    pub changes: u32,
    /// The last change.
    pub last: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastResponse {
    pub at: Time,
    pub took: Duration,
    /// What `statfs` returned; `None` if the response was an error.
    pub usage: Option<Usage>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastRun {
    /// When its last mount was judged.
    pub at: Time,
    /// The time from its start to `at`.
    pub took: Duration,
}

impl Status {
    /// How old the status is at `now`, if that is a second or more: as old as the last run, unless each mount was judged
    /// since. Single mounts may be older.
    pub fn age_at(&self, now: Time) -> Option<Duration> {
        let oldest_judgement = self.mounts.iter().filter_map(|mount| mount.judged_by(self.at)).min();
        let last_run = self.last_run.map(|run| run.at);
        Some(now.since(oldest_judgement.max(last_run)?)).filter(|age| *age >= Duration::from_secs(1))
    }

    pub fn missing_mounts(&self) -> impl Iterator<Item = &ExpectedStatus> {
        self.expected.iter().filter(|expected| expected.missing_since.is_some())
    }

    pub fn missing(&self) -> usize {
        self.missing_mounts().count()
    }
}
