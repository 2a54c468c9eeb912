//! The events that are reported.

use super::remedy::RemedyReport;
use super::{Expected, Failure, Health, OptionDifference};
use platform::{Call, Errno, Mount, SharedPath};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// An event to report. Each change of a mount's health or path is exactly one event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A mount appeared.
    Mounted { mount: Arc<Mount> },
    /// A mount disappeared; `mount` is as last seen.
    Unmounted { mount: Arc<Mount>, health: Health, lasted: Duration },
    /// Options changed, for example to read-only.
    Remounted { mount: Arc<Mount>, before: Arc<Mount> },
    /// The same mount has another path.
    Moved { mount: Arc<Mount>, from: SharedPath },
    /// A mount is dead from now on.
    Failed { mount: Arc<Mount>, failure: Failure },
    /// A mount is still dead (reminder, or the reason changed).
    StillFailing { mount: Arc<Mount>, failure: Failure, lasted: Duration },
    /// A mount that was reported dead, slow or unknown responds in time again, after `took`. Its health `was` `hung`,
    /// `failed`, `slow`, `unknown`, or `denied` if its data-path probe was refused.
    Recovered { mount: Arc<Mount>, lasted: Duration, took: Duration, was: &'static str },
    /// A mount responds, but took longer than `slow_after`.
    Slow { mount: Arc<Mount>, took: Duration, slow_after: Duration },
    /// A mount changed this often within this time. Its changes are not reported from now on.
    Flapping { mount: Arc<Mount>, health: &'static str, changes: u32, within: Duration },
    /// A mount that was reported to be flapping is steady in this health, after this many changes.
    Steady { mount: Arc<Mount>, health: &'static str, changes: u32, lasted: Duration },
    /// The options of a mount are other than a rule expects.
    UnexpectedOptions { mount: Arc<Mount>, differences: Vec<OptionDifference> },
    /// A mount that was reported to have unexpected options has none any more.
    ExpectedOptions { mount: Arc<Mount>, lasted: Duration },
    /// The kernel refuses to let us probe this mount, or its data path.
    Denied { mount: Arc<Mount>, errno: Errno, call: Call },
    /// A mount could not be judged for so long that its state is unknown. It `was` in this state when it was judged last
    /// (`pending`: never).
    Unknown { mount: Arc<Mount>, was: &'static str, unjudged: Duration },
    /// An expected mount is missing. `containing_mount` is the mount that its path is on meanwhile; it receives data
    /// written there.
    Missing { expected: Arc<Expected>, containing_mount: Option<Arc<Mount>> },
    /// A mount that was reported missing is mounted.
    Found { expected: Arc<Expected>, mount: Arc<Mount>, lasted: Duration },
    /// Something happened to the remedy of a dead mount.
    Remedy { mount: Arc<Mount>, report: Box<RemedyReport> },
    /// A run over all watched mounts except hidden ones is complete. `unjudged` mounts could not be judged because no
    /// prober was available. `took` is the time from the start of the run until its last mount was judged.
    Run { mounts: usize, dead: usize, unjudged: usize, took: Duration },
    /// A test of the outputs, which an operator requested. Nothing is wrong with this mount, which need not exist.
    Drill { mount: Arc<Mount> },
}

impl Event {
    /// The stable name: the field `event` of JSON lines and hooks.
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
            Event::Flapping { .. } => "flapping",
            Event::Steady { .. } => "steady",
            Event::UnexpectedOptions { .. } => "unexpected_options",
            Event::ExpectedOptions { .. } => "expected_options",
            Event::Denied { .. } => "denied",
            Event::Unknown { .. } => "unknown",
            Event::Missing { .. } => "missing",
            Event::Found { .. } => "found",
            Event::Remedy { report, .. } => report.name(),
            Event::Run { .. } => "run",
            Event::Drill { .. } => "drill",
        }
    }

    /// Does it say that something is wrong, or is no longer wrong? Such events outlive others where not all can be kept.
    pub const fn is_vital(&self) -> bool {
        match self {
            // That of a dead mount ends its failure.
            Event::Unmounted { health, .. } => health.failure().is_some(),
            Event::Mounted { .. }
            | Event::Remounted { .. }
            | Event::Moved { .. }
            | Event::Run { .. }
            | Event::Drill { .. } => false,
            _ => true,
        }
    }

    /// The mount that the event is about, if it is about one that exists.
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
            | Event::Flapping { mount, .. }
            | Event::Steady { mount, .. }
            | Event::UnexpectedOptions { mount, .. }
            | Event::ExpectedOptions { mount, .. }
            | Event::Denied { mount, .. }
            | Event::Unknown { mount, .. }
            | Event::Found { mount, .. }
            | Event::Remedy { mount, .. }
            | Event::Drill { mount } => Some(mount),
            Event::Missing { .. } | Event::Run { .. } => None,
        }
    }

    /// The path where the mount is or should be, if the event is about one.
    pub fn mountpoint(&self) -> Option<&Path> {
        match self {
            Event::Missing { expected, .. } | Event::Found { expected, .. } => Some(&expected.mountpoint),
            _ => self.mount().map(|mount| mount.mountpoint.as_path()),
        }
    }
}
