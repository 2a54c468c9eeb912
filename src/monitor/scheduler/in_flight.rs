//! Probes without a response, and the window that limits how many are started at the same time. A probe that waits
//! longer than a short grace period no longer counts in the window, so a thousand hung mounts cost one timeout and not
//! a thousand. The system and each other user have a window and places of their own.

use crate::monitor::timers::Timers;
use crate::monitor::{IdMap, ProbeId, Time};
use platform::{DeviceNumber, MountKey, User};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a probe counts in the window. Local file systems respond in microseconds, a healthy server in milliseconds.
const WINDOW_GRACE: Duration = Duration::from_millis(20);

/// How many probes may be under way.
struct Limits {
    /// In the window: a packet of requests, so that a run wakes the prober and the daemon a few times and not for each
    /// mount; few enough to keep the prober's queue short, and 7/8 of a power of two, because more would double the hash
    /// tables of probes.
    window: usize,
    /// Without a response, including abandoned ones: each is a thread of about 37 KiB.
    unanswered: usize,
}

/// For the mounts of the system: 150 MiB at worst, if storage fails as a whole.
const OF_SYSTEM: Limits = Limits { window: 896, unanswered: 4096 };
/// For the mounts of one other user, who can make them hang at will: 5 MiB.
const OF_USER: Limits = Limits { window: 32, unanswered: 128 };
/// Maximum number of unanswered probes of all other users: those of 16.
const MAX_OF_USERS: usize = 16 * OF_USER.unanswered;

const fn limits(user: User) -> &'static Limits {
    if user.is_foreign() { &OF_USER } else { &OF_SYSTEM }
}

/// The probes of one user.
#[derive(Clone, Copy, Default)]
struct Load {
    in_window: usize,
    unanswered: usize,
    abandoned: usize,
}

/// If a prober does not confirm whether an overdue probe is stuck, the request is repeated after this time.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct InFlight {
    probes: IdMap<ProbeId, ActiveProbe>,
    last_id: u64,
    /// Of the users with probes.
    loads: FxHashMap<User, Load>,
    /// When the grace period of each probe in the window ends. Some of these probes may have ended already.
    grace_queue: VecDeque<(Time, ProbeId)>,
    timers: Timers<ProbeId>,
}

/// The mount and superblock of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProbeSubject {
    pub(crate) key: MountKey,
    pub(crate) superblock: DeviceNumber,
    /// Whose limits apply.
    pub(crate) user: User,
    /// How long to wait for its response.
    pub(crate) timeout: Duration,
    /// It was started before the machine was suspended, or on another path: an error proves nothing about now.
    pub(crate) is_outdated: bool,
    /// The mount was moved since: a hang on the path proves nothing.
    pub(crate) is_on_old_path: bool,
}

struct ActiveProbe {
    subject: ProbeSubject,
    deadline: Time,
    /// When it becomes suspect; `None` if it already did, or if its mount is known to be dead.
    suspect_at: Option<Time>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    InWindow,
    /// Waits longer than the grace period.
    PastGrace,
    /// Past its deadline; its prober must confirm that it is stuck.
    Confirming,
    /// Its prober will be killed.
    Abandoned,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DueProbe {
    pub(crate) id: ProbeId,
    pub(crate) subject: ProbeSubject,
    /// The time until its deadline; zero when the prober must confirm that it is stuck.
    pub(crate) remaining: Duration,
    /// Half of its timeout has passed.
    pub(crate) is_suspect: bool,
}

impl InFlight {
    pub(super) fn has_room(&self, user: User) -> bool {
        let (load, limits) = (self.load(user), limits(user));
        load.in_window < limits.window && load.unanswered < limits.unanswered && self.has_place(user)
    }

    /// Do abandoned probes use all the room of this user, so that none becomes free soon?
    pub(super) fn is_exhausted(&self, user: User) -> bool {
        let (load, limits) = (self.load(user), limits(user));
        let is_full = load.abandoned + limits.window >= limits.unanswered || !self.has_place(user);
        is_full && load.in_window == 0
    }

