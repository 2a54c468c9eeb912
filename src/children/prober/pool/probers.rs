//! What probers say, and how they end.

use super::{
    Epitaph, LANES, LOOK_AFTER, LOST_NOTICE_INTERVAL, MAX_LOST_PROBERS, Pool, Standing,
    THREADS_NOTICE_INTERVAL,
};
use crate::children::prober::PoolEvent;
use crate::children::prober::ProbeId;
use crate::children::prober::ProberNotice;
use crate::children::prober::SpawnError;
use crate::children::prober::handle::{Handle, Phase, Received};
use crate::children::prober::wire::Reply;
use crate::monitor::Time;
use platform::Errno;

impl Pool {
    /// Takes in all that a prober has said, its end included.
    pub(super) fn take_in(&mut self, now: Time, slot: usize) {
        // Both are taken out, so that each reply can be handled by all of the pool.
        let Some(mut prober) = self.probers[slot].take() else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let received =
            prober.receive(&mut buffer, |prober, reply| self.handle_reply(now, slot, prober, reply));
        self.buffer = buffer;
        self.probers[slot] = Some(prober);
        match received {
            Received::All => {}
            Received::End => self.gone(now, slot),
            Received::Nonsense => self.give_up(now, slot),
        }
    }

    fn handle_reply(&mut self, now: Time, slot: usize, prober: &mut Handle, reply: Reply) {
        match reply {
            Reply::Hello => {
                prober.greeted = true;
                self.notice(ProberNotice::Started { pid: prober.child.pid() });
            }
            Reply::Answer { probe, outcome, took } => {
                if self.release(slot, prober, probe).is_some() {
                    self.events.push_back(PoolEvent::Responded { probe, outcome, took });
                }
            }
            Reply::Stuck { probe, call, elapsed, tid } => {
                if let Some(found) = self.probes.get_mut(&probe).filter(|found| found.prober == Some(slot)) {
                    found.confirm_by = None;
                    found.thread = (tid != 0).then_some(tid);
                    let pid = prober.child.pid();
                    self.events.push_back(PoolEvent::Stuck { probe, call, elapsed, pid, tid });
                }
            }
            Reply::NotStarted(probe) => {
                if let Some(standing) = self.release(slot, prober, probe) {
                    self.events.push_back(unanswered(probe, standing));
                }
            }
            Reply::ThreadsFailed(errno) => self.threads_failed(now, prober, errno),
        }
    }

    /// Takes a probe from its prober, which has nothing more to say of it.
    fn release(&mut self, slot: usize, prober: &mut Handle, probe: ProbeId) -> Option<Standing> {
        let found = self.probes.get(&probe).filter(|found| found.prober == Some(slot))?;
        let standing = found.standing;
        self.probes.remove(&probe);
        prober.held -= 1;
        match standing {
            Standing::Asked => {}
            Standing::Condemned { .. } => prober.condemned -= 1,
            Standing::Left => prober.left -= 1,
        }
        Some(standing)
    }

    fn threads_failed(&mut self, now: Time, prober: &mut Handle, errno: Errno) {
        if prober.threads_failed.is_none_or(|told| told + THREADS_NOTICE_INTERVAL <= now) {
            prober.threads_failed = Some(now);
            self.notice(ProberNotice::ThreadsFailed { pid: prober.child.pid(), errno });
        }
    }

    /// Has a probe of this prober not been confirmed in time? Forgets the deadlines that no longer count.
    pub(super) fn confirm_is_overdue(&mut self, now: Time, slot: usize) -> bool {
        let Some(prober) = self.probers[slot].as_mut() else { return false };
        while let Some(&(by, probe)) = prober.confirms.front() {
            let counts = self.probes.get(&probe).is_some_and(|found| found.confirm_by == Some(by));
            if counts {
                return by <= now;
            }
            prober.confirms.pop_front();
        }
        false
    }

    /// A prober that cannot be talked to: kills it, and gives its probes back at once.
    pub(super) fn give_up(&mut self, now: Time, slot: usize) {
        let Some(prober) = self.probers[slot].as_mut() else { return };
        if matches!(prober.phase, Phase::Killed { .. }) {
            return;
        }
        let (pid, greeted, lane) = (prober.child.pid(), prober.greeted, prober.lane);
        prober.kill(now);
        let events = &mut self.events;
        self.probes.retain(|&probe, found| {
            let given_back = found.prober == Some(slot) && found.standing == Standing::Asked;
            if given_back {
                events.push_back(PoolEvent::Aborted { probe });
                prober.held -= 1;
            }
            !given_back
        });
        self.retire(lane, slot);
        self.notice(ProberNotice::Unresponsive { pid });
        if !greeted {
            self.spawn_failed(now, lane, SpawnError::Unresponsive);
        }
    }

