//! All probers. The pool decides which prober gets the next probe and which is replaced and killed, and tracks each
//! probe. Called from the daemon's event loop; never blocks and reads no clock.
//!
//! For each user (`classes`) at most one prober is *active*. Abandoning a probe abandons its prober: a new one replaces
//! it, and it is killed as soon as all its other probes have responded or were abandoned too. A prober that still exists
//! `STRANDED_AFTER` the SIGKILL is *stranded*; the number of stranded probers is limited.

mod classes;
mod lifecycle;
mod replies;

use super::handle::{CONFIRM_TIMEOUT, Phase, ProberHandle};
use super::{PoolEvent, ProbeId, ProberNotice, wire};
use crate::monitor::{IdMap, Time};
pub(super) use classes::IDLE_AFTER;
use classes::{ClassState, MAX_PROBERS};
use mio::{Registry, Token};
use platform::process::{Child, ChildRole, Launcher, MAX_PACKET};
use platform::{Call, Errno, ProbeOutcome, Target, User};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// SIGKILL ends a process within milliseconds if it can end it at all; this allows for a busy machine.
const STRANDED_AFTER: Duration = Duration::from_millis(500);
/// How often the threads of a stranded prober with more than one probe are checked: they end one by one, but the socket
/// closes only with the last.
const THREAD_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of pending probes, at most one for each mount: more than the kernel's default limit of mounts in a
/// namespace (`fs.mount-max`, 100,000).
const MAX_PROBES: usize = 131_072;
/// The first pause after a prober could not be started: a shortage of processes or memory may be over soon.
const MIN_SPAWN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: probing resumes soon after the problem is solved, and the attempts add no load.
const MAX_SPAWN_PAUSE: Duration = Duration::from_secs(10);
/// How long a probe may wait for the start of a prober.
const START_TIMEOUT: Duration = Duration::from_secs(1);
/// If the same number of probers was stranded within this time, another one is not logged: some uninterruptible waits
/// end by themselves and recur.
const STRANDED_LOG_INTERVAL: Duration = Duration::from_secs(600);
/// How often it is logged that a prober cannot start threads.
const THREADS_LOG_INTERVAL: Duration = Duration::from_secs(600);

/// The probers and their probes.
pub struct Pool {
    registry: Registry,
    first_token: usize,
    launcher: Launcher,
    probers: Vec<Option<ProberHandle>>,
    classes: FxHashMap<User, ClassState>,
    probes: IdMap<ProbeId, Probe>,
    /// Children whose channel is closed but that were not reaped yet.
    unreaped: Vec<(Child, User, ExitReport)>,
    events: VecDeque<PoolEvent>,
    buffer: Vec<u8>,
}

/// A probe without a response.
struct Probe {
    user: User,
    /// The slot of its prober; `None` while it waits for one.
    prober: Option<usize>,
    state: ProbeState,
    confirm_by: Option<Time>,
    /// Must be confirmed as soon as it has a prober.
    confirm_later: bool,
    /// The thread that was found to be stuck in it.
    thread: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ProbeState {
    Pending,
    Abandoned {
        is_stranded: bool,
    },
    /// Will be abandoned when fewer probers are stranded.
    Retained,
}

/// What to report when a child is reaped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ExitReport {
    /// Nothing: it was killed by the pool.
    Expected,
    Died,
    /// It was never ready; the next attempt follows after this pause.
    NeverReady {
        retry_in: Duration,
    },
}

impl Pool {
    /// A pool without probers: the first is started for the first probe. They use the tokens of [`Pool::tokens`] and
    /// run `program`, or the program that is running now.
    ///
    /// # Errors
    /// Those of [`Launcher::new`].
    pub fn new(registry: Registry, first_token: usize, program: Option<PathBuf>) -> io::Result<Pool> {
        Ok(Pool {
            registry,
            first_token,
            launcher: Launcher::new(ChildRole::Prober, program.as_deref())?,
            probers: (0..MAX_PROBERS).map(|_| None).collect(),
            classes: FxHashMap::default(),
            probes: IdMap::default(),
            unreaped: Vec::new(),
            events: VecDeque::new(),
            buffer: vec![0; MAX_PACKET],
        })
    }

