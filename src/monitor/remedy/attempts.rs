//! What was tried, and how much more may be. Time is that since the start of the machine, so that neither a changed clock
//! nor a new daemon makes an attempt look older than it is.

use super::facts::RemedyFacts;
use super::plan::{Guard, Plan};
use super::settings::RemedySettings;
use super::step::StepKind;
use platform::MountKey;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Attempts at the same time: each waits for children, and the mounts of one outage have few servers.
pub const MAX_RUNNING: usize = 3;
/// Attempts since the start of the machine. More than so many repairs are no repair; it also bounds what is kept here.
pub(super) const MAX_PER_BOOT: u32 = 200;
/// Mount points, and attempts on each, that are kept: an operator may make more of them. The oldest are forgotten.
const MAX_KEPT: usize = MAX_PER_BOOT as usize;

/// Who wants an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Initiator {
    /// By a rule. No step is repeated, and the number of attempts is limited.
    Daemon,
    /// A person decides that, and the attempt counts for those of the daemon. What is not safe stays forbidden.
    Operator,
}

/// What earlier attempts say about the next one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Standing {
    pub guards: Vec<Guard>,
    /// The steps that were made for this mount.
    pub made: Vec<StepKind>,
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Remedied,
    /// All steps were made, and nothing was mounted again, as planned.
    NotMountedAgain,
    Failed,
    /// A child that may still act cannot be ended.
    Stranded,
    /// An unmount hit another mount than the one that was meant.
    WrongHit,
}

impl Outcome {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Remedied => "remedied",
            Outcome::NotMountedAgain => "not_mounted_again",
            Outcome::Failed => "failed",
            Outcome::Stranded => "stranded",
            Outcome::WrongHit => "wrong_hit",
        }
    }
}

