//! What follows when a step of a plan has ended.

use super::attempts::Outcome;
use super::plan::Plan;
use super::step::StepKind;
use std::collections::VecDeque;

/// How a step ended, as the mount table shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepEnd {
    Done,
    /// The new mount could not be moved beneath the dead one: it moves in as soon as that is removed.
    Deferred,
    /// The step has not done what it is for. The dead mount, if it is meant to go, is still there.
    NotDone,
    /// The dead mount is gone, and nothing is at its place.
    PathIsOpen,
    /// An unmount hit another mount than the one that was meant.
    WrongHit,
    /// A child that may still act has not ended.
    Stranded,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    Step(StepKind),
    Ended(Outcome),
}

/// The steps of a plan that are left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    left: VecDeque<StepKind>,
    is_removed: bool,
    has_moved_in: bool,
    ended: Option<Outcome>,
}

impl Progress {
    pub fn new(plan: &Plan) -> Progress {
        let left = plan.allowed_steps().iter().map(|step| step.kind).collect();
        Progress { left, is_removed: false, has_moved_in: false, ended: None }
    }

    /// What to do now.
    pub fn next(&self) -> Next {
        match (self.ended, self.left.front()) {
            (Some(outcome), _) => Next::Ended(outcome),
            (None, Some(&kind)) => Next::Step(kind),
            // Every step was made, and none was to verify a new mount.
            (None, None) => Next::Ended(Outcome::NotMountedAgain),
        }
    }

    /// The next step has ended so.
    pub fn step_ended(&mut self, end: StepEnd) {
        let Some(kind) = self.left.pop_front().filter(|_| self.ended.is_none()) else { return };
        self.ended = match end {
            StepEnd::WrongHit => Some(Outcome::WrongHit),
            StepEnd::Stranded => Some(Outcome::Stranded),
            StepEnd::PathIsOpen => self.close_path(),
            StepEnd::Done | StepEnd::Deferred => self.done(kind),
            StepEnd::NotDone => self.not_done(kind),
        };
    }

    /// Nothing else comes before the directory underneath is covered.
    fn close_path(&mut self) -> Option<Outcome> {
        self.is_removed = true;
        if std::mem::replace(&mut self.has_moved_in, true) {
            return Some(Outcome::Failed);
        }
        self.left.retain(|kind| !kind.removes_mount() && *kind != StepKind::MoveIn);
        self.left.push_front(StepKind::MoveIn);
        None
    }

    fn done(&mut self, kind: StepKind) -> Option<Outcome> {
        match kind {
            StepKind::Verify => return Some(Outcome::Remedied),
            StepKind::MoveIn => self.has_moved_in = true,
            kind if kind.removes_mount() => {
                self.is_removed = true;
                // The removal has moved the new mount in.
                self.left.retain(|kind| !kind.removes_mount() && *kind != StepKind::MoveIn);
            }
            _ => {}
        }
        None
    }