    /// Are there places left that all users share? The system does not need them.
    fn has_place(&self, user: User) -> bool {
        let of_users = self.probes.len() - self.load(User::System).unanswered;
        !user.is_foreign() || of_users < MAX_OF_USERS
    }

    fn load(&self, user: User) -> Load {
        self.loads.get(&user).copied().unwrap_or_default()
    }

    fn load_mut(&mut self, user: User) -> &mut Load {
        self.loads.entry(user).or_default()
    }

    /// Starts a probe; a retry of a hung mount never becomes suspect.
    pub(super) fn start(&mut self, now: Time, subject: ProbeSubject, is_retry: bool) -> ProbeId {
        self.last_id += 1;
        let id = ProbeId(self.last_id);
        let timeout = subject.timeout;
        let load = self.load_mut(subject.user);
        load.in_window += 1;
        load.unanswered += 1;
        self.grace_queue.push_back((now + WINDOW_GRACE, id));
        if timeout <= WINDOW_GRACE {
            self.timers.set(id, now + timeout);
        }
        let suspect_at = (!is_retry).then_some(now + timeout / 2);
        let probe = ActiveProbe { subject, deadline: now + timeout, suspect_at, phase: Phase::InWindow };
        self.probes.insert(id, probe);
        id
    }

    /// The next probe about which something is due.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<DueProbe> {
        while let Some(id) = self.pop_expired_grace(now).or_else(|| self.timers.pop_due(now)) {
            let due = self.on_timer(now, id).filter(|due| due.remaining.is_zero() || due.is_suspect);
            if due.is_some() {
                return due;
            }
        }
        None
    }

    /// Most probes end within their grace period and need no timer.
    fn pop_expired_grace(&mut self, now: Time) -> Option<ProbeId> {
        while let Some(&(at, id)) = self.grace_queue.front() {
            let in_window = self.probes.get(&id).is_some_and(|probe| probe.phase == Phase::InWindow);
            if in_window && at > now {
                return None;
            }
            self.grace_queue.pop_front();
            if in_window {
                return Some(id);
            }
        }
        None
    }

    fn on_timer(&mut self, now: Time, id: ProbeId) -> Option<DueProbe> {
        let probe = self.probes.get_mut(&id).filter(|probe| probe.phase != Phase::Abandoned)?;
        if probe.phase == Phase::InWindow {
            probe.phase = Phase::PastGrace;
            self.loads.entry(probe.subject.user).or_default().in_window -= 1;
        }
        let is_suspect = probe.suspect_at.take_if(|at| *at <= now).is_some();
        let remaining = probe.deadline.since(now);
        if remaining.is_zero() {
            probe.phase = Phase::Confirming;
            self.timers.set(id, now + CONFIRM_INTERVAL);
        } else {
            self.timers.set(id, probe.next_deadline());
        }
        Some(DueProbe { id, subject: probe.subject, remaining, is_suspect })
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let grace = self.grace_queue.front().map(|&(at, _)| at);
        self.timers.next_deadline().into_iter().chain(grace).min()
    }

    pub(super) fn remove(&mut self, id: ProbeId) -> Option<ProbeSubject> {
        let probe = self.probes.remove(&id)?;
        let user = probe.subject.user;
        let load = self.load_mut(user);
        load.unanswered -= 1;
        match probe.phase {
            Phase::InWindow => load.in_window -= 1,
            Phase::PastGrace | Phase::Confirming => {}
            Phase::Abandoned => load.abandoned -= 1,
        }
        if load.unanswered == 0 {
            self.loads.remove(&user);
        }
        if matches!(probe.phase, Phase::PastGrace | Phase::Confirming) {
            self.timers.cancel(id);
        }
        Some(probe.subject)
    }