    /// Threads of a lost prober that have ended hold nothing any more, whatever the others do: their probes are free.
    pub(super) fn free_ended_threads(&mut self, now: Time, slot: usize) {
        let Some(prober) = self.probers[slot].as_mut() else { return };
        // With a single probe, the end of the socket says it at once.
        if prober.held > 1 {
            let events = &mut self.events;
            self.probes.retain(|&probe, found| {
                let ended = found.prober == Some(slot)
                    && matches!(found.standing, Standing::Condemned { .. })
                    && found.thread.is_some_and(|thread| !prober.child.has_thread(thread));
                if ended {
                    prober.held -= 1;
                    prober.condemned -= 1;
                    events.push_back(PoolEvent::Freed { probe });
                }
                !ended
            });
        }
        prober.look_again = (prober.held > 1).then_some(now + LOOK_AFTER);
    }

    /// A killed prober is still there.
    pub(super) fn lost(&mut self, now: Time, slot: usize) {
        let tell = self.is_news(now);
        let Some(prober) = self.probers[slot].as_mut() else { return };
        prober.loss_told = tell;
        let notice = ProberNotice::Stranded { pid: prober.child.pid(), mounts: prober.held };
        if prober.held > 0 {
            for (&probe, found) in self.probes.iter_mut().filter(|(_, found)| found.prober == Some(slot)) {
                if found.standing == (Standing::Condemned { lost: false }) {
                    found.standing = Standing::Condemned { lost: true };
                    self.events.push_back(PoolEvent::Stranded { probe });
                }
            }
        }
        if tell {
            self.notice(notice);
        }
    }

    /// Is a prober that was just lost worth a word?
    fn is_news(&mut self, now: Time) -> bool {
        let lost = self.probers_stranded();
        let told =
            self.lost_told.is_some_and(|(at, number)| lost <= number && now < at + LOST_NOTICE_INTERVAL);
        if !told {
            self.lost_told = Some((now, lost));
        }
        !told
    }

    /// Nothing is left of a prober.
    pub(super) fn gone(&mut self, now: Time, slot: usize) {
        let Some(prober) = self.probers[slot].take() else { return };
        if prober.held > 0 {
            let events = &mut self.events;
            self.probes.retain(|&probe, found| {
                let ends = found.prober == Some(slot);
                if ends {
                    events.push_back(unanswered(probe, found.standing));
                }
                !ends
            });
        }
        let backoff = &mut self.lanes[prober.lane].backoff;
        let epitaph = match prober.phase {
            Phase::Active if prober.greeted => {
                backoff.next(now); // one that dies again and again is not started again and again
                Epitaph::Died
            }
            Phase::Active => {
                let retry_in = backoff.next(now);
                if backoff.has_grown() { Epitaph::NeverCameUp { retry_in } } else { Epitaph::Expected }
            }
            Phase::Killed { lost: true, .. } if prober.loss_told => {
                self.notice(ProberNotice::StrandedExited { pid: prober.child.pid() });
                Epitaph::Expected
            }
            Phase::Condemned | Phase::Killed { .. } => Epitaph::Expected,
        };
        self.retire(prober.lane, slot);
        self.zombies.push((prober.close(&self.registry), epitaph));
        self.bury();
    }

    /// A prober that is active no more, if it was.
    fn retire(&mut self, lane: usize, slot: usize) {
        self.lanes[lane].active.take_if(|active| *active == slot);
    }

    /// Reaps the children that are gone.
    pub(super) fn bury(&mut self) {
        let events = &mut self.events;
        self.zombies.retain_mut(|(child, epitaph)| {
            let Some(how) = child.try_reap() else { return true };
            match *epitaph {
                Epitaph::Expected => {}
                Epitaph::Died => {
                    let notice = ProberNotice::Died { pid: child.pid(), how };
                    events.push_back(PoolEvent::Notice(notice));
                }
                Epitaph::NeverCameUp { retry_in } => {
                    let notice = ProberNotice::SpawnFailed { error: SpawnError::Exited(how), retry_in };
                    events.push_back(PoolEvent::Notice(notice));
                }
            }
            false
        });
    }

    /// Condemns the active probers for the probes that had to be left in them, when there is room for it again.
    pub(super) fn condemn_left(&mut self) {
        for lane in 0..LANES {
            if self.left_behind() >= MAX_LOST_PROBERS {
                return;
            }
            self.limit_told = false;
            let Some(slot) = self.lanes[lane].active else { continue };
            let Some(prober) = self.probers[slot].as_mut().filter(|prober| prober.left > 0) else { continue };
            prober.condemned += std::mem::take(&mut prober.left);
            prober.phase = Phase::Condemned;
            self.lanes[lane].active = None;
            for found in self.probes.values_mut().filter(|found| found.prober == Some(slot)) {
                if found.standing == Standing::Left {
                    found.standing = Standing::Condemned { lost: true };
                }
            }
        }
    }

    /// How many probers there are besides the active ones.
    pub(super) fn left_behind(&self) -> usize {
        self.probers() - self.lanes.iter().filter(|lane| lane.active.is_some()).count()
    }

    pub(super) fn notice(&mut self, notice: ProberNotice) {
        self.events.push_back(PoolEvent::Notice(notice));
    }
}

/// How a probe ends of which there will be no answer.
fn unanswered(probe: ProbeId, standing: Standing) -> PoolEvent {
    match standing {
        Standing::Asked => PoolEvent::Aborted { probe },
        Standing::Condemned { .. } | Standing::Left => PoolEvent::Freed { probe },
    }
}
