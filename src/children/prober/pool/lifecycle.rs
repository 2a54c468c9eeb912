//! Starts probers and handles their end.

use super::{ExitReport, Pool, ProbeState, START_TIMEOUT, STRANDED_LOG_INTERVAL, THREAD_CHECK_INTERVAL};
use crate::children::child::ChildHandle;
use crate::children::prober::handle::{Phase, ProberHandle};
use crate::children::prober::{PoolEvent, ProberNotice, SpawnError};
use crate::monitor::Time;
use mio::Token;
use platform::{Errno, User};
use std::io;
use std::os::fd::OwnedFd;

impl Pool {
    /// Gives the waiting probes of a user to the user's prober, which is started unless a pause after a failure still
    /// lasts or too many users have one.
    pub(super) fn assign_prober(&mut self, now: Time, user: User) {
        let class = self.classes.entry(user).or_default();
        let may_start = class.active.is_none() && class.backoff.retry_at().is_none_or(|at| at <= now);
        if may_start && self.has_place(now, user) {
            match self.spawn(user) {
                Ok(slot) => self.classes.entry(user).or_default().active = Some(slot),
                Err(error) => self.on_spawn_failed(now, user, error),
            }
        }
        let class = self.classes.entry(user).or_default();
        let active = class.active.and_then(|slot| Some((slot, self.probers[slot].as_mut()?)));
        let Some((slot, prober)) = active else {
            class.waiting_since.get_or_insert(now);
            return;
        };
        let mut count = 0;
        let mut to_confirm = Vec::new();
        for (id, probe) in &mut self.probes {
            if probe.user == user && probe.prober.is_none() {
                probe.prober = Some(slot);
                count += 1;
                if std::mem::take(&mut probe.confirm_later) {
                    to_confirm.push(*id);
                }
            }
        }
        class.waiting_since = None;
        prober.enqueue(&mut class.waiting, count);
        for probe in to_confirm {
            prober.confirm(probe);
        }
    }

    fn spawn(&mut self, user: User) -> Result<usize, SpawnError> {
        let slot = self.probers.iter().position(Option::is_none).ok_or(SpawnError::TooMany)?;
        match ChildHandle::spawn(&self.launcher, &self.registry, Token(self.first_token + slot)) {
            Ok(process) => {
                self.probers[slot] = Some(ProberHandle::new(process, user));
                Ok(slot)
            }
            Err((error, child)) => {
                self.unreaped.extend(child.map(|child| (child, user, ExitReport::Expected)));
                Err(SpawnError::System(Errno::from_io(&error)))
            }
        }
    }

    /// Simulates a prober for the mounts of a user, unless there is one, and returns its end of the channel. For tests
    /// that are the prober.
    ///
    /// # Errors
    /// There are too many probers, or no more descriptors.
    #[doc(hidden)]
    pub fn simulate_prober(&mut self, user: User) -> io::Result<Option<OwnedFd>> {
        let active = &mut self.classes.entry(user).or_default().active;
        if active.is_some() {
            return Ok(None);
        }
        let slot = self.probers.iter().position(Option::is_none).ok_or(io::ErrorKind::QuotaExceeded)?;
        let (process, end) = ChildHandle::simulate(&self.registry, Token(self.first_token + slot))?;
        self.probers[slot] = Some(ProberHandle::new(process, user));
        *active = Some(slot);
        Ok(Some(end))
    }

    fn on_spawn_failed(&mut self, now: Time, user: User, error: SpawnError) {
        let backoff = &mut self.classes.entry(user).or_default().backoff;
        let retry_in = backoff.next(now);
        if backoff.has_grown() {
            self.notify(user, ProberNotice::SpawnFailed { error, retry_in });
        }
    }

    /// Aborts the probes that have waited too long for a prober.
    pub(super) fn abort_waiting(&mut self, now: Time) {
        for (user, class) in &mut self.classes {
            if class.waiting_since.take_if(|since| *since + START_TIMEOUT <= now).is_none() {
                continue;
            }
            class.waiting.clear();
            let aborted = self.probes.extract_if(|_, found| found.user == *user && found.prober.is_none());
            self.events.extend(aborted.map(|(probe, _)| PoolEvent::Aborted { probe }));
        }
    }

    /// Whether a probe of this prober was not confirmed in time. Drops the deadlines of confirmed probes.
    pub(super) fn is_confirm_overdue(&mut self, now: Time, slot: usize) -> bool {
        let Some(prober) = self.probers[slot].as_mut() else { return false };
        while let Some(&(by, probe)) = prober.confirm_deadlines.front() {
            if self.probes.get(&probe).is_some_and(|found| found.confirm_by == Some(by)) {
                return by <= now;
            }
            prober.confirm_deadlines.pop_front();
        }
        false
    }

    /// Kills a prober that does not reply, and aborts its pending probes.
    pub(super) fn kill_unresponsive(&mut self, now: Time, slot: usize) {
        let Some(prober) = self.probers[slot].as_mut() else { return };
        if matches!(prober.phase, Phase::Killed { .. }) {
            return;
        }
        let (pid, is_ready, user) = (prober.process.pid(), prober.is_ready, prober.user);
        prober.kill(now);
        let before = self.probes.len();
        let aborted = self
            .probes
            .extract_if(|_, found| found.prober == Some(slot) && found.state == ProbeState::Pending);
        self.events.extend(aborted.map(|(probe, _)| PoolEvent::Aborted { probe }));
        prober.held -= before - self.probes.len();
        self.deactivate(user, slot);
        self.notify(user, ProberNotice::Unresponsive { pid });
        if !is_ready {
            self.on_spawn_failed(now, user, SpawnError::Unresponsive);
        }
    }

