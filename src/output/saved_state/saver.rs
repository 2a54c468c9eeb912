//! Decides when the state is written. Pure: time is an argument.
//!
//! Before an alarm or its end is handed over to the outputs, the file says that it is: it is *announced*. When the outputs
//! have delivered it, the file gets a status that has it. A daemon that finds an announced alarm does not know whether the
//! outputs got it: it reports what it finds in any case, and marks it.

use std::time::{Duration, Instant, SystemTime};

/// From an announcement to the write of the status: mounts that die together are written together.
const SETTLE_DELAY: Duration = Duration::from_millis(200);
/// How long the write waits for outputs to deliver. An output that takes longer counts as having got the event.
const MAX_DELIVERY: Duration = Duration::from_secs(2);
/// Between two looks whether the outputs have delivered everything.
const DELIVERY_CHECK: Duration = Duration::from_millis(20);
/// Minimum interval between writes of what changes without an alarm.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);
/// After a failed write.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// The number of announcements, and how many of them are in the file, or will be after the write that is under way.
    announced: u64,
    in_file: u64,
    being_written: u64,
    /// The first and the last announcement since the last status that has all, and when the last event happened.
    unsettled: Option<(Instant, Instant)>,
    last_event: Option<SystemTime>,
    /// When the newest snapshot was taken, and whether it was written.
    newest: Option<SystemTime>,
    is_newest_written: bool,
    written_at: Option<Instant>,
    /// The last write failed; the next is made then.
    retry_at: Option<Instant>,
    /// The last write took too long.
    is_late: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Write the last status again, with what is announced.
    Announce,
    /// Write the newest status, with what is announced and not in it.
    Status,
    /// Nothing is to be done before this.
    Wait(Option<Instant>),
}

impl Schedule {
    /// An event that happened at this time is announced. Whether it must wait until the file says so.
    pub(super) fn announce(&mut self, now: Instant, time: SystemTime) -> bool {
        self.announced += 1;
        self.last_event = Some(self.last_event.map_or(time, |last| last.max(time)));
        self.unsettled = Some((self.unsettled.map_or(now, |(first, _)| first), now));
        !self.may_hand_over()
    }

    /// Whether the file has everything that is announced, or cannot be written in time.
    pub(super) fn may_hand_over(&self) -> bool {
        self.in_file == self.announced || self.retry_at.is_some() || self.is_late
    }

    /// The file was not written in time: what follows does not wait until it is.
    pub(super) fn set_late(&mut self) {
        self.is_late = true;
    }

    pub(super) fn publish(&mut self, wall: SystemTime) {
        (self.newest, self.is_newest_written) = (Some(wall), false);
    }

    /// `are_delivered`: the outputs have delivered everything.
    pub(super) fn next(&self, now: Instant, are_delivered: impl Fn() -> bool) -> Step {
        if let Some(at) = self.retry_at.filter(|at| *at > now) {
            return Step::Wait(Some(at));
        }
        let Some((first, last)) = self.unsettled else { return self.next_update(now) };
        if self.in_file < self.announced {
            return Step::Announce;
        }
        let (due, overdue) = (first + SETTLE_DELAY, last + MAX_DELIVERY);
        if now < due {
            return Step::Wait(Some(due));
        }
        if now < overdue && !are_delivered() {
            return Step::Wait(Some(overdue.min(now + DELIVERY_CHECK)));
        }
        if self.is_complete() { Step::Status } else { self.next_update(now) }
    }

    /// Whether the newest status has everything that is announced.
    fn is_complete(&self) -> bool {
        self.newest.is_some() && self.newest >= self.last_event
    }

    fn next_update(&self, now: Instant) -> Step {
        let due = self.written_at.map_or(now, |at| at + UPDATE_INTERVAL);
        if self.newest.is_none() || self.is_newest_written {
            Step::Wait(None)
        } else if due <= now {
            Step::Status
        } else {
            Step::Wait(Some(due))
        }
    }

    /// What the stop of the daemon writes, if anything: without the delivery of all events, the file stays as it is.
    pub(super) fn last_step(&self, are_delivered: bool) -> Option<Step> {
        let is_allowed = self.unsettled.is_none() || are_delivered;
        (self.newest.is_some() && is_allowed).then_some(Step::Status)
    }

    /// The write begins.
    pub(super) fn begin(&mut self, step: Step) {
        self.being_written = self.announced;
        if step == Step::Status {
            self.is_newest_written = true;
            if self.is_complete() {
                self.unsettled = None;
            }
        }
    }

