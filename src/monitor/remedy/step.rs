//! The words for what a remedy can do.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// One step of a remedy. Each is made in a child that can be killed, and its outcome is read from the mount table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// SIGCONT to the stopped server of a FUSE mount, by pidfd.
    Resume,
    /// Make a new mount at a private place, and probe it there.
    MountPrivately,
    /// A read-only, empty file system at a private place, for a mount that cannot be made anew.
    Placeholder,
    /// Move what is at the private place beneath the dead mount, which still covers it.
    MoveBeneath,
    /// Abort the FUSE connection.
    Abort,
    /// Unmount by path, which fails while the mount is in use.
    Unmount,
    /// `MNT_FORCE` on exactly this mount: fails the pending requests, then unmounts if the mount is not in use.
    Force,
    /// `MNT_DETACH` on exactly this mount.
    Detach,
    /// `MNT_DETACH`, and at once what is at the private place moves in, in one child. For kernels that cannot move it
    /// beneath.
    Replace,
    /// Move what is at the private place to the mount point, unless an earlier step has.
    MoveIn,
    /// Write to the `shutdown` file of the NFS client: every request fails from then on. Nothing to do if the superblock
    /// is gone.
    #[serde(rename = "shutdown")]
    ShutDown,
    /// Mount again at the mount point, by the unit that served it.
    MountAgain,
    /// Check that the mount is a new one that responds.
    Verify,
}

/// The steps that a rule can name. The others follow from them.
pub const STEP_WORDS: &[StepKind] = &[
    StepKind::Resume,
    StepKind::Abort,
    StepKind::Unmount,
    StepKind::Force,
    StepKind::Detach,
    StepKind::ShutDown,
];

impl StepKind {
    pub const ALL: [StepKind; 13] = [
        StepKind::Resume,
        StepKind::MountPrivately,
        StepKind::Placeholder,
        StepKind::MoveBeneath,
        StepKind::Abort,
        StepKind::Unmount,
        StepKind::Force,
        StepKind::Detach,
        StepKind::Replace,
        StepKind::MoveIn,
        StepKind::ShutDown,
        StepKind::MountAgain,
        StepKind::Verify,
    ];

    /// The name in rules, on the command line, in JSON and in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            StepKind::Resume => "resume",
            StepKind::MountPrivately => "mount_privately",
            StepKind::Placeholder => "placeholder",
            StepKind::MoveBeneath => "move_beneath",
            StepKind::Abort => "abort",
            StepKind::Unmount => "unmount",
            StepKind::Force => "force",
            StepKind::Detach => "detach",
            StepKind::Replace => "replace",
            StepKind::MoveIn => "move_in",
            StepKind::ShutDown => "shutdown",
            StepKind::MountAgain => "mount_again",
            StepKind::Verify => "verify",
        }
    }

    /// Whether its purpose is that the mount is no longer there. These steps are alternatives: once the mount table
    /// shows that it is gone, the later ones are left out.
    #[must_use]
    pub const fn removes_mount(self) -> bool {
        matches!(self, StepKind::Unmount | StepKind::Force | StepKind::Detach | StepKind::Replace)
    }

    /// Whether it changes the dead mount or its superblock. Such a step is made at most once for one mount, except a plain
    /// unmount, which changes nothing when it fails.
    #[must_use]
    pub const fn is_destructive(self) -> bool {
        self.removes_mount() || matches!(self, StepKind::Abort | StepKind::ShutDown)
    }

    /// The step of a rule without which this one is not made; `None` for those that need no permission.
    #[must_use]
    pub const fn permission(self) -> Option<StepKind> {
        match self {
            StepKind::Replace => Some(StepKind::Detach),
            StepKind::Resume
            | StepKind::Abort
            | StepKind::Unmount
            | StepKind::Force
            | StepKind::Detach
            | StepKind::ShutDown => Some(self),
            StepKind::MountPrivately
            | StepKind::Placeholder
            | StepKind::MoveBeneath
            | StepKind::MoveIn
            | StepKind::MountAgain
            | StepKind::Verify => None,
        }
    }
}

impl FromStr for StepKind {
    type Err = String;

    fn from_str(name: &str) -> Result<StepKind, String> {
        let found = STEP_WORDS.iter().find(|kind| kind.as_str() == name);
        found.copied().ok_or_else(|| {
            let words: Vec<&str> = STEP_WORDS.iter().map(|kind| kind.as_str()).collect();
            format!("{name:?} is not a step of a remedy: use {}", words.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_exactly_the_steps_that_need_permission() {
        for kind in StepKind::ALL {
            assert_eq!(STEP_WORDS.contains(&kind), kind.permission() == Some(kind), "{kind:?}");
            assert_eq!(kind.as_str().parse().ok() == Some(kind), STEP_WORDS.contains(&kind), "{kind:?}");
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert!(!kind.is_destructive() || kind.permission().is_some(), "{kind:?} needs permission");
        }
    }
}
