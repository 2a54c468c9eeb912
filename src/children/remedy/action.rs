//! Who may act, and the state of one action: its locks, the private place, and the new mount there.

use super::attempt_store::{AttemptStore, file_name};
use super::judge::{Ended, NotVerified, StepOutcome, differs};
use super::mounting::{HowToMount, SettingsFrom, descendants, inside, topmost};
use super::record::{RecordedStep, StepRecords};
use super::running::{StepReport, StrandedStep, run};
use super::wire::{CallError, CallRecord, Deed, NamespaceFile, NotMade, Request, Then, bytes};
use crate::monitor::remedy::{
    Attempts, BelowKind, FuseServer, Guard, Initiator, MountAgain, Origin, Plan, RemedyFacts, RemedySettings,
    Standing, StepKind,
};
use platform::process::{ChildRole, Launcher};
use platform::remedy::RemedyLock;
use platform::{FsKind, Mount, MountKey, MountTable};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Of the locks, the records and the private places: the same for the daemon and all commands of the machine.
pub const REMEDY_DIRECTORY: &str = "/run/mount_status_monitor/remedy";
/// For the removal of the private place, which is our own.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(10);

/// Permits actions, and knows the children that may still act.
#[derive(Debug)]
pub struct Remedies {
    directory: PathBuf,
    store: AttemptStore,
    launcher: Launcher,
    stranded: Vec<StrandedStep>,
    /// Of the mounts, if it is not our own.
    namespace: Option<NamespaceFile>,
}

/// Why no action was begun.
#[derive(Debug)]
pub enum BeginError {
    /// What forbids it now.
    Refused(Vec<Guard>),
    /// The locks cannot be used, or it is not known what was done before.
    Io(io::Error),
}

impl From<io::Error> for BeginError {
    fn from(error: io::Error) -> BeginError {
        BeginError::Io(error)
    }
}

/// What a step needs besides its kind.
#[derive(Clone, Debug)]
pub struct StepDetails {
    /// For steps that mount.
    pub how: Option<HowToMount>,
    /// The stopped server of a FUSE mount.
    pub fuse_server: Option<u32>,
    /// Mounts below the dead one that may go with it.
    pub below: Vec<MountKey>,
    /// A detach is followed by the shutdown of the NFS client, which only the child that has detached can make.
    pub then_shut_down: bool,
    pub timeout: Duration,
}

impl StepDetails {
    /// Those of the steps of a plan. `table` is that of its facts.
    #[must_use]
    pub fn of_plan(plan: &Plan, table: &MountTable, timeout: Duration) -> StepDetails {
        let facts = plan.facts();
        let how = match plan.mount_again() {
            MountAgain::Privately { fresh_superblock } => {
                let option = facts.superblock_kind().fresh_option().to_owned();
                let settings = match &facts.origin {
                    Origin::MountUnit { name, .. } => SettingsFrom::MountUnit(name.clone()),
                    _ => SettingsFrom::Fstab,
                };
                Some(HowToMount::Program {
                    settings,
                    fresh_option: fresh_superblock.then_some(option),
                    in_scope: facts.machine.has_systemd,
                })
            }
            MountAgain::ByUnit(name) => Some(HowToMount::Unit(name.clone())),
            MountAgain::ByAutofs | MountAgain::Never(_) => None,
        };
        let fuse_server = match facts.fuse_server {
            Ok(FuseServer::Stopped { pid }) => Some(pid),
            _ => None,
        };
        let goes_along = |mount: &Mount| {
            facts
                .below
                .iter()
                .any(|below| below.kind == BelowKind::SameServer && mount.mountpoint == *below.mountpoint)
        };
        let below = descendants(table, facts.mount.key).filter(|mount| goes_along(mount));
        StepDetails {
            how,
            fuse_server,
            below: below.map(|mount| mount.key).collect(),
            then_shut_down: plan.steps().iter().any(|step| step.kind == StepKind::ShutDown),
            timeout,
        }
    }
}

/// The work on one dead mount. No other begins for its server until it is dropped and its children have ended.
#[derive(Debug)]
pub struct Action<'r> {
    remedies: &'r mut Remedies,
    dead: Arc<Mount>,
    /// Of its files.
    server: String,
    locks: Arc<[RemedyLock; 2]>,
    place: PathBuf,
    has_place: bool,
    /// At the private place, or moved in.
    new: Option<MountKey>,
    /// It is beneath the dead mount.
    is_beneath: bool,
    old_is_gone: bool,
    /// What the shutdown after a detach has done.
    shut_down: Option<Result<(), CallError>>,
}

