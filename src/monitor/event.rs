//! What happened, as the sinks are told it.

use super::{Expected, Failure, Health};
use platform::{Call, Errno, Mount};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One thing worth telling. Each change of a mount's health or place is exactly one event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A mount appeared.
    Mounted {
        /// It.
        mount: Arc<Mount>,
    },
    /// A mount disappeared.
    Unmounted {
        /// As it last was.
        mount: Arc<Mount>,
        /// What was last known of it.
        health: Health,
        /// How long that had been so.
        lasted: Duration,
    },
    /// Options changed, read-only or not among them.
    Remounted {
        /// As it is now.
        mount: Arc<Mount>,
        /// As it was.
        before: Arc<Mount>,
    },
    /// The same mount is now reached by another path.
    Moved {
        /// As it is now.
        mount: Arc<Mount>,
        /// Where it was.
        from: PathBuf,
    },
    /// A mount is dead from now on.
    Failed {
        /// It.
        mount: Arc<Mount>,
        /// Why.
        failure: Failure,
    },
    /// A mount is dead as before (reminder, or the reason changed).
    StillFailing {
        /// It.
        mount: Arc<Mount>,
        /// Why, now.
        failure: Failure,
        /// For how long it has been dead.
        lasted: Duration,
    },
    /// A mount that was told to be dead or slow answers in time again.
    Recovered {
        /// It.
        mount: Arc<Mount>,
        /// For how long it had been dead or slow.
        lasted: Duration,
        /// How long the answer took.
        took: Duration,
        /// What it was: `hung`, `failed` or `slow`.
        was: &'static str,
    },
    /// A mount answers, but late.
    Slow {
        /// It.
        mount: Arc<Mount>,
        /// How long the answer took.
        took: Duration,
        /// How late that may be.
        slow_after: Duration,
    },
    /// The kernel does not let us ask this mount.
    Denied {
        /// It.
        mount: Arc<Mount>,
        /// The refusal.
        errno: Errno,
        /// The call that was refused.
        call: Call,
    },
    /// A mount that has to be there is not.
    Missing {
        /// It.
        expected: Arc<Expected>,
        /// The mount in which its path lies now: what is written there goes to that one.
        containing_mount: Option<Arc<Mount>>,
    },
    /// A mount that was told to be missing is there.
    Found {
        /// What was missed.
        expected: Arc<Expected>,
        /// What is there.
        mount: Arc<Mount>,
        /// For how long it had been missing.
        lasted: Duration,
    },
    /// A run over all mounts is complete.
    Run {
        /// How many mounts are watched.
        mounts: usize,
        /// How many of them are dead.
        dead: usize,
        /// How many could not be judged because no prober could be had.
        unjudged: usize,
        /// From the start of the run to its last verdict.
        took: Duration,
    },
}

impl Event {
    /// The name of the contract: the field `event` of JSON lines and hooks.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Event::Mounted { .. } => "mounted",
            Event::Unmounted { .. } => "unmounted",
            Event::Remounted { .. } => "remounted",
            Event::Moved { .. } => "moved",
            Event::Failed { .. } => "failed",
            Event::StillFailing { .. } => "still_failing",
            Event::Recovered { .. } => "recovered",
            Event::Slow { .. } => "slow",
            Event::Denied { .. } => "denied",
            Event::Missing { .. } => "missing",
            Event::Found { .. } => "found",
            Event::Run { .. } => "run",
        }
    }

    /// The mount it is about; a run is about all, and a missing one is none.
    #[must_use]
    pub const fn mount(&self) -> Option<&Arc<Mount>> {
        match self {
            Event::Mounted { mount }
            | Event::Unmounted { mount, .. }
            | Event::Remounted { mount, .. }
            | Event::Moved { mount, .. }
            | Event::Failed { mount, .. }
            | Event::StillFailing { mount, .. }
            | Event::Recovered { mount, .. }
            | Event::Slow { mount, .. }
            | Event::Denied { mount, .. }
            | Event::Found { mount, .. } => Some(mount),
            Event::Missing { .. } | Event::Run { .. } => None,
        }
    }
}