    /// Frees the abandoned probes of a stranded prober whose threads have ended: they no longer hold anything.
    pub(super) fn free_ended_threads(&mut self, now: Time, slot: usize) {
        let Some(prober) = self.probers[slot].as_mut() else { return };
        // The end of a single probe closes the socket.
        if prober.held > 1 {
            let process = &prober.process;
            let before = self.probes.len();
            let freed = self.probes.extract_if(|_, found| {
                found.prober == Some(slot)
                    && matches!(found.state, ProbeState::Abandoned { .. })
                    && found.thread.is_some_and(|thread| !process.has_thread(thread))
            });
            self.events.extend(freed.map(|(probe, _)| PoolEvent::Freed { probe }));
            let freed = before - self.probes.len();
            prober.held -= freed;
            prober.abandoned -= freed;
        }
        prober.check_threads_at = (prober.held > 1).then_some(now + THREAD_CHECK_INTERVAL);
    }

    pub(super) fn on_stranded(&mut self, now: Time, slot: usize) {
        let Some(user) = self.probers[slot].as_ref().map(|prober| prober.user) else { return };
        let should_log = self.should_log_stranded(now, user);
        let Some(prober) = self.probers[slot].as_mut() else { return };
        prober.stranding_logged = should_log;
        let notice = ProberNotice::Stranded { pid: prober.process.pid(), mounts: prober.held };
        for (&probe, found) in self.probes.iter_mut().filter(|(_, found)| found.prober == Some(slot)) {
            if found.state == (ProbeState::Abandoned { is_stranded: false }) {
                found.state = ProbeState::Abandoned { is_stranded: true };
                self.events.push_back(PoolEvent::Stranded { probe });
            }
        }
        if should_log {
            self.notify(user, notice);
        }
    }

    fn should_log_stranded(&mut self, now: Time, user: User) -> bool {
        let stranded =
            self.probers.iter().flatten().filter(|prober| prober.user == user && prober.is_stranded());
        let stranded = stranded.count();
        let logged = &mut self.classes.entry(user).or_default().stranded_logged;
        let is_known = logged.is_some_and(|(at, most)| stranded <= most && now < at + STRANDED_LOG_INTERVAL);
        if !is_known {
            *logged = Some((now, stranded));
        }
        !is_known
    }

    /// Ends the probes of a prober whose last thread has ended.
    pub(super) fn on_exit(&mut self, now: Time, slot: usize) {
        let Some(prober) = self.probers[slot].take() else { return };
        if prober.held > 0 {
            let ended = self.probes.extract_if(|_, found| found.prober == Some(slot));
            self.events.extend(ended.map(|(probe, found)| found.state.end_without_response(probe)));
        }
        let user = prober.user;
        let backoff = &mut self.classes.entry(user).or_default().backoff;
        let report = match prober.phase {
            Phase::Active if prober.is_ready => {
                backoff.next(now); // one that dies repeatedly is not restarted at once
                ExitReport::Died
            }
            Phase::Active => {
                let retry_in = backoff.next(now);
                if backoff.has_grown() { ExitReport::NeverReady { retry_in } } else { ExitReport::Expected }
            }
            Phase::Killed { is_stranded: true, .. } if prober.stranding_logged => {
                self.notify(user, ProberNotice::StrandedExited { pid: prober.process.pid() });
                ExitReport::Expected
            }
            Phase::Abandoned | Phase::Killed { .. } => ExitReport::Expected,
        };
        self.deactivate(user, slot);
        self.unreaped.push((prober.process.close(&self.registry), user, report));
        self.reap_zombies();
    }

    pub(super) fn reap_zombies(&mut self) {
        let events = &mut self.events;
        self.unreaped.retain_mut(|(child, user, report)| {
            let Some(status) = child.try_reap() else { return true };
            let notice = match *report {
                ExitReport::Expected => return false,
                ExitReport::Died => ProberNotice::Died { pid: child.pid(), how: status },
                ExitReport::NeverReady { retry_in } => {
                    ProberNotice::SpawnFailed { error: SpawnError::Exited(status), retry_in }
                }
            };
            events.push_back(PoolEvent::Notice(*user, notice));
            false
        });
    }

    /// Abandons the active probers for their retained probes, when fewer probers are stranded.
    pub(super) fn abandon_retained(&mut self) {
        let users: Vec<User> = self.classes.keys().copied().collect();
        for user in users {
            if !self.may_abandon(user) {
                continue;
            }
            let Some(class) = self.classes.get_mut(&user) else { continue };
            class.limit_logged = false;
            let Some(slot) = class.active else { continue };
            let Some(prober) = self.probers[slot].as_mut().filter(|prober| prober.retained > 0) else {
                continue;
            };
            prober.abandoned += std::mem::take(&mut prober.retained);
            prober.phase = Phase::Abandoned;
            class.active = None;
            for found in self.probes.values_mut().filter(|found| found.prober == Some(slot)) {
                if found.state == ProbeState::Retained {
                    found.state = ProbeState::Abandoned { is_stranded: true };
                }
            }
        }
    }
}