    /// It succeeded. Returns whether writes failed before.
    pub(super) fn succeed(&mut self, now: Instant) -> bool {
        self.in_file = self.being_written;
        (self.written_at, self.is_late) = (Some(now), false);
        self.retry_at.take().is_some()
    }

    /// It failed: the file is as before. Returns whether this is the first failure.
    pub(super) fn fail(&mut self, now: Instant) -> bool {
        self.is_newest_written = false;
        if self.last_event.is_some() {
            self.unsettled.get_or_insert((now, now));
        }
        self.retry_at.replace(now + RETRY_INTERVAL).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    /// A schedule whose file says that an event of 1 s is handed over.
    fn announced(start: Instant) -> Schedule {
        let at = start + Duration::from_secs(1);
        let mut schedule = Schedule::default();
        assert!(schedule.announce(at, wall(1000)), "the file is written first");
        assert_eq!(schedule.next(at, || true), Step::Announce);
        schedule.begin(Step::Announce);
        assert!(!schedule.may_hand_over());
        schedule.succeed(at);
        assert!(schedule.may_hand_over());
        schedule
    }

    #[test]
    fn status_follows_when_the_outputs_have_delivered_and_it_has_the_event() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = announced(start);
        schedule.publish(wall(1002));
        assert_eq!(schedule.next(at(1100), || true), Step::Wait(Some(at(1200))));
        assert_eq!(schedule.next(at(1200), || false), Step::Wait(Some(at(1220))));
        assert_eq!(schedule.next(at(1200), || true), Step::Status);
        assert_eq!(schedule.next(at(3000), || false), Step::Status, "an output is blocked");
        schedule.begin(Step::Status);
        assert!(schedule.announce(at(1201), wall(1201)), "during the write");
        schedule.succeed(at(1202));
        assert!(!schedule.may_hand_over());
        assert_eq!(schedule.next(at(1203), || true), Step::Announce);
    }

    #[test]
    fn status_from_before_the_event_settles_nothing() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = announced(start);
        schedule.publish(wall(999));
        assert_eq!(schedule.next(at(1500), || true), Step::Wait(Some(at(2000))));
        assert_eq!(schedule.next(at(2000), || true), Step::Status);
        schedule.begin(Step::Status);
        schedule.succeed(at(2000));
        assert_eq!(schedule.next(at(9000), || true), Step::Wait(None));
        schedule.publish(wall(1300));
        assert_eq!(schedule.next(at(2001), || true), Step::Status);
        schedule.begin(Step::Status);
        schedule.succeed(at(2002));
        schedule.publish(wall(1400));
        assert_eq!(schedule.next(at(2003), || true), Step::Wait(Some(at(3002))), "nothing is announced");
    }

    #[test]
    fn each_announcement_is_written() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = announced(start);
        assert!(schedule.announce(at(1010), wall(1010)));
        assert_eq!(schedule.next(at(1010), || true), Step::Announce);
    }

    #[test]
    fn other_changes_are_written_once_a_second() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = Schedule::default();
        assert_eq!(schedule.next(at(0), || true), Step::Wait(None));
        schedule.publish(wall(0));
        assert_eq!(schedule.next(at(0), || false), Step::Status);
        schedule.begin(Step::Status);
        schedule.succeed(at(0));
        assert_eq!(schedule.next(at(1), || true), Step::Wait(None));
        schedule.publish(wall(1));
        assert_eq!(schedule.next(at(1), || true), Step::Wait(Some(at(1000))));
    }

    #[test]
    fn failed_or_late_write_delays_no_event_and_is_repeated() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = Schedule::default();
        assert!(schedule.announce(at(0), wall(0)));
        schedule.begin(Step::Announce);
        schedule.set_late();
        assert!(!schedule.announce(at(1), wall(1)));
        assert!(schedule.fail(at(5)) && !schedule.fail(at(5)), "logged once");
        assert!(!schedule.announce(at(6), wall(6)));
        assert_eq!(schedule.next(at(7), || true), Step::Wait(Some(at(10_005))));
        assert_eq!(schedule.next(at(10_005), || true), Step::Announce);
        schedule.begin(Step::Announce);
        assert!(schedule.succeed(at(10_006)) && schedule.may_hand_over());
        assert!(schedule.announce(at(10_007), wall(10_007)));
    }

    #[test]
    fn stop_writes_the_last_status_unless_events_were_not_delivered() {
        let mut schedule = announced(Instant::now());
        assert_eq!(schedule.last_step(true), None, "nothing is known");
        schedule.publish(wall(1002));
        assert_eq!((schedule.last_step(true), schedule.last_step(false)), (Some(Step::Status), None));
    }
}