    /// The subject of a probe that is past its deadline and not yet judged.
    pub(crate) fn confirming(&self, id: ProbeId) -> Option<ProbeSubject> {
        let probe = self.probes.get(&id).filter(|probe| probe.phase == Phase::Confirming)?;
        Some(probe.subject)
    }

    pub(crate) fn postpone(&mut self, id: ProbeId, deadline: Time) {
        let Some(probe) = self.probes.get_mut(&id) else { return };
        (probe.phase, probe.deadline) = (Phase::PastGrace, deadline);
        self.timers.set(id, deadline);
    }

    pub(crate) fn abandon(&mut self, id: ProbeId) {
        let Some(probe) = self.probes.get_mut(&id) else { return };
        probe.phase = Phase::Abandoned;
        let user = probe.subject.user;
        self.timers.cancel(id);
        self.load_mut(user).abandoned += 1;
    }

    /// This process did not run for this long, which must not count as a delay of the probes.
    pub(crate) fn extend_deadlines(&mut self, now: Time, lost: Duration) {
        for (id, probe) in &mut self.probes {
            match probe.phase {
                Phase::InWindow | Phase::PastGrace => {
                    probe.deadline = probe.deadline + lost;
                    probe.suspect_at = probe.suspect_at.map(|at| at + lost);
                }
                // A confirmation from before the pause says nothing about now.
                Phase::Confirming => probe.wait_again(now),
                Phase::Abandoned => {}
            }
            if probe.phase == Phase::PastGrace {
                self.timers.set(*id, probe.next_deadline());
            }
        }
    }

    /// After a long pause every probe gets its whole timeout again, and errors that it returns do not count.
    pub(crate) fn restart(&mut self, now: Time) {
        for (id, probe) in &mut self.probes {
            probe.subject.is_outdated = true;
            if probe.phase != Phase::Abandoned {
                probe.wait_again(now);
            }
            if probe.phase == Phase::PastGrace {
                self.timers.set(*id, probe.next_deadline());
            }
        }
    }

    /// The mount was moved.
    pub(super) fn leave_path(&mut self, id: ProbeId) {
        if let Some(probe) = self.probes.get_mut(&id) {
            (probe.subject.is_outdated, probe.subject.is_on_old_path) = (true, true);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.probes.len()
    }

    pub(super) fn is_pending(&self, id: ProbeId) -> bool {
        self.probes.get(&id).is_some_and(|probe| probe.phase != Phase::Abandoned)
    }

    /// The deadline of a pending probe that waits longer than the grace period.
    pub(crate) fn past_grace_deadline(&self, id: ProbeId) -> Option<Time> {
        let is_past_grace =
            |probe: &&ActiveProbe| matches!(probe.phase, Phase::PastGrace | Phase::Confirming);
        self.probes.get(&id).filter(is_past_grace).map(|probe| probe.deadline)
    }

    /// When a probe started, moved by extended deadlines.
    pub(crate) fn waiting_since(&self, id: ProbeId) -> Option<Time> {
        let probe = self.probes.get(&id)?;
        Some(Time::after_start(probe.deadline.since_start().saturating_sub(probe.subject.timeout)))
    }

    /// The mounts with a probe.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = MountKey> {
        self.probes.values().map(|probe| probe.subject.key)
    }

    pub(crate) fn suspects(&self) -> impl Iterator<Item = MountKey> {
        let waits = |probe: &&ActiveProbe| probe.phase != Phase::InWindow;
        self.probes.values().filter(waits).map(|probe| probe.subject.key)
    }
}

impl ActiveProbe {
    /// The timeout begins now.
    fn wait_again(&mut self, now: Time) {
        self.deadline = now + self.subject.timeout;
        self.suspect_at = self.suspect_at.map(|_| now + self.subject.timeout / 2);
        if self.phase == Phase::Confirming {
            self.phase = Phase::PastGrace;
        }
    }