impl Remedies {
    /// The children run `program`, or the program that is running now.
    ///
    /// # Errors
    /// Those of making the directory, and of [`Launcher::new`].
    pub fn new(directory: &Path, program: Option<&Path>) -> io::Result<Remedies> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let launcher = Launcher::new(ChildRole::Remedy, program)?;
        let store = AttemptStore::new(directory);
        let directory = directory.to_owned();
        Ok(Remedies { directory, store, launcher, stranded: Vec::new(), namespace: None })
    }

    /// For mounts of another mount namespace, where only [`StepKind::Abort`] and [`StepKind::Unmount`] can be made.
    #[must_use]
    pub fn in_namespace(self, namespace: NamespaceFile) -> Remedies {
        Remedies { namespace: Some(namespace), ..self }
    }

    /// What earlier attempts say about the next one: for its plan.
    ///
    /// # Errors
    /// It is not known what was done.
    pub fn standing(
        &mut self,
        facts: &RemedyFacts,
        settings: &RemedySettings,
        by: Initiator,
    ) -> io::Result<Standing> {
        self.reap();
        self.store.update(|attempts, now| attempts.standing(now, facts, settings, by))
    }

    /// Permits new attempts on this mount point, and on this machine after another mount was hit. Returns whether one was.
    ///
    /// # Errors
    /// It is not known what was done.
    pub fn reset(&mut self, mountpoint: &Path) -> io::Result<bool> {
        self.store.update(|attempts, _| attempts.reset(mountpoint))
    }

    /// Begins the work on a dead mount of this server, as one of at most `limit` actions of the machine. It is not counted
    /// as an attempt.
    ///
    /// # Errors
    /// It is not permitted now.
    pub fn begin(&mut self, dead: Arc<Mount>, server: &[u8], limit: usize) -> Result<Action<'_>, BeginError> {
        self.begin_if(dead, server, limit, |_, _| Ok(()))
    }

    /// The same, if it can be entered into the attempts.
    pub(super) fn begin_if(
        &mut self,
        dead: Arc<Mount>,
        server: &[u8],
        limit: usize,
        enter: impl FnOnce(&mut Attempts, Duration) -> Result<(), Vec<Guard>>,
    ) -> Result<Action<'_>, BeginError> {
        self.reap();
        let store = &self.store;
        let locks = store.update(|attempts, now| -> Result<_, BeginError> {
            let guards = attempts.unsafe_now(server);
            if !guards.is_empty() {
                return Err(BeginError::Refused(guards));
            }
            let busy = |guard| BeginError::Refused(vec![guard]);
            let of_server = store.lock_server(server)?.ok_or_else(|| busy(Guard::ServerBusy))?;
            let of_machine =
                store.lock_slot(limit)?.ok_or_else(|| busy(Guard::MachineBusy { running: limit }))?;
            enter(attempts, now).map_err(BeginError::Refused)?;
            Ok([of_server, of_machine])
        })??;
        let place = self.directory.join(format!("new-{}", dead.key.0));
        Ok(Action {
            remedies: self,
            dead,
            server: file_name(server),
            locks: Arc::new(locks),
            place,
            has_place: false,
            new: None,
            is_beneath: false,
            old_is_gone: false,
            shut_down: None,
        })
    }

    /// The number of children that could not be killed and may still act.
    pub fn stranded(&mut self) -> usize {
        self.reap();
        self.stranded.len()
    }

    fn reap(&mut self) {
        self.stranded.retain_mut(|stranded| !stranded.has_ended());
    }

    /// All steps since the machine was started, by whichever process. A step without an outcome was interrupted, or is being
    /// made.
    ///
    /// # Errors
    /// They cannot be read, so it is not known what was done.
    pub fn recorded_steps(&self) -> io::Result<Vec<RecordedStep>> {
        StepRecords::read_all(&self.directory)
    }

    /// Those of one server.
    ///
    /// # Errors
    /// As before.
    pub fn records_of(&self, server: &[u8]) -> io::Result<StepRecords> {
        StepRecords::read(&StepRecords::file(&self.directory, &file_name(server)))
    }
}

