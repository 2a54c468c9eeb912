//! Decides when to collect evidence about a mount, and keeps what was found. A probe that has waited for half of its
//! timeout is suspect: evidence collected from then on is complete when the mount is judged, so the failure line can
//! contain the cause without a delay. Later evidence is shown and reported by the next reminder; before each reminder
//! evidence is collected again.

mod record;

pub use record::{EvidenceRecord, host_end, server_name};

use super::Time;
use super::timers::Timers;
use platform::evidence::Evidence;
use platform::{DeviceNumber, MountKey};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of superblocks about which evidence is collected at the same time. More than this at once are mounts
/// of one dead server, for which these suffice.
const MAX_COLLECTING: usize = 512;
/// A suspect superblock is not examined again within this time: some storage is always late.
const SUSPECT_INTERVAL: Duration = Duration::from_secs(60);
/// Minimum interval between collections on request.
const REQUEST_INTERVAL: Duration = Duration::from_secs(5);
/// Evidence for a reminder is collected this long before it; servers get at most half of this time to reply.
const BEFORE_REMINDER: Duration = Duration::from_secs(4);
/// How long to wait for servers when no mount is about to be judged.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Minimum useful time to wait for a server: a round trip around the world.
const MIN_SERVER_TIMEOUT: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Occasion {
    /// A probe has waited for half of its timeout; it is judged after this time.
    Suspect(Duration),
    Death,
    Reminder,
    Request,
}

#[derive(Default)]
pub(super) struct EvidencePolicy {
    superblocks: FxHashMap<DeviceNumber, Collection>,
    /// How many of them are being examined.
    collecting: usize,
    /// When evidence for the next reminder about a mount is to be collected.
    pub(super) reminders: Timers<MountKey>,
}

#[derive(Default)]
struct Collection {
    record: Option<Arc<EvidenceRecord>>,
    is_running: bool,
    started_at: Option<Time>,
}

impl EvidencePolicy {
    /// Starts a collection if this occasion needs one; returns how long to wait for servers.
    pub(super) fn begin(
        &mut self,
        now: Time,
        superblock: DeviceNumber,
        occasion: Occasion,
    ) -> Option<Duration> {
        let known = self.superblocks.get(&superblock);
        let started_within = |interval| {
            let started_at = known.and_then(|collection| collection.started_at);
            started_at.is_some_and(|at| now.since(at) < interval)
        };
        let is_known = match occasion {
            Occasion::Suspect(_) => started_within(SUSPECT_INTERVAL),
            Occasion::Death => self.recent_record(now, superblock).is_some(),
            Occasion::Reminder => started_within(BEFORE_REMINDER),
            Occasion::Request => started_within(REQUEST_INTERVAL),
        };
        let is_running = known.is_some_and(|collection| collection.is_running);
        if is_known || is_running || self.collecting >= MAX_COLLECTING {
            return None;
        }
        let collection = self.superblocks.entry(superblock).or_default();
        (collection.is_running, collection.started_at) = (true, Some(now));
        self.collecting += 1;
        Some(server_timeout(occasion))
    }

    pub(super) fn end(&mut self, superblock: DeviceNumber) {
        if let Some(collection) = self.superblocks.get_mut(&superblock)
            && std::mem::take(&mut collection.is_running)
        {
            self.collecting -= 1;
        }
    }

    pub(super) fn add(
        &mut self,
        now: Time,
        superblock: DeviceNumber,
        found: Evidence,
    ) -> Arc<EvidenceRecord> {
        let collection = self.superblocks.entry(superblock).or_default();
        let is_complete = !collection.is_running;
        let record = match collection.record.as_deref() {
            Some(before) => before.merge(now, found, is_complete),
            None => EvidenceRecord::new(now, found, is_complete),
        };
        Arc::clone(collection.record.insert(Arc::new(record)))
    }

    /// Marks the record as complete if no collection is running, else as incomplete; returns it if that changed it.
    pub(super) fn update_complete(&mut self, superblock: DeviceNumber) -> Option<Arc<EvidenceRecord>> {
        let collection = self.superblocks.get_mut(&superblock)?;
        let record = collection.record.as_mut().filter(|record| record.complete == collection.is_running)?;
        Arc::make_mut(record).complete = !collection.is_running;
        Some(Arc::clone(record))
    }

    pub(super) fn is_collecting(&self) -> bool {
        self.collecting > 0
    }

