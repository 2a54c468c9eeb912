//! What is remembered of one mount, of one superblock and of one probe.

use super::{EvidenceRecord, Health, LastResponse, ProbeId, ProbeSettings, Time};
use platform::{Call, DeviceNumber, Mount, MountKey, Target};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// One watched mount.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) mount: Arc<Mount>,
    /// What a probe has to know of `mount`, made once.
    pub(super) target: Arc<Target>,
    pub(super) read_only: bool,
    /// Where its type is counted.
    pub(super) counted: usize,
    pub(super) settings: ProbeSettings,
    /// From one probe to the next while it is well: `settings.poll_interval`, or longer where that would keep the mount
    /// from expiring.
    pub(super) pause: Duration,
    pub(super) hidden: bool,
    pub(super) health: Health,
    pub(super) since: Time,
    pub(super) answered: Option<LastResponse>,
    pub(super) asked: Asked,
    /// A hang on the way to this mount, of which its file system is not guilty.
    pub(super) way_hung: Option<Hang>,
    /// How often it was asked since it died by an error.
    pub(super) retries: u32,
    pub(super) reminders: u32,
    /// Probes in a row that ended without a word.
    pub(super) aborted: u32,
    /// Probes since the last good answer whose errors say nothing by themselves.
    pub(super) nothing: u32,
    /// Probes in a row that reached another mount.
    pub(super) elsewhere: u32,
    /// Its death was told and is not over; since when it is dead.
    pub(super) told_dead: Option<Time>,
    /// The reasons that were told of it, a bit for each: one that comes and goes is told once, and then by reminders.
    pub(super) told_reasons: u8,
    pub(super) told_denied: bool,
    /// Slowness was told, and is not over.
    pub(super) told_slow: bool,
    /// Slowness is not told again before this.
    pub(super) slow_quiet_until: Time,
    /// `ST_RDONLY` of the last answer that made us doubt the table.
    pub(super) doubted_read_only: Option<bool>,
    /// The run that still waits for this mount.
    pub(super) run: Option<u64>,
}

/// Is a probe of this mount under way?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    No,
    /// In the queue of all or of its superblock.
    Waiting,
    Probe(ProbeId),
}

impl Slot {
    pub(super) fn new(
        now: Time,
        mount: Arc<Mount>,
        settings: ProbeSettings,
        hidden: bool,
        counted: usize,
    ) -> Slot {
        Slot {
            target: Arc::new(Target::for_mount(&mount)),
            read_only: mount.read_only(),
            counted,
            mount,
            pause: settings.poll_interval,
            settings,
            hidden,
            health: if hidden { Health::Hidden } else { Health::Pending },
            since: now,
            answered: None,
            asked: Asked::No,
            way_hung: None,
            retries: 0,
            reminders: 0,
            aborted: 0,
            nothing: 0,
            elsewhere: 0,
            told_dead: None,
            told_reasons: 0,
            told_denied: false,
            told_slow: false,
            slow_quiet_until: Time::default(),
            doubted_read_only: None,
            run: None,
        }
    }

    /// The mount has changed: what was made from it is made again.
    pub(super) fn set_mount(&mut self, mount: &Arc<Mount>) {
        self.mount = Arc::clone(mount);
        self.target = Arc::new(Target::for_mount(mount));
        self.read_only = mount.read_only();
    }
}

/// A file system that does not answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hang {
    pub(super) call: Call,
    /// How long the probe had waited that led to the verdict.
    pub(super) waited: Duration,
    /// How often it was asked since.
    pub(super) retries: u32,
    /// When it was last waited for with full patience.
    pub(super) last_full: Time,
    /// When it was last given up.
    pub(super) given_up: Time,
}

/// What the mounts of one file system share.
#[derive(Debug, Default)]
pub(super) struct Superblock {
    /// Its mounts that are watched and not hidden, the oldest first.
    pub(super) members: Vec<MountKey>,
    /// At most one of them is asked at a time …
    pub(super) lead: Option<Lead>,
    /// … while these wait for it.
    pub(super) waiting: VecDeque<MountKey>,
    pub(super) hung: Option<Hang>,
    /// What was learned about its trouble.
    pub(super) evidence: Option<Arc<EvidenceRecord>>,
    /// More is being collected.
    pub(super) collecting: bool,
    /// When that was last begun.
    pub(super) collected_at: Option<Time>,
}

impl Superblock {
    pub(super) fn join(&mut self, key: MountKey) {
        if let Err(place) = self.members.binary_search(&key) {
            self.members.insert(place, key);
        }
    }

    pub(super) fn leave(&mut self, key: MountKey) {
        if let Ok(place) = self.members.binary_search(&key) {
            self.members.remove(place);
        }
    }
}

/// The one that is asked, or the next to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lead {
    Queued(MountKey),
    Asking(ProbeId),
}

/// One unanswered probe.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) key: MountKey,
    pub(super) superblock: DeviceNumber,
    /// How long its answer is waited for.
    pub(super) patience: Duration,
    pub(super) deadline: Time,
    /// When it becomes suspicious; none if it was, or if its mount is known to be dead.
    pub(super) suspect_at: Option<Time>,
    pub(super) phase: Phase,
}

impl Probe {
    /// When there is something to decide about it, if it goes on to wait.
    pub(super) fn next(&self) -> Time {
        self.suspect_at.map_or(self.deadline, |at| at.min(self.deadline))
    }
}

/// Its way from question to answer, or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Just asked: holds a place in the window.
    Young,
    /// Waits longer than most: its place is given to others.
    Old,
    /// Past its deadline; the prober is asked whether it is really stuck.
    Confirming,
    /// Spoken over; its prober is to be killed.
    Condemned,
    /// Its prober resists.
    Lost,
}
