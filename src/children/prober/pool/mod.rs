//! The probers as a whole, seen from the daemon: which of them gets the next probe, which has to go, and what has
//! become of each probe. Called from the daemon's loop; never blocks and reads no clock.
//!
//! In each lane at most one prober is *active*. Condemning a probe condemns its prober: a fresh one takes its place,
//! and it is killed as soon as all that it still holds was answered or condemned too. When its socket ends, nothing of it is
//! left. One that is still there after `LOST_AFTER` is *lost*; of those there is a limit.

mod probers;
mod starting;

use super::handle::{CONFIRM_LIMIT, Handle, Phase, room};
use super::wire;
use super::{PoolEvent, ProbeId, ProberNotice};
use crate::backoff::Backoff;
use crate::monitor::Time;
use mio::{Registry, Token};
use platform::probe::is_current_user;
use platform::process::{Child, Launcher, MAX_PACKET};
use platform::{Call, Errno, ProbeOutcome, Target};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// What SIGKILL can end has ended within some milliseconds; this allows for a busy machine.
pub(super) const LOST_AFTER: Duration = Duration::from_millis(500);
/// Probers that are no longer active. Each takes about 215 KiB, and 37 KiB for each stuck thread: with what usually
/// hangs at the same time this stays below some tens of megabytes.
pub(super) const MAX_LOST_PROBERS: usize = 16;
/// A lost prober's threads end one by one, but its socket only with the last of them: so often it is looked after
/// them. Not done for one that holds a single probe.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// All probers: the above, the active ones, and some that had to be killed for not responding.
const MAX_PROBERS: usize = MAX_LOST_PROBERS + LANES + 4;
/// Unanswered probes. There is at most one for each mount, and the kernel's own limit is 100,000 mounts for each
/// namespace (`fs.mount-max`).
const MAX_PROBES: usize = 131_072;
/// How long a probe may wait for a prober to be started.
const START_LIMIT: Duration = Duration::from_secs(1);
/// That one more prober is lost, where there were as many not long ago, is not told more often than this: there are
/// waits that nothing can interrupt but that end by themselves, again and again.
const LOST_NOTICE_INTERVAL: Duration = Duration::from_secs(600);
/// That a prober can start no threads is not told more often than this.
const THREADS_NOTICE_INTERVAL: Duration = Duration::from_secs(600);

/// The probers and the probes that they hold.
pub struct Pool {
    registry: Registry,
    first_token: usize,
    launcher: Launcher,
    probers: Vec<Option<Handle>>,
    lanes: [Lane; LANES],
    probes: FxHashMap<ProbeId, Probe>,
    /// Children whose socket has ended and who were not reaped yet.
    zombies: Vec<(Child, Epitaph)>,
    limit_told: bool,
    /// When a lost prober was last told of, and how many there were then.
    lost_told: Option<(Time, usize)>,
    events: VecDeque<PoolEvent>,
    buffer: Vec<u8>,
}

/// Probes that share probers. Those of mounts that answer their owner alone have a lane of their own: while a thread
/// has a user's identity, that user may kill its process (`kill(2)`), and should not thereby stop what is none of his.
struct Lane {
    active: Option<usize>,
    /// Probes for which there is no prober yet, as packets.
    waiting: VecDeque<Vec<u8>>,
    waiting_since: Option<Time>,
    backoff: Backoff<Time>,
}

/// The first pause after a prober could not be started: a machine short of processes or memory may have some soon.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest pause: short enough to be back soon after the trouble ends, long enough to add nothing to it.
const MAX_RETRY: Duration = Duration::from_secs(10);

impl Default for Lane {
    fn default() -> Lane {
        Lane {
            active: None,
            waiting: VecDeque::new(),
            waiting_since: None,
            backoff: Backoff::new(FIRST_RETRY, MAX_RETRY),
        }
    }
}

/// The lane of probes that are made as we are, and that of the others.
const LANES: usize = 2;

