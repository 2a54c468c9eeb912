//! News of the probers, in words.

use super::{HumanDuration, Priority};
use crate::children::collector;
use crate::children::prober::ProberNotice;
use crate::children::prober::SpawnError;

/// The same for collectors of evidence. What they fail to do keeps nobody from noticing dead mounts.
#[must_use]
pub fn of_collector(notice: &collector::CollectorNotice) -> (Priority, String) {
    match *notice {
        collector::CollectorNotice::Stuck { pid } => {
            (Priority::Warning, format!("Evidence collector {pid} did not finish in time; killed"))
        }
        collector::CollectorNotice::TooMany => (
            Priority::Warning,
            "Too many evidence collectors cannot be killed; no evidence is collected".to_owned(),
        ),
        collector::CollectorNotice::SpawnFailed { errno } => {
            (Priority::Warning, format!("Cannot start an evidence collector: {} ({errno})", errno.describe()))
        }
        collector::CollectorNotice::Died { pid } => {
            (Priority::Warning, format!("Evidence collector {pid} exited unexpectedly"))
        }
    }
}

/// How pressing it is, and the sentence.
#[must_use]
pub fn of_prober(notice: &ProberNotice) -> (Priority, String) {
    match *notice {
        ProberNotice::Started { pid } => (Priority::Debug, format!("Prober {pid} started")),
        ProberNotice::Died { pid, how } => (
            Priority::Warning,
            format!("Prober {pid} exited unexpectedly ({how}); another prober takes over its mounts"),
        ),
        ProberNotice::Unresponsive { pid } => (
            Priority::Warning,
            format!("Prober {pid} does not respond (stopped?); another prober takes over its mounts"),
        ),
        ProberNotice::SpawnFailed { error, retry_in } => (
            Priority::Error,
            format!(
                "Cannot start a prober: {error}; mounts are not checked, next attempt in {}",
                HumanDuration(retry_in)
            ),
        ),
        ProberNotice::ThreadsFailed { pid, errno } => (
            Priority::Error,
            format!(
                "Prober {pid} cannot start a thread: {}; some mounts are not checked",
                SpawnError::System(errno)
            ),
        ),
        ProberNotice::Stranded { pid, mounts: 0 } => {
            (Priority::Warning, format!("Prober {pid} is stranded: it cannot be killed"))
        }
        ProberNotice::Stranded { pid, mounts } => (
            Priority::Warning,
            format!(
                "Prober {pid} is stranded: it cannot be killed while {mounts} of its probes hang in the kernel"
            ),
        ),
        ProberNotice::StrandedExited { pid } => {
            (Priority::Notice, format!("Stranded prober {pid} has exited"))
        }
        ProberNotice::StrandedLimit { limit } => (
            Priority::Error,
            format!(
                "{limit} probers are stranded, which is the limit; probes that hang from now on keep their prober"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::Errno;

    #[test]
    fn a_limit_is_called_one() {
        let (_, text) = of_prober(&ProberNotice::ThreadsFailed { pid: 72, errno: Errno::EAGAIN });
        let expected = "Prober 72 cannot start a thread: the limit of processes is reached (EAGAIN); some mounts are \
                        not checked";
        assert_eq!(text, expected);
    }
}