    fn not_done(&mut self, kind: StepKind) -> Option<Outcome> {
        let has_another = self.left.front().is_some_and(|next| next.removes_mount());
        match kind {
            kind if kind.removes_mount() && has_another => None,
            // The mount is replaced, even if tasks still wait for the old one.
            StepKind::ShutDown if self.is_removed => None,
            _ => Some(Outcome::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{facts, plan_for, settings};
    use super::super::{Consent, Kernel, RemedyFacts, RemedySettings, STEP_WORDS, Situation};
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn progress(situation: Situation, moves_beneath: bool) -> Progress {
        let facts = facts(situation);
        let kernel = Kernel { moves_beneath, ..facts.kernel };
        let allow = vec![Consent::SilentServer, Consent::NotMountedAgain, Consent::Evicted];
        let settings = RemedySettings { steps: STEP_WORDS.to_vec(), allow, ..settings() };
        Progress::new(&plan_for(RemedyFacts { kernel, ..facts }, &settings))
    }

    /// The steps, until the end, when these end so and all others are done.
    fn run(mut progress: Progress, ends: &[(StepKind, StepEnd)]) -> (String, Outcome) {
        let mut made = Vec::new();
        loop {
            let kind = match progress.next() {
                Next::Ended(outcome) => return (made.join(" "), outcome),
                Next::Step(kind) => kind,
            };
            made.push(kind.as_str());
            let end = ends.iter().find(|(other, _)| *other == kind).map_or(StepEnd::Done, |(_, end)| *end);
            progress.step_ended(end);
        }
    }

    #[test]
    fn later_removals_follow_only_while_the_mount_is_there() {
        use StepEnd::{NotDone, PathIsOpen};
        use StepKind::{Detach, Force, MountPrivately, MoveBeneath, MoveIn, ShutDown, Unmount, Verify};
        let answers = |ends: &[(StepKind, StepEnd)]| run(progress(Situation::ServerAnswers, true), ends);
        let begin = "mount_privately move_beneath unmount";
        for (ends, steps, outcome) in [
            (&[][..], "shutdown verify", Outcome::Remedied),
            (&[(Unmount, NotDone)], "force shutdown verify", Outcome::Remedied),
            (&[(Unmount, NotDone), (Force, NotDone)], "force detach shutdown verify", Outcome::Remedied),
            (&[(Unmount, NotDone), (Force, NotDone), (Detach, NotDone)], "force detach", Outcome::Failed),
            (&[(ShutDown, NotDone)], "shutdown verify", Outcome::Remedied),
            (&[(Verify, NotDone)], "shutdown verify", Outcome::Failed),
            (&[(Unmount, PathIsOpen)], "move_in shutdown verify", Outcome::Remedied),
            (&[(Unmount, PathIsOpen), (MoveIn, NotDone)], "move_in", Outcome::Failed),
            (&[(Unmount, PathIsOpen), (MoveIn, PathIsOpen)], "move_in", Outcome::Failed),
            (&[(Unmount, StepEnd::WrongHit)], "", Outcome::WrongHit),
            (&[(Unmount, StepEnd::Stranded)], "", Outcome::Stranded),
        ] {
            let expected = format!("{begin} {steps}");
            assert_eq!(answers(ends), (expected.trim_end().to_owned(), outcome), "{ends:?}");
        }
        let unbroken = ("mount_privately".to_owned(), Outcome::Failed);
        assert_eq!(answers(&[(MountPrivately, NotDone)]), unbroken);
        let unbroken = ("mount_privately move_beneath".to_owned(), Outcome::Failed);
        assert_eq!(answers(&[(MoveBeneath, NotDone)]), unbroken);
        assert_eq!(answers(&[(MoveBeneath, StepEnd::Deferred)]), answers(&[]));
    }

    #[test]
    fn what_is_not_mounted_again_is_not_remedied() {
        let (_, outcome) = run(progress(Situation::ServerSilent, true), &[]);
        assert_eq!(outcome, Outcome::NotMountedAgain);
        let (steps, outcome) = run(progress(Situation::FuseStopped, true), &[]);
        assert_eq!((steps.as_str(), outcome), ("resume verify", Outcome::Remedied));
    }

    fn end() -> impl Strategy<Value = StepEnd> {
        use StepEnd::{Deferred, Done, NotDone, PathIsOpen, Stranded, WrongHit};
        select(vec![Done, Done, Done, NotDone, NotDone, Deferred, PathIsOpen, WrongHit, Stranded])
    }

    fn situation() -> impl Strategy<Value = Situation> {
        use Situation::{
            CephEvicted, FuseHung, FuseServerGone, FuseStopped, ServerAnswers, ServerSilent, Stale,
        };
        select(vec![Stale, FuseServerGone, FuseHung, FuseStopped, ServerAnswers, ServerSilent, CephEvicted])
    }

    proptest! {
        #[test]
        fn no_step_is_made_twice_or_after_the_mount_is_gone(
            situation in situation(),
            moves_beneath: bool,
            ends in prop::collection::vec(end(), 20),
        ) {
            let mut progress = progress(situation, moves_beneath);
            let mut made: Vec<(StepKind, StepEnd)> = Vec::new();
            for end in ends {
                let Next::Step(kind) = progress.next() else { break };
                let is_removed = made.iter().any(|&(kind, end)| {
                    end == StepEnd::PathIsOpen || (kind.removes_mount() && end != StepEnd::NotDone)
                });
                prop_assert!(made.iter().all(|&(other, _)| other != kind), "{:?} again", kind);
                prop_assert!(!(is_removed && kind.removes_mount()), "{:?} of what is gone", kind);
                match made.last() {
                    Some((_, StepEnd::PathIsOpen)) => prop_assert_eq!(kind, StepKind::MoveIn),
                    Some((_, StepEnd::WrongHit | StepEnd::Stranded)) => prop_assert!(false, "{:?} after it", kind),
                    Some((before, StepEnd::NotDone)) => {
                        prop_assert!(before.removes_mount() || *before == StepKind::ShutDown);
                    }
                    _ => {}
                }
                progress.step_ended(end);
                made.push((kind, end));
            }
            let Next::Ended(outcome) = progress.next() else {
                return Err(TestCaseError::fail("it does not end"));
            };
            let is_verified =
                made.last().is_some_and(|&(kind, end)| {
                    kind == StepKind::Verify && matches!(end, StepEnd::Done | StepEnd::Deferred)
                });
            prop_assert_eq!(outcome == Outcome::Remedied, is_verified);
        }
    }
}
