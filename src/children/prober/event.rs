//! What the pool tells the daemon.

use crate::monitor::ProbeId;
use platform::process::ExitStatus;
use platform::{Call, Errno, ProbeOutcome};
use std::fmt;
use std::time::Duration;

/// What has become of a probe. Each that was started ends with exactly one `Responded`, `Aborted` or `Freed`; before
/// that there may be `Stuck` and `Lost`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolEvent {
    /// The end: it was answered, however late.
    Responded {
        /// Which one.
        probe: ProbeId,
        /// With what.
        outcome: ProbeOutcome,
        /// From the first call to the return of the last.
        took: Duration,
    },
    /// The answer to `confirm`: a thread is in this call.
    Stuck {
        /// Which one.
        probe: ProbeId,
        /// The call that has not returned.
        call: Call,
        /// Since the thread began with the probe.
        elapsed: Duration,
        /// The prober.
        pid: u32,
        /// Its thread; 0 if it has not come to run yet.
        tid: u32,
    },
    /// The end, without a verdict: its prober died, did not respond, could not be started or could start no thread.
    Aborted {
        /// Which one.
        probe: ProbeId,
    },
    /// The end of a condemned probe: nothing of its prober is left, so its mount may be asked again.
    Freed {
        /// Which one.
        probe: ProbeId,
    },
    /// It cannot be ended: SIGKILL did not end its prober, or no more probers may be left behind. Its mount should
    /// not be asked again before the end of the probe.
    Stranded {
        /// Which one.
        probe: ProbeId,
    },
    /// Something that an operator should know of the probers themselves.
    Notice(ProberNotice),
}

/// News of the probers. Each is told once, not once for each probe that it concerns, and not always: see `pool`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProberNotice {
    /// A prober has come up.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// A prober ended though nobody here had it end.
    Died {
        /// Its process id.
        pid: u32,
        /// How it ended.
        how: ExitStatus,
    },
    /// A prober does not say what has become of its probes; it is being killed.
    Unresponsive {
        /// Its process id.
        pid: u32,
    },
    /// No prober could be started. Told again only when the time to the next attempt has grown.
    SpawnFailed {
        /// Why.
        error: SpawnError,
        /// Not tried again before.
        retry_in: Duration,
    },
    /// A prober can start no more threads: mounts are not asked.
    ThreadsFailed {
        /// Its process id.
        pid: u32,
        /// Why.
        errno: Errno,
    },
    /// A prober was killed and is still there: some of its threads cannot be interrupted.
    Stranded {
        /// Its process id.
        pid: u32,
        /// How many probes it holds.
        mounts: usize,
    },
    /// The kernel has let go of a lost prober.
    StrandedExited {
        /// Its process id.
        pid: u32,
    },
    /// So many probers are left behind that no more may be: hung probes stay where they are.
    StrandedLimit {
        /// The limit.
        limit: usize,
    },
}

/// Why there is no new prober.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpawnError {
    /// `fork` or `socketpair` failed.
    System(Errno),
    /// It ended before it said anything.
    Exited(ExitStatus),
    /// It said nothing at all in time: perhaps the storage of the program itself hangs.
    Unresponsive,
    /// Too many that were killed are still there.
    TooMany,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::System(Errno::EAGAIN) => f.write_str("the limit of processes is reached (EAGAIN)"),
            SpawnError::System(errno) => write!(f, "{} ({errno})", errno.describe()),
            SpawnError::Exited(how) => how.fmt(f),
            SpawnError::Unresponsive => f.write_str("it does not come up"),
            SpawnError::TooMany => f.write_str("too many that were killed are still there"),
        }
    }
}
