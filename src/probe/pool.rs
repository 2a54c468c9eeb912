//! The probers as a whole, seen from the daemon: which of them gets the next probe, which has to go, and what has
//! become of each probe. Called from the daemon's loop; never blocks and reads no clock.
//!
//! At most one prober is *active*. Condemning a probe condemns its prober: a fresh one takes its place, and it is
//! killed as soon as all that it still holds was answered or condemned too. When its socket ends, nothing of it is
//! left. One that is still there after [`LOST_AFTER`] is *lost*; of those there is a limit.

mod probers;

use super::backoff::Backoff;
use super::handle::{Handle, Phase, room};
use super::wire;
use super::{Notice, PoolEvent, ProbeId, SpawnError};
use crate::monitor::Time;
use mio::{Registry, Token};
use platform::process::{Child, Launcher, MAX_PACKET};
use platform::{Call, Errno, Outcome, Target};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// What SIGKILL can end has ended within some milliseconds; this allows for a busy machine.
pub(super) const LOST_AFTER: Duration = Duration::from_millis(500);
/// A prober's main thread touches no file system, so that it answers at once unless it was stopped, never came up,
/// or the machine is at its end.
pub(super) const CONFIRM_LIMIT: Duration = Duration::from_secs(1);
/// Probers that are no longer active. Each takes about 215 KiB, and 37 KiB for each stuck thread: with what usually
/// hangs at the same time this stays below some tens of megabytes.
pub(super) const MAX_LOST_PROBERS: usize = 16;
/// All probers: the above, the active one, and some that had to be killed for not responding.
const MAX_PROBERS: usize = MAX_LOST_PROBERS + 4;
/// Unanswered probes. There is at most one for each mount, and the kernel's own limit is 100,000 mounts for each
/// namespace (`fs.mount-max`).
const MAX_PROBES: usize = 131_072;
/// How long a probe may wait for a prober to be started.
const START_LIMIT: Duration = Duration::from_secs(1);
/// That a prober can start no threads is not told more often than this.
const THREADS_NOTICE_INTERVAL: Duration = Duration::from_secs(600);

/// The probers and the probes that they hold.
pub struct Pool {
    registry: Registry,
    first_token: usize,
    launcher: Launcher,
    probers: Vec<Option<Handle>>,
    active: Option<usize>,
    probes: HashMap<ProbeId, Probe>,
    waiting: Waiting,
    backoff: Backoff,
    /// Children whose socket has ended and who were not reaped yet.
    zombies: Vec<(Child, Epitaph)>,
    limit_told: bool,
    events: VecDeque<PoolEvent>,
    buffer: Vec<u8>,
}

/// An unanswered probe.
struct Probe {
    /// Its prober; none while it waits for one.
    prober: Option<usize>,
    standing: Standing,
    /// Must be confirmed by then.
    confirm_by: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Its answer is waited for.
    Asked,
    /// It was condemned, and its prober with it.
    Condemned { lost: bool },
    /// It was condemned, but no more probers may be left behind.
    Left,
}

/// Probes for which there is no prober yet.
#[derive(Default)]
struct Waiting {
    packets: VecDeque<Vec<u8>>,
    since: Option<Time>,
}

/// What to say when a child has been reaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Epitaph {
    /// We had it end.
    Expected,
    /// It was in use.
    Died,
    /// It never came up; the next attempt is not before this pause is over.
    NeverCameUp { retry_in: Duration },
}

