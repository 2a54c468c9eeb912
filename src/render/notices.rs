//! Log lines about the daemon's child processes.

use super::{HumanDuration, Priority, Snapshot, remedy_state};
use crate::children::collector::CollectorNotice;
use crate::children::launcher::LauncherNotice;
use crate::children::prober::{ProberNotice, SpawnError};
use crate::children::signs::SignsNotice;
use crate::monitor::UserNotice;
use platform::User;

/// A notice about an evidence collector: a warning, because mounts are judged without evidence too.
#[must_use]
pub fn of_collector(notice: &CollectorNotice) -> (Priority, String) {
    let text = match *notice {
        CollectorNotice::Stuck { pid } => format!("Evidence collector {pid} did not finish in time; killed"),
        CollectorNotice::TooMany => {
            "Too many evidence collectors cannot be killed; no evidence is collected".to_owned()
        }
        CollectorNotice::SpawnFailed { errno } => {
            format!("Cannot start an evidence collector: {} ({errno})", errno.describe())
        }
        CollectorNotice::NotStarted => "An evidence collector could not be started; trying again".to_owned(),
        CollectorNotice::Died { pid } => format!("Evidence collector {pid} exited unexpectedly"),
    };
    (Priority::Warning, text)
}

/// A notice about the reader of early signs: not for operators, because mounts are probed without it too.
#[must_use]
pub fn of_signs(notice: &SignsNotice) -> (Priority, String) {
    let text = match *notice {
        SignsNotice::Stuck { pid } => format!("The reader of early signs {pid} does not respond; killed"),
        SignsNotice::Died { pid } => format!("The reader of early signs {pid} exited unexpectedly"),
        SignsNotice::SpawnFailed { errno } => {
            format!("Cannot start a reader of early signs: {} ({errno})", errno.describe())
        }
    };
    (Priority::Debug, text + "; trying again later")
}

/// The last lines of `status`: what is wrong with the daemon itself, rules that end, and what was remedied.
#[must_use]
pub fn of_daemon(snapshot: &Snapshot) -> String {
    let mut lines = String::new();
    if let Some(at) = snapshot.config.rejected_at {
        let age = HumanDuration::in_seconds(snapshot.at.since(at));
        lines += &format!(
            "The configuration was rejected {age} ago and the earlier one is in force: see the log, or --check-config\n"
        );
    }
    for rule in &*snapshot.config.temporary_rules {
        lines += &format!("{rule}\n");
    }
    if !snapshot.runs_from_memory {
        lines += "The daemon runs from its file: if the storage of its program hangs, it hangs too\n";
    }
    lines + &remedy_state::recent_lines(snapshot)
}

/// A notice about the launcher.
#[must_use]
pub(crate) fn of_launcher(notice: &LauncherNotice) -> (Priority, String) {
    let text = match *notice {
        LauncherNotice::Ended { how, has_other: true } => {
            format!("The launcher exited unexpectedly ({how}); another one takes over")
        }
        LauncherNotice::Ended { how, has_other: false } => format!(
            "The launcher exited unexpectedly ({how}); until another one is ready, child processes are started from the \
             file of the program"
        ),
        LauncherNotice::Unresponsive => "The launcher does not respond (stopped?); killed".to_owned(),
    };
    (Priority::Warning, text)
}

/// A notice about a prober.
#[must_use]
pub fn of_prober(user: User, notice: &ProberNotice) -> (Priority, String) {
    let whose = match user {
        User::System => String::new(),
        User::Foreign(uid) => format!(" of user {uid}"),
    };
    match *notice {
        ProberNotice::Started { pid } => (Priority::Debug, format!("Prober {pid}{whose} started")),
        ProberNotice::Died { pid, how } => (
            Priority::Warning,
            format!("Prober {pid}{whose} exited unexpectedly ({how}); another prober takes over its mounts"),
        ),
        ProberNotice::Unresponsive { pid } => (
            Priority::Warning,
            format!("Prober {pid}{whose} does not respond (stopped?); another prober takes over its mounts"),
        ),
        ProberNotice::SpawnFailed { error, retry_in } => {
            let retry = HumanDuration(retry_in);
            let text = format!(
                "Cannot start a prober{whose}: {error}; mounts are not checked, next attempt in {retry}"
            );
            (Priority::Error, text)
        }
        ProberNotice::ThreadsFailed { pid, errno } => {
            let error = SpawnError::System(errno);
            let text =
                format!("Prober {pid}{whose} cannot start a thread: {error}; some mounts are not checked");
            (Priority::Error, text)
        }
        ProberNotice::Stranded { pid, mounts } => {
            let probes = match mounts {
                0 => String::new(),
                n => format!(" while {n} of its probes hang in the kernel"),
            };
            (Priority::Warning, format!("Prober {pid}{whose} is stranded: it cannot be killed{probes}"))
        }
        ProberNotice::StrandedExited { pid } => {
            (Priority::Notice, format!("Stranded prober {pid}{whose} has exited"))
        }
        ProberNotice::StrandedLimit { limit } => (
            Priority::Error,
            format!(
                "{limit} probers{whose} are stranded, which is the limit; probes that hang from now on keep their prober"
            ),
        ),
    }
}

/// A notice about the budget of users.
#[must_use]
pub fn of_user(notice: &UserNotice) -> (Priority, String) {
    let text = match *notice {
        UserNotice::NotReported { user, events } => {
            format!("{events} events about mounts of user {user} were not reported: too many")
        }
        UserNotice::NotReportedOfOthers { users, events } => {
            format!("{events} events about mounts of {users} other users were not reported: too many")
        }
        UserNotice::NotWatched { user, limit } => {
            format!("User {user} has more mounts than are watched ({limit}, or fewer with long paths)")
        }
    };
    (Priority::Warning, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::Errno;

    #[test]
    fn eagain_is_reported_as_the_process_limit() {
        let (_, text) =
            of_prober(User::System, &ProberNotice::ThreadsFailed { pid: 72, errno: Errno::EAGAIN });
        let expected = "Prober 72 cannot start a thread: the limit of processes is reached (EAGAIN); some mounts are \
                        not checked";
        assert_eq!(text, expected);
    }
}
