//! What the pool reports to the daemon.

use crate::monitor::ProbeId;
use platform::process::ExitStatus;
use platform::{Call, Errno, ProbeOutcome, User};
use std::fmt;
use std::time::Duration;

/// The progress or end of a probe. Each started probe ends with exactly one `Responded`, `Aborted` or `Freed`;
/// `Located`, `Stuck` and `Stranded` may come before that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolEvent {
    /// It ended with a response, however late. `took` is the time from its first call to the return of its last.
    Responded { probe: ProbeId, outcome: ProbeOutcome, took: Duration },
    /// The reply to `confirm`: it is proven that a thread is stuck in this call. It had worked on the probe for `elapsed`
    /// when it was asked.
    Stuck { probe: ProbeId, call: Call, elapsed: Duration },
    /// The reply to `locate`: this thread of the prober `pid` works on it. `tid` is 0 if the thread does not run yet.
    Located { probe: ProbeId, pid: u32, tid: u32 },
    /// It ended without a result: its prober died, was unresponsive, or could not start a thread; or no prober could be
    /// started.
    Aborted { probe: ProbeId },
    /// An abandoned probe ended: its thread is gone, so its mount may be probed again.
    Freed { probe: ProbeId },
    /// It cannot be ended: SIGKILL did not end its prober, or too many probers are stranded. Its mount should not be
    /// probed before the end of the probe.
    Stranded { probe: ProbeId },
    /// About a prober of this user.
    Notice(User, ProberNotice),
}

/// What an operator should know about the probers. Reported once for a prober, not for each of its probes, and with
/// the limits described in `pool`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProberNotice {
    Started {
        pid: u32,
    },
    /// It ended unexpectedly.
    Died {
        pid: u32,
        how: ExitStatus,
    },
    /// It does not reply; it is killed.
    Unresponsive {
        pid: u32,
    },
    /// No prober could be started. Repeated only when the pause before the next attempt has grown.
    SpawnFailed {
        error: SpawnError,
        retry_in: Duration,
    },
    /// It cannot start more threads.
    ThreadsFailed {
        pid: u32,
        errno: Errno,
    },
    /// It was killed but still exists, because some of its threads cannot be interrupted. It holds this many probes.
    Stranded {
        pid: u32,
        mounts: usize,
    },
    /// A stranded prober has ended.
    StrandedExited {
        pid: u32,
    },
    /// The maximum number of probers is stranded, so hung probes stay in the active one.
    StrandedLimit {
        limit: usize,
    },
}

/// Why there is no new prober.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpawnError {
    /// `socketpair(2)` or `fork(2)` failed.
    System(Errno),
    /// It ended before it was ready.
    Exited(ExitStatus),
    /// It was not ready in time; the storage of the program itself may hang.
    Unresponsive,
    /// Too many killed probers still exist.
    TooMany,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::System(Errno::EAGAIN) => f.write_str("the limit of processes is reached (EAGAIN)"),
            SpawnError::System(errno) => write!(f, "{} ({errno})", errno.describe()),
            SpawnError::Exited(status) => status.fmt(f),
            SpawnError::Unresponsive => f.write_str("it did not become ready in time"),
            SpawnError::TooMany => f.write_str("too many killed probers still exist"),
        }
    }
}