    /// Everything that is known about the present failure of a superblock.
    pub(super) fn record(&self, superblock: DeviceNumber) -> Option<Arc<EvidenceRecord>> {
        self.superblocks.get(&superblock)?.record.clone()
    }

    /// The evidence that is recent enough to explain the present failure.
    pub(super) fn recent_record(&self, now: Time, superblock: DeviceNumber) -> Option<Arc<EvidenceRecord>> {
        self.record(superblock).filter(|record| now.since(record.at) < SUSPECT_INTERVAL)
    }

    pub(super) fn on_alive(&mut self, superblock: DeviceNumber, was_dead: bool) {
        let Some(collection) = self.superblocks.get_mut(&superblock) else { return };
        collection.record = None;
        if was_dead {
            collection.started_at = None; // only needless collections delay the next one
        }
    }

    pub(super) fn forget(&mut self, superblock: DeviceNumber) {
        self.end(superblock);
        self.superblocks.remove(&superblock);
    }

    pub(super) fn plan_for_reminder(&mut self, now: Time, key: MountKey, reminder: Time) {
        self.reminders.set(key, now + reminder.since(now).saturating_sub(BEFORE_REMINDER));
    }
}

/// A server's response should be known shortly before the mount is judged.
fn server_timeout(occasion: Occasion) -> Duration {
    match occasion {
        Occasion::Suspect(left) => (left - left / 4).clamp(MIN_SERVER_TIMEOUT, SERVER_TIMEOUT.max(left / 2)),
        Occasion::Death | Occasion::Reminder | Occasion::Request => SERVER_TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPERBLOCK: DeviceNumber = DeviceNumber { major: 0, minor: 1 };

    fn at(seconds: u64) -> Time {
        Time::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn collections_of_one_superblock_keep_their_intervals() {
        let suspect = Occasion::Suspect(Duration::from_secs(1));
        let mut policy = EvidencePolicy::default();
        assert!(policy.begin(at(0), SUPERBLOCK, suspect).is_some());
        assert!(policy.begin(at(0), SUPERBLOCK, Occasion::Reminder).is_none(), "one is running");
        policy.end(SUPERBLOCK);
        assert!(policy.begin(at(4), SUPERBLOCK, Occasion::Request).is_none());
        assert!(policy.begin(at(59), SUPERBLOCK, suspect).is_none());
        assert!(policy.begin(at(60), SUPERBLOCK, suspect).is_some());
        policy.end(SUPERBLOCK);
        policy.on_alive(SUPERBLOCK, true);
        assert!(policy.begin(at(61), SUPERBLOCK, suspect).is_some(), "the last one was useful");
    }

    #[test]
    fn collections_are_limited() {
        let mut policy = EvidencePolicy::default();
        let begun = (0..600).filter(|&minor| {
            policy.begin(at(0), DeviceNumber { major: 0, minor }, Occasion::Death).is_some()
        });
        assert_eq!(begun.count(), MAX_COLLECTING);
        policy.forget(DeviceNumber { major: 0, minor: 0 });
        assert!(policy.begin(at(0), SUPERBLOCK, Occasion::Death).is_none(), "it is running");
        assert!(policy.begin(at(0), DeviceNumber { major: 1, minor: 0 }, Occasion::Death).is_some());
    }

    #[test]
    fn each_reminder_has_its_own_collection() {
        let mut policy = EvidencePolicy::default();
        for (key, reminder) in [(1, 60), (2, 50), (1, 70)] {
            policy.plan_for_reminder(at(0), MountKey(key), at(reminder));
        }
        assert_eq!(policy.reminders.pop_due(at(46)), Some(MountKey(2)));
        assert_eq!(policy.reminders.pop_due(at(65)), None);
        assert_eq!(policy.reminders.pop_due(at(66)), Some(MountKey(1)));
        assert!(policy.begin(at(66), SUPERBLOCK, Occasion::Reminder).is_some());
        policy.end(SUPERBLOCK);
        assert!(policy.begin(at(69), SUPERBLOCK, Occasion::Reminder).is_none(), "it is recent");
    }

    #[test]
    fn servers_are_waited_for_until_shortly_before_the_judgement() {
        let timeout = |ms| server_timeout(Occasion::Suspect(Duration::from_millis(ms)));
        assert_eq!(timeout(1_500), Duration::from_millis(1_125));
        assert_eq!(timeout(100), MIN_SERVER_TIMEOUT);
        assert_eq!(timeout(10_000), Duration::from_secs(5));
        assert_eq!(server_timeout(Occasion::Death), SERVER_TIMEOUT);
    }
}
