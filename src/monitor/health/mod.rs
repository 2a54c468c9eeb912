//! The health of a mount. `classify` classifies the outcome of a probe.

mod classify;

pub(super) use classify::{Classification, Context, ResponseHistory, classify};

use super::EvidenceRecord;
use platform::{Call, Errno, SharedPath};
use std::sync::Arc;
use std::time::Duration;

/// Why a mount counts as dead: the word after `(` in a failure line and the value of the label `reason`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Reason {
    /// No response within the timeout.
    Hung,
    /// `ESTALE`: the server no longer knows what was mounted.
    Stale,
    /// `ENOTCONN`, `ECONNABORTED`: the server process or the connection is gone; `ESRCH` for an automount daemon.
    Disconnected,
    /// `EIO`.
    IoError,
    /// `EHOSTDOWN`, `EHOSTUNREACH`, `ETIMEDOUT`, `ENODEV`: the storage cannot be reached.
    Unreachable,
    /// Any other error, named by its errno.
    Error,
}

impl Reason {
    /// Every reason, in the order in which lists show them.
    pub const ALL: [Reason; 6] = [
        Reason::Hung,
        Reason::Stale,
        Reason::Disconnected,
        Reason::IoError,
        Reason::Unreachable,
        Reason::Error,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Hung => "hung",
            Reason::Stale => "stale",
            Reason::Disconnected => "disconnected",
            Reason::IoError => "io_error",
            Reason::Unreachable => "unreachable",
            Reason::Error => "error",
        }
    }

    pub const fn of(errno: Errno) -> Reason {
        match errno {
            Errno::ESTALE => Reason::Stale,
            Errno::ENOTCONN | Errno::ECONNABORTED => Reason::Disconnected,
            Errno::EIO => Reason::IoError,
            Errno::EHOSTDOWN | Errno::EHOSTUNREACH | Errno::ETIMEDOUT | Errno::ENODEV => Reason::Unreachable,
            _ => Reason::Error,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub reason: Reason,
    /// The error that was returned; `None` without a response.
    pub errno: Option<Errno>,
    /// The call that failed or did not return.
    pub call: Option<Call>,
    /// How long the unanswered probe had waited when the mount was judged; zero for an error.
    pub waited: Duration,
    /// The hung mount through which this mount's path leads.
    pub blocked_by: Option<SharedPath>,
    /// The evidence found so far about causes and consequences.
    pub evidence: Option<Arc<EvidenceRecord>>,
}

impl Failure {
    pub(super) fn hung(call: Call, waited: Duration, blocked_by: Option<SharedPath>) -> Failure {
        Failure { reason: Reason::Hung, errno: None, call: Some(call), waited, blocked_by, evidence: None }
    }

    pub(super) fn error(call: Call, errno: Errno) -> Failure {
        let reason = if call == Call::Kill { Reason::Disconnected } else { Reason::of(errno) };
        Failure { reason, errno: Some(errno), ..Failure::hung(call, Duration::ZERO, None) }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    Pending,
    /// Responded in time.
    Ok,
    /// Responded, but later than `slow_after`.
    Slow,
    Dead(Box<Failure>),
    /// The kernel refused the probe, so the storage was not reached: nothing is known. Or the storage responds, but the
    /// data-path probe of its rule was refused.
    Denied(Errno),
    /// Another mount is on top of it: known and shown, but not probed.
    Hidden,
    /// It could not be judged for two intervals. Its state before: `ok`, `slow`, `denied`, or `pending` if it was never
    /// judged. A dead mount stays dead instead: an alarm ends only when the mount responds.
    Unknown {
        was: &'static str,
    },
}

impl Health {
    /// The stable name in tables, JSON and metrics: `pending ok slow hung failed denied hidden unknown`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Health::Pending => "pending",
            Health::Ok => "ok",
            Health::Slow => "slow",
            Health::Dead(failure) if matches!(failure.reason, Reason::Hung) => "hung",
            Health::Dead(_) => "failed",
            Health::Denied(_) => "denied",
            Health::Hidden => "hidden",
            Health::Unknown { .. } => "unknown",
        }
    }

    pub const fn is_hung(&self) -> bool {
        matches!(self, Health::Dead(failure) if matches!(failure.reason, Reason::Hung))
    }

    /// The reason of a refusal that has a name of its own.
    pub const fn refusal(&self) -> Option<&'static str> {
        match self {
            Health::Denied(Errno::EDQUOT) => Some("quota"),
            Health::Denied(Errno::ENOSPC) => Some("full"),
            Health::Denied(Errno::EROFS) => Some("read_only"),
            _ => None,
        }
    }

    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Health::Dead(failure) => Some(failure),
            _ => None,
        }
    }
}