impl Pool {
    /// A pool without probers: the first is started when there is something to ask. They use the tokens of
    /// [`Pool::tokens`]. `program` is what is run, if not the program that runs now.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub fn new(registry: Registry, first_token: usize, program: Option<PathBuf>) -> io::Result<Pool> {
        Ok(Pool {
            registry,
            first_token,
            launcher: Launcher::new(program.as_deref())?,
            probers: (0..MAX_PROBERS).map(|_| None).collect(),
            active: None,
            probes: HashMap::new(),
            waiting: Waiting::default(),
            backoff: Backoff::default(),
            zombies: Vec::new(),
            limit_told: false,
            events: VecDeque::new(),
            buffer: vec![0; MAX_PACKET],
        })
    }

    /// The tokens whose events belong to [`Pool::ready`].
    #[must_use]
    pub fn tokens(&self) -> Range<usize> {
        self.first_token..self.first_token + MAX_PROBERS
    }

    /// Starts a probe. It is sent off by [`Pool::flush`].
    pub fn start(&mut self, probe: ProbeId, target: &Target) {
        if target.path.as_os_str().len() >= wire::MAX_PATH {
            let outcome = Outcome::Failed { call: Call::Identify, errno: Errno::ENAMETOOLONG };
            self.events.push_back(PoolEvent::Answered { probe, outcome, took: Duration::ZERO });
            return;
        }
        if self.probes.len() >= MAX_PROBES {
            self.events.push_back(PoolEvent::Aborted { probe });
            return;
        }
        match self.active.and_then(|slot| self.probers[slot].as_mut()) {
            Some(prober) => prober.ask(probe, target),
            None => wire::put_probe(room(&mut self.waiting.packets), probe, target),
        }
        let started = Probe { prober: self.active, standing: Standing::Asked, confirm_by: None };
        let before = self.probes.insert(probe, started);
        debug_assert!(before.is_none(), "{probe:?} was started before");
    }

    /// Asks what has become of a probe: `Stuck`, or one of its ends, comes within [`CONFIRM_LIMIT`].
    pub fn confirm(&mut self, probe: ProbeId) {
        let Some(Probe { prober, standing: Standing::Asked, confirm_by: None }) = self.probes.get(&probe)
        else {
            return;
        };
        // One that still waits for a prober is given up soon enough if none comes.
        if let Some(prober) = prober.and_then(|slot| self.probers[slot].as_mut()) {
            prober.confirm(probe);
        }
    }

    /// Gives a probe up and wants its thread gone: `Freed` says when it is, unless it is answered before.
    pub fn condemn(&mut self, probe: ProbeId) {
        let Some(found) = self.probes.get_mut(&probe) else { return };
        if found.standing != Standing::Asked {
            return;
        }
        let Some(slot) = found.prober else {
            self.probes.remove(&probe);
            self.events.push_back(PoolEvent::Freed { probe }); // nobody has asked it, nobody's answer will count
            return;
        };
        let may_leave = self.active != Some(slot) || self.left_behind() < MAX_LOST_PROBERS;
        let Some(prober) = self.probers[slot].as_mut() else { return };
        let found = self.probes.get_mut(&probe).expect("it was found above");
        found.confirm_by = None;
        if may_leave {
            found.standing = Standing::Condemned { lost: false };
            prober.condemned += 1;
            if self.active == Some(slot) {
                prober.phase = Phase::Condemned;
                self.active = None;
            }
        } else {
            found.standing = Standing::Left;
            prober.left += 1;
            self.events.push_back(PoolEvent::Lost { probe });
            if !std::mem::replace(&mut self.limit_told, true) {
                self.notice(Notice::LostLimit { limit: MAX_LOST_PROBERS });
            }
        }
    }

    /// The end of a turn of the loop: starts a prober if one is needed, sends what was collected, kills what is to go.
    pub fn flush(&mut self, now: Time) {
        self.condemn_left();
        if !self.waiting.packets.is_empty() {
            self.find_prober(now);
        }
        for slot in 0..self.probers.len() {
            let Some(prober) = self.probers[slot].as_mut() else { continue };
            for probe in prober.date_confirms(now) {
                if let Some(found) = self.probes.get_mut(&probe) {
                    found.confirm_by = Some(now + CONFIRM_LIMIT);
                }
            }
            if prober.pump(&self.registry).is_err() {
                self.give_up(now, slot);
            } else if prober.phase == Phase::Condemned && prober.only_condemned() {
                prober.kill(now);
            }
        }
    }

    /// A socket is ready (whether for reading or writing): takes in all that there is.
    pub fn ready(&mut self, now: Time, token: Token) {
        let Some(slot) = token.0.checked_sub(self.first_token).filter(|slot| *slot < MAX_PROBERS) else {
            return;
        };
        self.take_in(now, slot);
    }

    /// A child of this process has ended, perhaps one of ours.
    pub fn reap(&mut self, now: Time) {
        for slot in 0..self.probers.len() {
            // All of it is gone then, also if a descriptor of its socket has strayed and keeps it from ending.
            if self.probers[slot].as_mut().is_some_and(|prober| prober.child.try_reap().is_some()) {
                self.take_in(now, slot);
                self.gone(now, slot);
            }
        }
        self.bury();
    }

    /// When [`Pool::handle_deadline`] wants to be called, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let start = self.waiting.since.map(|since| (since + START_LIMIT).min(self.backoff.until()));
        let probers = self.probers.iter().flatten().filter_map(|prober| match prober.phase {
            Phase::Killed { at, lost: false } => Some(at + LOST_AFTER),
            Phase::Killed { lost: true, .. } => None,
            Phase::Active | Phase::Condemned => prober.confirms.front().map(|(by, _)| *by),
        });
        start.into_iter().chain(probers).min()
    }

    /// Does what is due. [`Pool::flush`] follows, as in every turn.
    pub fn handle_deadline(&mut self, now: Time) {
        if self.waiting.since.is_some_and(|since| since + START_LIMIT <= now) {
            self.abort_waiting();
        }
        for slot in 0..self.probers.len() {
            if self.confirm_is_overdue(now, slot) {
                self.give_up(now, slot);
            }
            let Some(prober) = self.probers[slot].as_mut() else { continue };
            if let Phase::Killed { at, lost: false } = prober.phase
                && at + LOST_AFTER <= now
            {
                prober.phase = Phase::Killed { at, lost: true };
                self.lost(slot);
            }
        }
    }

    /// What has happened since the last call.
    pub fn drain_events(&mut self) -> impl Iterator<Item = PoolEvent> + '_ {
        self.events.drain(..)
    }

    /// How many were killed and are still there.
    #[must_use]
    pub fn probers_lost(&self) -> usize {
        let lost = |prober: &&Handle| matches!(prober.phase, Phase::Killed { lost: true, .. });
        self.probers.iter().flatten().filter(lost).count()
    }

    /// How many probers there are, those that are lost included.
    #[must_use]
    pub fn probers(&self) -> usize {
        self.probers.iter().flatten().count()
    }

    /// Kills all probers and forgets all probes. Waits for nothing: what does not end is left to the system.
    pub fn shutdown(&mut self) {
        for prober in self.probers.iter().flatten() {
            prober.child.kill();
        }
        self.probers.fill_with(|| None);
        self.active = None;
        self.probes.clear();
        self.waiting = Waiting::default();
        self.events.clear();
    }

    // --- starting ---

    /// Gets the waiting probes a prober, if that may be tried now.
    fn find_prober(&mut self, now: Time) {
        if self.active.is_none() && self.backoff.until() <= now {
            match self.spawn() {
                Ok(slot) => self.active = Some(slot),
                Err(error) => self.spawn_failed(now, error),
            }
        }
        let Some((slot, prober)) = self.active.and_then(|slot| Some((slot, self.probers[slot].as_mut()?)))
        else {
            self.waiting.since.get_or_insert(now);
            return;
        };
        let mut adopted = 0;
        for probe in self.probes.values_mut().filter(|probe| probe.prober.is_none()) {
            probe.prober = Some(slot);
            adopted += 1;
        }
        prober.adopt(std::mem::take(&mut self.waiting).packets, adopted);
    }

    fn spawn(&mut self) -> Result<usize, SpawnError> {
        let slot = self.probers.iter().position(Option::is_none).ok_or(SpawnError::TooMany)?;
        let failed = |error: io::Error| SpawnError::System(Errno::of(&error));
        let (child, socket) = self.launcher.spawn().map_err(failed)?;
        match Handle::new(child, socket, &self.registry, Token(self.first_token + slot)) {
            Ok(prober) => {
                self.probers[slot] = Some(prober);
                Ok(slot)
            }
            Err((error, child)) => {
                child.kill();
                self.zombies.push((child, Epitaph::Expected));
                Err(failed(error))
            }
        }
    }

    fn spawn_failed(&mut self, now: Time, error: SpawnError) {
        let (retry_in, grown) = self.backoff.fail(now);
        if grown {
            self.notice(Notice::SpawnFailed { error, retry_in });
        }
    }

    fn abort_waiting(&mut self) {
        self.waiting = Waiting::default();
        let events = &mut self.events;
        self.probes.retain(|&probe, found| {
            let waits = found.prober.is_none();
            if waits {
                events.push_back(PoolEvent::Aborted { probe });
            }
            !waits
        });
    }
}