    /// Makes probers enter this mount namespace.
    pub fn set_mount_namespace(&mut self, namespace: File) {
        self.launcher.set_mount_namespace(namespace);
    }

    /// The tokens whose events are for [`Pool::handle_ready`].
    #[must_use]
    pub fn tokens(&self) -> Range<usize> {
        self.first_token..self.first_token + MAX_PROBERS
    }

    /// Starts a probe, which is sent by [`Pool::flush`].
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
        let class = self.classes.entry(target.user).or_default();
        match class.active.and_then(|slot| self.probers[slot].as_mut()) {
            Some(prober) => prober.probe(probe, target),
            None => {
                let packet = class.waiting.packet_with_room(wire::MAX_REQUEST);
                wire::encode_probe(packet, probe, target);
            }
        }
        let started = Probe {
            user: target.user,
            prober: class.active,
            state: ProbeState::Pending,
            confirm_by: None,
            confirm_later: false,
            thread: None,
        };
        let before = self.probes.insert(probe, started);
        debug_assert!(before.is_none(), "{probe:?} was started before");
    }

    /// Requests the state of a probe: `Stuck` follows as soon as it is proven, unless the probe ends.
    pub fn confirm(&mut self, probe: ProbeId) {
        let Some(found) = self.probes.get_mut(&probe) else { return };
        if found.state != ProbeState::Pending || found.confirm_by.is_some() {
            return;
        }
        match found.prober.and_then(|slot| self.probers[slot].as_mut()) {
            Some(prober) => prober.confirm(probe),
            None => found.confirm_later = true, // if no prober can be started the probe is soon aborted
        }
    }

    /// Requests the thread of a probe: `Located` follows if a thread works on it; no reply means nothing.
    pub fn locate(&mut self, probe: ProbeId) {
        let Some(found) = self.probes.get(&probe) else { return };
        if let Some(prober) = found.prober.and_then(|slot| self.probers[slot].as_mut()) {
            prober.locate(probe);
        }
    }

    /// Abandons a probe. `Freed` follows when its thread has ended, or `Responded` if a response comes first.
    pub fn abandon(&mut self, probe: ProbeId) {
        let Some(&Probe { user, prober, state: ProbeState::Pending, .. }) = self.probes.get(&probe) else {
            return;
        };
        let Some(slot) = prober else {
            self.probes.remove(&probe);
            self.events.push_back(PoolEvent::Freed { probe }); // it was never sent
            return;
        };
        let is_active = self.is_active(user, slot);
        let may_be_abandoned = !is_active || self.may_abandon(user);
        let (Some(prober), Some(found)) = (self.probers[slot].as_mut(), self.probes.get_mut(&probe)) else {
            return;
        };
        found.confirm_by = None;
        if may_be_abandoned {
            found.state = ProbeState::Abandoned { is_stranded: false };
            prober.abandoned += 1;
            if is_active {
                prober.phase = Phase::Abandoned;
                self.deactivate(user, slot);
            }
        } else {
            found.state = ProbeState::Retained;
            prober.retained += 1;
            self.events.push_back(PoolEvent::Stranded { probe });
            self.notify_limit(user);
        }
    }

    /// Starts probers, sends requests, and kills abandoned probers. Must be called at the end of each turn of the event
    /// loop.
    pub fn flush(&mut self, now: Time) {
        self.abandon_retained();
        for user in self.waiting_users() {
            self.assign_prober(now, user);
        }
        for slot in 0..self.probers.len() {
            let Some(prober) = self.probers[slot].as_mut() else { continue };
            for probe in prober.set_confirm_deadlines(now) {
                if let Some(found) = self.probes.get_mut(&probe) {
                    found.confirm_by = Some(now + CONFIRM_TIMEOUT);
                }
            }
            if prober.process.flush(&self.registry).is_err() {
                self.kill_unresponsive(now, slot);
            } else if prober.phase == Phase::Abandoned && prober.holds_only_abandoned() {
                prober.kill(now);
            }
        }
    }

    /// Handles a socket that is ready for reading or writing.
    pub fn handle_ready(&mut self, now: Time, token: Token) {
        if let Some(slot) = token.0.checked_sub(self.first_token).filter(|slot| *slot < MAX_PROBERS) {
            self.read_replies(now, slot);
        }
    }

    /// Must be called after a SIGCHLD.
    pub fn reap_children(&mut self, now: Time) {
        for slot in 0..self.probers.len() {
            // The whole process has ended then, even if another process holds its socket open.
            if self.probers[slot].as_mut().is_some_and(|prober| prober.process.try_reap().is_some()) {
                self.read_replies(now, slot);
                self.on_exit(now, slot);
            }
        }
        self.reap_zombies();
    }

    /// When [`Pool::handle_deadline`] must be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let starts = self.classes.values().filter_map(|class| {
            let abort_at = class.waiting_since? + START_TIMEOUT;
            Some(class.backoff.retry_at().map_or(abort_at, |retry_at| abort_at.min(retry_at)))
        });
        let probers = self.probers.iter().flatten().filter_map(|prober| match prober.phase {
            Phase::Killed { at, is_stranded: false } => Some(at + STRANDED_AFTER),
            Phase::Killed { is_stranded: true, .. } => prober.check_threads_at,
            Phase::Active | Phase::Abandoned => {
                let confirmation = prober.confirm_deadlines.front().map(|(by, _)| *by);
                confirmation.into_iter().chain(prober.idle_end()).min()
            }
        });
        starts.chain(probers).min()
    }

    /// Does what is due. [`Pool::flush`] must follow.
    pub fn handle_deadline(&mut self, now: Time) {
        self.abort_waiting(now);
        self.end_idle(now);
        for slot in 0..self.probers.len() {
            if self.is_confirm_overdue(now, slot) {
                self.kill_unresponsive(now, slot);
            }
            let Some(prober) = self.probers[slot].as_mut() else { continue };
            if let Phase::Killed { at, is_stranded: false } = prober.phase
                && at + STRANDED_AFTER <= now
            {
                prober.phase = Phase::Killed { at, is_stranded: true };
                self.free_ended_threads(now, slot);
                self.on_stranded(now, slot);
            } else if prober.check_threads_at.is_some_and(|at| at <= now) {
                self.free_ended_threads(now, slot);
            }
        }
    }

    /// A probe whose response has arrived too is not stuck.
    pub fn drain_events(&mut self) -> impl Iterator<Item = PoolEvent> + '_ {
        let probes = &self.probes;
        let is_obsolete = |event: &PoolEvent| match event {
            PoolEvent::Stuck { probe, .. } => !probes.contains_key(probe),
            _ => false,
        };
        self.events.drain(..).filter(move |event| !is_obsolete(event))
    }

    /// The daemon did not run for a while: it must not conclude that the probers did not reply in time.
    pub fn extend_deadlines(&mut self) {
        for prober in self.probers.iter_mut().flatten() {
            prober.forget_confirms();
        }
        for found in self.probes.values_mut() {
            found.confirm_by = None;
        }
    }

    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The number of killed probers that still exist.
    #[must_use]
    pub fn probers_stranded(&self) -> usize {
        self.probers.iter().flatten().filter(|prober| prober.is_stranded()).count()
    }

    /// The number of all probers, stranded ones included.
    #[must_use]
    pub fn probers(&self) -> usize {
        self.probers.iter().flatten().count()
    }

    /// Kills all probers and forgets all probes, without waiting.
    pub fn shutdown(&mut self) {
        for prober in self.probers.iter_mut().flatten() {
            prober.process.kill();
        }
        self.probers.fill_with(|| None);
        self.classes.clear();
        self.probes.clear();
        self.events.clear();
    }

    fn notify(&mut self, user: User, notice: ProberNotice) {
        self.events.push_back(PoolEvent::Notice(user, notice));
    }
}

#[cfg(test)]
mod tests;