impl Action<'_> {
    /// Makes one step in a child and waits for it, at most until its timeout and a short time for its end. `on_call` sees
    /// each call that changes the machine before it is made and after.
    pub fn run(
        &mut self,
        step: StepKind,
        details: &StepDetails,
        on_call: &mut dyn FnMut(&CallRecord),
    ) -> StepReport {
        if self.may_still_be_acted_on() {
            return StepReport::without_child(StepOutcome::Stranded);
        }
        match self.deed(step, details) {
            Ok(deed) => self.make(&deed, Some(step), details, on_call),
            Err(outcome) => StepReport::without_child(outcome),
        }
    }

    /// A child of an earlier step still exists.
    fn may_still_be_acted_on(&mut self) -> bool {
        self.remedies.reap();
        self.remedies.stranded.iter().any(|stranded| stranded.server == self.server)
    }

    /// What a child has to do, or what is the case without one.
    fn deed(&self, step: StepKind, details: &StepDetails) -> Result<Deed, StepOutcome> {
        let how = || details.how.clone().ok_or(StepOutcome::NotMade(NotMade::CannotMount));
        let new = || self.new.map(|new| new.0).ok_or(StepOutcome::NotMade(NotMade::PlaceChanged));
        Ok(match step {
            StepKind::Resume => match details.fuse_server {
                Some(pid) => Deed::Resume { pid },
                None => return Err(StepOutcome::NotMade(NotMade::NotItsServer)),
            },
            StepKind::MountPrivately => Deed::MountPrivately(how()?),
            StepKind::Placeholder => Deed::Placeholder,
            StepKind::MoveBeneath => Deed::MoveBeneath { new: new()? },
            StepKind::Abort => Deed::Abort,
            StepKind::Unmount => Deed::Unmount,
            StepKind::Force => Deed::Force,
            StepKind::Detach => Deed::Detach,
            StepKind::Replace => new().map(|_| Deed::Detach)?,
            StepKind::MoveIn => Deed::MoveIn { new: new()? },
            StepKind::ShutDown => match &self.shut_down {
                None => Deed::ShutDown,
                Some(Ok(())) => return Err(StepOutcome::Done),
                Some(Err(error)) => return Err(StepOutcome::Failed(Some(error.clone()))),
            },
            StepKind::MountAgain => Deed::MountAgain(how()?),
            StepKind::Verify => self.verify()?,
        })
    }

    fn read_table(&self) -> Result<MountTable, StepOutcome> {
        let table = match &self.remedies.namespace {
            None => MountTable::read(),
            Some(namespace) => namespace.open().and_then(|namespace| namespace.table()),
        };
        table.map_err(|error| StepOutcome::Failed(Some(CallError::new(&error))))
    }

    /// The mount that must respond now, if it is the dead one anew.
    fn verify(&self) -> Result<Deed, StepOutcome> {
        let table = self.read_table()?;
        let not_verified = |why| Err(StepOutcome::NotVerified(why));
        let Some(new) = topmost(&table, &self.dead.mountpoint) else {
            return not_verified(NotVerified::NothingMounted);
        };
        match differs(&self.dead, &new, self.old_is_gone) {
            // After a step that only made its server go on.
            Some(NotVerified::SameMount) | None => Ok(Deed::Probe { mount: new.key.0 }),
            Some(why) => not_verified(why),
        }
    }

    fn request(
        &self,
        deed: &Deed,
        step: Option<StepKind>,
        move_in: Option<MountKey>,
        details: &StepDetails,
    ) -> Request {
        let fuse = (self.dead.kind() == FsKind::Fuse).then_some(self.dead.device_number);
        let word = step.filter(|step| *step != StepKind::Verify).map(|step| step.as_str().to_owned());
        Request {
            deed: deed.clone(),
            then: Then { move_in: move_in.map(|new| new.0), shut_down: details.then_shut_down },
            word,
            mount: self.dead.key.0,
            path: bytes(&self.dead.mountpoint),
            place: bytes(&self.place),
            fuse,
            below: details.below.iter().map(|key| key.0).collect(),
            namespace: self.remedies.namespace.clone(),
            records: bytes(&StepRecords::file(&self.remedies.directory, &self.server)),
            timeout: details.timeout,
        }
    }

    fn make(
        &mut self,
        deed: &Deed,
        step: Option<StepKind>,
        details: &StepDetails,
        on_call: &mut dyn FnMut(&CallRecord),
    ) -> StepReport {
        let before = match self.read_table() {
            Ok(table) => table,
            Err(outcome) => return StepReport::without_child(outcome),
        };
        // A mount that is beneath the dead one has its place already.
        let move_in = self.new.filter(|_| deed.removes_mount() && !self.is_beneath);
        let request = self.request(deed, step, move_in, details);
        self.has_place |= matches!(deed, Deed::MountPrivately(_) | Deed::Placeholder);
        let mut run = run(&self.remedies.launcher, &request, &self.server, &self.locks, on_call);
        self.remedies.stranded.extend(run.stranded.take());
        let inside = inside(&self.place, &self.dead.mountpoint);
        let (outcome, also_detached) = match self.read_table() {
            Ok(after) => {
                let ended = Ended {
                    deed,
                    move_in,
                    dead: &self.dead,
                    place: &inside,
                    below: &details.below,
                    before: &before,
                    after: &after,
                    said: run.said.as_ref(),
                };
                let outcome = ended.judge();
                if matches!(deed, Deed::MountPrivately(_) | Deed::Placeholder) {
                    let there = topmost(&after, &inside).map(|mount| mount.key);
                    self.new = there.filter(|_| outcome == StepOutcome::Done);
                }
                let moves_beneath = matches!(deed, Deed::MoveBeneath { .. });
                self.is_beneath |= moves_beneath && outcome == StepOutcome::Done;
                (outcome, ended.came_and_went())
            }
            Err(outcome) => (outcome, Vec::new()),
        };
        if let StepOutcome::WrongHit(_) = &outcome {
            // Nothing is done on this machine any more, by no process, until an operator has looked. It is reported in any
            // case.
            let _ = self.change_attempts(|attempts, _| attempts.another_mount_was_hit());
        }
        let said = run.said.unwrap_or_default();
        self.old_is_gone |= said.old_is_gone;
        self.shut_down = said.shut_down.or(self.shut_down.take());
        StepReport {
            outcome,
            end: run.end,
            calls: run.calls,
            also_detached,
            output: run.output,
            responses: said.responses,
        }
    }

    /// Changes what is known of this attempt.
    pub(super) fn change_attempts<T>(
        &self,
        change: impl FnOnce(&mut Attempts, Duration) -> T,
    ) -> io::Result<T> {
        self.remedies.store.update(change)
    }

    /// Removes the private place with what is left in it, in a child.
    ///
    /// # Errors
    /// It could not be removed.
    pub fn finish(mut self) -> Result<(), StepOutcome> {
        if !self.has_place {
            return Ok(());
        }
        if self.may_still_be_acted_on() {
            return Err(StepOutcome::Stranded);
        }
        let details = StepDetails {
            how: None,
            fuse_server: None,
            below: Vec::new(),
            then_shut_down: false,
            timeout: CLEAR_TIMEOUT,
        };
        match self.make(&Deed::Clear, None, &details, &mut |_| {}).outcome {
            StepOutcome::Done => Ok(()),
            outcome => Err(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::remedy::testing::{facts, plan_for, settings};
    use crate::monitor::remedy::{Below, RemedyFacts, Situation};
    use crate::monitor::testing::mount;

    #[test]
    fn details_follow_from_the_plan() {
        let below = |path: &str, kind| Below { mountpoint: path.into(), kind };
        let facts = facts(Situation::ServerAnswers);
        let dead = Arc::clone(&facts.mount);
        let facts = RemedyFacts {
            below: vec![below("/srv/nas/a", BelowKind::SameServer), below("/srv/nas/b", BelowKind::Other)],
            ..facts
        };
        let on_dead = |n, path| Arc::new(Mount { parent: dead.id, ..mount(n, path) });
        let (permitted, other) = (on_dead(101, "/srv/nas/a"), on_dead(102, "/srv/nas/b"));
        let elsewhere = Arc::new(mount(103, "/srv/nas/a"));
        let table = MountTable::new(vec![Arc::clone(&dead), Arc::clone(&permitted), other, elsewhere]);
        let plan = plan_for(facts, &settings());
        let details = StepDetails::of_plan(&plan, &table, Duration::from_secs(1));
        assert_eq!(details.below, [permitted.key]);
        assert_eq!(
            details.how,
            Some(HowToMount::Program {
                settings: SettingsFrom::Fstab,
                fresh_option: Some("nosharecache".into()),
                in_scope: true,
            })
        );
        assert!(!details.then_shut_down, "the rule does not name it");
    }
}