/// An unanswered probe.
struct Probe {
    lane: usize,
    /// Its prober; none while it waits for one.
    prober: Option<usize>,
    standing: Standing,
    /// Must be confirmed by then.
    confirm_by: Option<Time>,
    /// To be confirmed as soon as it has a prober.
    confirm_later: bool,
    /// The thread that makes its calls, once it was found to be stuck.
    thread: Option<u32>,
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
            lanes: Default::default(),
            probes: FxHashMap::default(),
            zombies: Vec::new(),
            limit_told: false,
            lost_told: None,
            events: VecDeque::new(),
            buffer: vec![0; MAX_PACKET],
        })
    }

    /// Probers will enter this mount namespace.
    pub fn enter(&mut self, namespace: File) {
        self.launcher.enter(namespace);
    }

    /// The tokens whose events belong to [`Pool::handle_ready`].
    #[must_use]
    pub fn tokens(&self) -> Range<usize> {
        self.first_token..self.first_token + MAX_PROBERS
    }

    /// Starts a probe. It is sent off by [`Pool::flush`].
    pub fn start(&mut self, probe: ProbeId, target: &Target) {
        if target.path.as_os_str().len() >= wire::MAX_PATH {
            let outcome = ProbeOutcome::Failed { call: Call::Identify, errno: Errno::ENAMETOOLONG };
            self.events.push_back(PoolEvent::Responded { probe, outcome, took: Duration::ZERO });
            return;
        }
        if self.probes.len() >= MAX_PROBES {
            self.events.push_back(PoolEvent::Aborted { probe });
            return;
        }
        let number = usize::from(target.owner.is_some_and(|owner| !is_current_user(owner)));
        let lane = &mut self.lanes[number];
        match lane.active.and_then(|slot| self.probers[slot].as_mut()) {
            Some(prober) => prober.ask(probe, target),
            None => wire::put_probe(room(&mut lane.waiting), probe, target),
        }
        let prober = lane.active;
        let started = Probe {
            lane: number,
            prober,
            standing: Standing::Asked,
            confirm_by: None,
            confirm_later: false,
            thread: None,
        };
        let before = self.probes.insert(probe, started);
        debug_assert!(before.is_none(), "{probe:?} was started before");
    }

    /// Asks what has become of a probe: `Stuck`, or one of its ends, comes within a second.
    pub fn confirm(&mut self, probe: ProbeId) {
        let Some(found) = self.probes.get_mut(&probe) else { return };
        if found.standing != Standing::Asked || found.confirm_by.is_some() {
            return;
        }
        match found.prober.and_then(|slot| self.probers[slot].as_mut()) {
            Some(prober) => prober.confirm(probe),
            None => found.confirm_later = true, // if no prober comes it is given up soon
        }
    }

    /// Asks where a probe is: `Stuck` tells, if a thread is at it. An answer that does not come means nothing.
    pub fn locate(&mut self, probe: ProbeId) {
        let Some(found) = self.probes.get(&probe) else { return };
        if let Some(prober) = found.prober.and_then(|slot| self.probers[slot].as_mut()) {
            prober.locate(probe);
        }
    }

    /// Gives a probe up and wants its thread gone: `Freed` says when it is, unless it is answered before.
    pub fn abandon(&mut self, probe: ProbeId) {
        let Some(found) = self.probes.get_mut(&probe) else { return };
        if found.standing != Standing::Asked {
            return;
        }
        let Some(slot) = found.prober else {
            self.probes.remove(&probe);
            self.events.push_back(PoolEvent::Freed { probe }); // nobody has asked it, nobody's answer will count
            return;
        };
        let lane = found.lane;
        let active = self.lanes[lane].active == Some(slot);
        let may_leave = !active || self.left_behind() < MAX_LOST_PROBERS;
        let Some(prober) = self.probers[slot].as_mut() else { return };
        let found = self.probes.get_mut(&probe).expect("it was found above");
        found.confirm_by = None;
        if may_leave {
            found.standing = Standing::Condemned { lost: false };
            prober.condemned += 1;
            if active {
                prober.phase = Phase::Condemned;
                self.lanes[lane].active = None;
            }
        } else {
            found.standing = Standing::Left;
            prober.left += 1;
            self.events.push_back(PoolEvent::Stranded { probe });
            if !std::mem::replace(&mut self.limit_told, true) {
                self.notice(ProberNotice::StrandedLimit { limit: MAX_LOST_PROBERS });
            }
        }
    }

    /// The end of a turn of the loop: starts a prober if one is needed, sends what was collected, kills what is to go.
    pub fn flush(&mut self, now: Time) {
        self.condemn_left();
        for lane in 0..LANES {
            if !self.lanes[lane].waiting.is_empty() {
                self.find_prober(now, lane);
            }
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
    pub fn handle_ready(&mut self, now: Time, token: Token) {
        let Some(slot) = token.0.checked_sub(self.first_token).filter(|slot| *slot < MAX_PROBERS) else {
            return;
        };
        self.take_in(now, slot);
    }

    /// A child of this process has ended, perhaps one of ours.
    pub fn reap_children(&mut self, now: Time) {
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
        let starts = self.lanes.iter().filter_map(|lane| {
            let given_up = lane.waiting_since? + START_LIMIT;
            Some(given_up.min(lane.backoff.retry_at().unwrap_or_default()))
        });
        let probers = self.probers.iter().flatten().filter_map(|prober| match prober.phase {
            Phase::Killed { at, lost: false } => Some(at + LOST_AFTER),
            Phase::Killed { lost: true, .. } => prober.look_again,
            Phase::Active | Phase::Condemned => prober.confirms.front().map(|(by, _)| *by),
        });
        starts.chain(probers).min()
    }

    /// Does what is due. [`Pool::flush`] follows, as in every turn.
    pub fn handle_deadline(&mut self, now: Time) {
        for lane in 0..LANES {
            if self.lanes[lane].waiting_since.is_some_and(|since| since + START_LIMIT <= now) {
                self.abort_waiting(lane);
            }
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
                self.free_ended_threads(now, slot);
                self.lost(now, slot);
            } else if prober.look_again.is_some_and(|at| at <= now) {
                self.free_ended_threads(now, slot);
            }
        }
    }

    /// What has happened since the last call.
    pub fn drain_events(&mut self) -> impl Iterator<Item = PoolEvent> + '_ {
        self.events.drain(..)
    }

    /// Has something happened since the last call of [`Pool::drain_events`]?
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// How many were killed and are still there.
    #[must_use]
    pub fn probers_stranded(&self) -> usize {
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
        self.lanes = Default::default();
        self.probes.clear();
        self.events.clear();
    }
}

#[cfg(test)]
mod tests;