/// The attempts since the start of the machine, as daemons and commands keep them for each other.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Attempts {
    mounts: Vec<OfMount>,
    running: Vec<Running>,
    /// Servers of mounts that a child may still act on.
    stranded: Vec<Vec<u8>>,
    total: u32,
    wrong_hit: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct OfMount {
    /// Any bytes.
    mountpoint: Vec<u8>,
    began: Vec<Duration>,
    /// The unique id of the last mount there, and the steps that were made for it.
    key: u64,
    made: Vec<StepKind>,
    gave_up: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Running {
    mountpoint: Vec<u8>,
    key: u64,
    server: Vec<u8>,
    max_attempts: u32,
    window: Duration,
}

impl OfMount {
    fn attempts_within(&self, now: Duration, window: Duration) -> u32 {
        let recent = self.began.iter().filter(|&&began| now.saturating_sub(began) < window).count();
        u32::try_from(recent).unwrap_or(u32::MAX)
    }
}

impl Attempts {
    /// What forbids an attempt on this mount now.
    #[must_use]
    pub fn standing(
        &self,
        now: Duration,
        facts: &RemedyFacts,
        settings: &RemedySettings,
        by: Initiator,
    ) -> Standing {
        let mut guards = self.unsafe_now(&facts.server_id());
        if by == Initiator::Operator {
            return Standing { guards, made: Vec::new() };
        }
        let mut made = Vec::new();
        if self.total >= MAX_PER_BOOT {
            guards.push(Guard::MachineSpent { attempts: self.total });
        }
        if let Some(earlier) = self.of_mount(bytes(&facts.mount.mountpoint)) {
            let attempts = earlier.attempts_within(now, settings.window);
            if attempts >= settings.max_attempts {
                guards.push(Guard::AttemptsSpent { attempts, window: settings.window });
            }
            if earlier.key == facts.mount.key.0 {
                made.clone_from(&earlier.made);
                guards.extend(earlier.gave_up.then_some(Guard::GaveUp));
            }
        }
        Standing { guards, made }
    }

    /// What forbids an attempt on a mount of this server, by the daemon and by an operator.
    #[must_use]
    pub fn unsafe_now(&self, server: &[u8]) -> Vec<Guard> {
        let mut guards = Vec::new();
        if self.wrong_hit {
            guards.push(Guard::WrongHit);
        }
        if self.stranded.iter().any(|stranded| stranded == server) {
            guards.push(Guard::Stranded);
        }
        if self.running.iter().any(|running| running.server == server) {
            guards.push(Guard::ServerBusy);
        }
        if self.running.len() >= MAX_RUNNING {
            guards.push(Guard::MachineBusy { running: self.running.len() });
        }
        guards
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// What forbids it, and has come since the plan was made. Nothing is counted then.
    pub fn begin(
        &mut self,
        now: Duration,
        plan: &Plan,
        settings: &RemedySettings,
        by: Initiator,
    ) -> Result<(), Vec<Guard>> {
        let (facts, key) = (plan.facts(), plan.mount().key.0);
        let Standing { mut guards, made } = self.standing(now, facts, settings, by);
        if plan.allowed_steps().iter().any(|step| made_before(step.kind, &made)) {
            guards.push(Guard::MadeBefore);
        }
        if !guards.is_empty() || plan.allowed_steps().is_empty() {
            return Err(guards);
        }
        let mountpoint = bytes(&facts.mount.mountpoint).to_vec();
        let of_mount = self.of_mount_or_new(&mountpoint, key);
        if of_mount.key != key {
            (of_mount.key, of_mount.gave_up) = (key, false);
            of_mount.made.clear();
        }
        if of_mount.began.len() >= MAX_KEPT {
            of_mount.began.remove(0);
        }
        of_mount.began.push(now);
        self.total = self.total.saturating_add(1);
        let RemedySettings { max_attempts, window, .. } = *settings;
        self.running.push(Running { mountpoint, key, server: facts.server_id(), max_attempts, window });
        Ok(())
    }

    fn of_mount_or_new(&mut self, mountpoint: &[u8], key: u64) -> &mut OfMount {
        let at = self.mounts.iter().position(|of_mount| of_mount.mountpoint == mountpoint);
        let at = at.unwrap_or_else(|| {
            if self.mounts.len() >= MAX_KEPT {
                let oldest = (0..self.mounts.len()).min_by_key(|&at| self.mounts[at].began.last().copied());
                self.mounts.swap_remove(oldest.unwrap_or_default());
            }
            let mountpoint = mountpoint.to_vec();
            self.mounts.push(OfMount {
                mountpoint,
                began: Vec::new(),
                key,
                made: Vec::new(),
                gave_up: false,
            });
            self.mounts.len() - 1
        });
        &mut self.mounts[at]
    }

    /// Records the intent, before the step is made.
    pub fn step_begins(&mut self, key: MountKey, kind: StepKind) {
        let Some(running) = self.running.iter().find(|running| running.key == key.0) else { return };
        let mountpoint = running.mountpoint.clone();
        if let Some(of_mount) = self.of_mount_mut(&mountpoint)
            && !of_mount.made.contains(&kind)
        {
            of_mount.made.push(kind);
        }
    }

    /// Ends an attempt. Returns whether nothing more is tried until the mount changes or is reset.
    pub fn end(&mut self, now: Duration, key: MountKey, outcome: Outcome) -> bool {
        let Some(at) = self.running.iter().position(|running| running.key == key.0) else { return false };
        let running = self.running.swap_remove(at);
        match outcome {
            Outcome::Remedied | Outcome::NotMountedAgain => return false,
            Outcome::Failed => {}
            Outcome::Stranded => self.stranded.push(running.server),
            Outcome::WrongHit => self.another_mount_was_hit(),
        }
        let Some(of_mount) = self.of_mount_mut(&running.mountpoint) else { return false };
        of_mount.gave_up = of_mount.attempts_within(now, running.window) >= running.max_attempts;
        of_mount.gave_up || outcome == Outcome::WrongHit
    }

    /// An unmount hit another mount than the one that was meant.
    pub fn another_mount_was_hit(&mut self) {
        self.wrong_hit = true;
    }

    /// The servers of which a mount is being remedied, or a child may still act.
    pub fn busy_servers(&self) -> impl Iterator<Item = &[u8]> {
        let running = self.running.iter().map(|running| &*running.server);
        running.chain(self.stranded.iter().map(|server| &**server))
    }

    /// No process acts on mounts of this server: those of its attempts have ended, and nothing is known of their outcome.
    pub fn server_is_free(&mut self, now: Duration, server: &[u8]) {
        self.stranded.retain(|stranded| stranded != server);
        let of_server = self.running.iter().filter(|running| running.server == server);
        let keys: Vec<MountKey> = of_server.map(|running| MountKey(running.key)).collect();
        for key in keys {
            self.end(now, key, Outcome::Failed);
        }
    }

    /// The operator permits new attempts on this mount point, that steps are repeated, and remedies on this machine after
    /// another mount was hit or all attempts of the machine were made. Returns whether another mount was hit.
    pub fn reset(&mut self, mountpoint: &Path) -> bool {
        if let Some(of_mount) = self.of_mount_mut(bytes(mountpoint)) {
            of_mount.gave_up = false;
            of_mount.began.clear();
            of_mount.made.clear();
        }
        self.total = 0;
        std::mem::take(&mut self.wrong_hit)
    }

    fn of_mount(&self, mountpoint: &[u8]) -> Option<&OfMount> {
        self.mounts.iter().find(|of_mount| of_mount.mountpoint == mountpoint)
    }

    fn of_mount_mut(&mut self, mountpoint: &[u8]) -> Option<&mut OfMount> {
        self.mounts.iter_mut().find(|of_mount| of_mount.mountpoint == mountpoint)
    }
}

/// Whether this step, which must not be repeated, is among those that were made.
pub(super) fn made_before(kind: StepKind, made: &[StepKind]) -> bool {
    kind != StepKind::Unmount
        && kind.permission().is_some()
        && made.iter().any(|made| made.permission() == kind.permission())
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}