    /// When the next action is due if the probe does not end.
    fn next_deadline(&self) -> Time {
        self.suspect_at.map_or(self.deadline, |at| at.min(self.deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    const USER: User = User::Foreign(1001);

    fn start(in_flight: &mut InFlight, user: User) -> ProbeId {
        let superblock = DeviceNumber { major: 0, minor: 1 };
        let timeout = Duration::from_secs(1);
        let key = MountKey(1);
        let subject =
            ProbeSubject { key, superblock, user, timeout, is_outdated: false, is_on_old_path: false };
        in_flight.start(at(0), subject, false)
    }

    /// Abandons probes until this user has no room.
    fn exhaust(in_flight: &mut InFlight, user: User) -> Vec<ProbeId> {
        let mut abandoned = Vec::new();
        while !in_flight.is_exhausted(user) {
            let id = start(in_flight, user);
            in_flight.pop_due(at(1_000));
            in_flight.abandon(id);
            abandoned.push(id);
        }
        abandoned
    }

    #[test]
    fn probes_past_the_grace_leave_room_for_others() {
        let mut in_flight = InFlight::default();
        for user in [User::System, USER] {
            for _ in 0..limits(user).window {
                assert!(in_flight.has_room(user));
                start(&mut in_flight, user);
            }
            assert!(!in_flight.has_room(user));
        }
        assert_eq!(in_flight.pop_due(at(20)), None);
        assert!(in_flight.has_room(User::System) && in_flight.has_room(USER));
    }

    #[test]
    fn abandoned_probes_exhaust_the_places_of_their_user_alone() {
        let mut in_flight = InFlight::default();
        for user in [USER, User::System] {
            assert!(in_flight.has_room(user) && !in_flight.is_exhausted(user));
            let abandoned = exhaust(&mut in_flight, user);
            assert_eq!(abandoned.len(), limits(user).unanswered - limits(user).window);
            in_flight.remove(abandoned[0]);
            assert!(!in_flight.is_exhausted(user));
            exhaust(&mut in_flight, user);
        }
        let ids: Vec<ProbeId> = in_flight.probes.keys().copied().collect();
        ids.into_iter().for_each(|id| assert!(in_flight.remove(id).is_some()));
        assert!(in_flight.loads.is_empty());
    }

    #[test]
    fn any_number_of_users_leaves_the_system_its_places() {
        let mut in_flight = InFlight::default();
        let mut user = 1;
        while in_flight.has_room(User::Foreign(user)) {
            exhaust(&mut in_flight, User::Foreign(user));
            user += 1;
        }
        assert_eq!(in_flight.probes.len(), MAX_OF_USERS);
        assert!(in_flight.is_exhausted(User::Foreign(user)) && in_flight.has_room(User::System));
        assert_eq!(exhaust(&mut in_flight, User::System).len(), OF_SYSTEM.unanswered - OF_SYSTEM.window);
    }

    #[test]
    fn overdue_probe_is_confirmed_again_and_a_stall_extends_its_deadline() {
        let mut in_flight = InFlight::default();
        let id = start(&mut in_flight, User::System);
        in_flight.extend_deadlines(at(0), Duration::from_secs(10));
        assert_eq!((in_flight.pop_due(at(10_499)), in_flight.waiting_since(id)), (None, Some(at(10_000))));
        let mut due = |ms| in_flight.pop_due(at(ms)).map(|due| (due.remaining.as_millis(), due.is_suspect));
        assert_eq!(
            [10_500, 11_000, 16_000].map(&mut due),
            [Some((500, true)), Some((0, false)), Some((0, false))]
        );
        assert!(in_flight.confirming(id).is_some());
        in_flight.extend_deadlines(at(20_000), Duration::from_secs(1));
        assert!(in_flight.confirming(id).is_none(), "a confirmation from before the stall is void");
        assert_eq!(in_flight.pop_due(at(20_999)), None);
        assert!(in_flight.pop_due(at(21_000)).is_some_and(|due| due.remaining.is_zero()));
    }
}
