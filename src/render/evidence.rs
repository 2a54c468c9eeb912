//! Evidence about a dead mount as text, the most useful first.

use super::HumanDuration;
use super::escape::escape;
use crate::monitor::{Failure, Reason};
use platform::evidence::{BlockedTasks, Evidence, FuseServer, Observation, ServerCheck, ServerResponse};
use std::time::Duration;

/// Maximum length of evidence in a log line, in bytes: syslog truncates long lines.
const MAX_SUMMARY: usize = 400;
/// Maximum number of processes named in a log line.
const MAX_SUMMARY_TASKS: usize = 3;
/// Maximum age of kernel log lines: older ones say little about the present failure.
const MAX_LOG_AGE: Duration = Duration::from_secs(3600);

/// `; its server sshfs[8] is stopped (T); 3 FUSE requests pending`, or nothing without evidence.
pub(super) fn evidence_suffix(failure: &Failure) -> String {
    match evidence_summary(failure) {
        summary if summary.is_empty() => summary,
        summary => format!("; {summary}"),
    }
}

/// The most useful evidence in one line of at most [`MAX_SUMMARY`] bytes.
pub(super) fn evidence_summary(failure: &Failure) -> String {
    let Some(record) = &failure.evidence else { return String::new() };
    let mut summary = String::new();
    for line in evidence_lines(failure, &record.evidence, MAX_SUMMARY_TASKS) {
        if summary.len() + line.len() + 2 > MAX_SUMMARY {
            break;
        }
        if !summary.is_empty() {
            summary.push_str("; ");
        }
        summary.push_str(&line);
    }
    summary
}

/// All evidence, one statement per line, naming up to `max_tasks` blocked processes.
pub(super) fn evidence_lines(failure: &Failure, evidence: &Evidence, max_tasks: usize) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(evidence.server.as_ref().and_then(|check| server(check, failure.reason)));
    if let Some(Observation::Found(process)) = &evidence.fuse_server {
        lines.push(fuse_server(process, failure.reason));
    }
    let server_replies =
        evidence.server.as_ref().is_some_and(|check| check.response == ServerResponse::Replies);
    if let Some(Observation::Found(line)) = &evidence.kernel_log
        && line.age < MAX_LOG_AGE
        && !server_replies
        && !line.text.ends_with(" OK")
    {
        let age = HumanDuration::in_seconds(line.age);
        lines.push(format!("kernel log {age} ago: {}", escape(line.text.as_bytes())));
    }
    if let Some(Observation::Found(tasks)) = &evidence.tasks {
        lines.extend(blocked_tasks(tasks, max_tasks));
    }
    if let Some(Observation::Found(waiting @ 1..)) = evidence.fuse_waiting {
        lines.push(format!("{waiting} FUSE {} pending", if waiting == 1 { "request" } else { "requests" }));
    }
    lines
}

/// The parts of the evidence that this user has no permission to collect, by their names in JSON.
pub(super) fn needs_root(evidence: &Evidence) -> Vec<&'static str> {
    let Evidence { probe, server: _, traffic, kernel_log, fuse_waiting, fuse_server, tasks } = evidence;
    let stack = probe.as_ref().and_then(Observation::found).map(|thread| &thread.stack);
    let own_tasks_only = tasks.as_ref().and_then(Observation::found).is_some_and(|tasks| tasks.of_user_only);
    let refused = [
        ("stack", *probe == Some(Observation::NeedsRoot) || stack == Some(&Observation::NeedsRoot)),
        ("traffic", *traffic == Some(Observation::NeedsRoot)),
        ("kernel_log", *kernel_log == Some(Observation::NeedsRoot)),
        ("fuse_waiting", *fuse_waiting == Some(Observation::NeedsRoot)),
        ("fuse_server", *fuse_server == Some(Observation::NeedsRoot)),
        ("blocked_tasks", *tasks == Some(Observation::NeedsRoot) || own_tasks_only),
    ];
    refused.into_iter().filter(|(_, is_refused)| *is_refused).map(|(name, _)| name).collect()
}

fn server(check: &ServerCheck, reason: Reason) -> Option<String> {
    let name = format!("{} server {}", check.service.name(), check.address);
    Some(match &check.response {
        ServerResponse::NoConnection(waited) => {
            format!("{name} did not accept a connection within {}", HumanDuration(*waited))
        }
        ServerResponse::Refused => format!("{name} refuses connections"),
        ServerResponse::Unreachable(errno) => format!("{name} is unreachable ({errno})"),
        ServerResponse::NoReply(waited) => {
            format!("{name} accepts connections but did not reply within {}", HumanDuration(*waited))
        }
        ServerResponse::Connects => format!("{name} accepts connections"),
        ServerResponse::Replies => match reason {
            Reason::Hung => format!("{name} responds, but this export does not"),
            Reason::Stale => format!("{name} responds, but no longer knows this export (ESTALE)"),
            Reason::Disconnected | Reason::IoError | Reason::Unreachable | Reason::Error => {
                format!("{name} responds")
            }
        },
        ServerResponse::NotChecked => return None,
    })
}

fn fuse_server(server: &FuseServer, reason: Reason) -> String {
    let FuseServer::Process { pid, name, state } = server else {
        return match reason {
            Reason::Disconnected => "its server process is gone".to_owned(),
            _ => "its server process was not found".to_owned(),
        };
    };
    let name = format!("its server {}[{pid}]", escape(name));
    match (state, reason) {
        ('T' | 't', _) => format!("{name} is stopped ({state})"),
        ('Z' | 'X', _) => format!("{name} has exited ({state})"),
        ('D', _) => format!("{name} is itself blocked in the kernel (D)"),
        (_, Reason::Disconnected) => format!("{name} is running, but the FUSE connection was closed"),
        (_, Reason::Hung) => format!("{name} is running but does not respond"),
        (_, Reason::Stale | Reason::IoError | Reason::Unreachable | Reason::Error) => {
            format!("{name} is running")
        }
    }
}

/// `14 tasks blocked: bash[311], df[312], ls[313] and others`
fn blocked_tasks(tasks: &BlockedTasks, max_named: usize) -> Option<String> {
    let of_count = |count: u32| {
        let at_least = if tasks.complete { "" } else { "at least " };
        let of_user = if tasks.of_user_only { " of this user" } else { "" };
        format!("{at_least}{count} {}{of_user}", if count == 1 { "task" } else { "tasks" })
    };
    match (tasks.count, tasks.unassigned) {
        (0, 0) => None,
        (0, unassigned) => Some(format!("{} blocked on this or another dead mount", of_count(unassigned))),
        (count, _) => {
            let named = tasks.named.iter().take(max_named);
            let named: Vec<String> =
                named.map(|task| format!("{}[{}]", escape(&task.name), task.pid)).collect();
            let more = if named.len() < tasks.named.len() { " and others" } else { "" };
            Some(format!("{} blocked: {}{more}", of_count(count), named.join(", ")))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::monitor::{EvidenceRecord, Time};
    use crate::render::samples::failure;
    use platform::Errno;
    use platform::evidence::{BlockedTask, LogLine, Service, StuckThread, Traffic};
    use std::sync::Arc;

    pub(in crate::render) fn with(mut failure: Failure, evidence: Evidence) -> Failure {
        let at = Time::default();
        failure.evidence = Some(Arc::new(EvidenceRecord { at, tasks_at: at, complete: true, evidence }));
        failure
    }

    pub(in crate::render) fn of_nfs(response: ServerResponse) -> Evidence {
        let address = "10.0.0.5:2049".parse().unwrap();
        let check = ServerCheck { service: Service::Nfs(4), address, response };
        Evidence { server: Some(check), tasks: Some(Observation::Found(tasks(14, 5))), ..Evidence::default() }
    }

    pub(in crate::render) fn tasks(count: u32, named: u32) -> BlockedTasks {
        let task = |n| BlockedTask {
            pid: 311 + n,
            name: if n == 0 { b"bash".to_vec() } else { format!("t{n}\n").into_bytes() },
            started: 1,
            seen_for: Duration::from_secs(60),
        };
        let named = (0..named).map(task).collect();
        BlockedTasks { count, named, unassigned: 0, complete: true, of_user_only: false }
    }

    fn hung() -> Failure {
        failure(Reason::Hung, None, 3.0)
    }

    #[test]
    fn server_check_is_explained() {
        let ms = Duration::from_millis;
        let stale = failure(Reason::Stale, Some(Errno::ESTALE), 0.0);
        for (failure, response, words) in [
            (hung(), ServerResponse::NoConnection(ms(1200)), "did not accept a connection within 1.2s"),
            (hung(), ServerResponse::Refused, "refuses connections"),
            (hung(), ServerResponse::Unreachable(Errno::EHOSTUNREACH), "is unreachable (EHOSTUNREACH)"),
            (hung(), ServerResponse::NoReply(ms(800)), "accepts connections but did not reply within 800ms"),
            (hung(), ServerResponse::Replies, "responds, but this export does not"),
            (stale, ServerResponse::Replies, "responds, but no longer knows this export (ESTALE)"),
        ] {
            let text = evidence_summary(&with(failure, of_nfs(response)));
            let tasks = r"14 tasks blocked: bash[311], t1\012[312], t2\012[313] and others";
            assert_eq!(text, format!("NFS server 10.0.0.5:2049 {words}; {tasks}"));
        }
        let text = evidence_summary(&with(hung(), of_nfs(ServerResponse::NotChecked)));
        assert!(text.starts_with("14 tasks"), "{text}");
        assert_eq!(evidence_summary(&hung()), "");
    }

    #[test]
    fn fuse_server_state_is_explained() {
        let disconnected = failure(Reason::Disconnected, Some(Errno::ENOTCONN), 0.0);
        for (failure, state, words) in [
            (hung(), 'T', "its server ss hfs[7] is stopped (T)"),
            (hung(), 'S', "its server ss hfs[7] is running but does not respond"),
            (hung(), 'D', "its server ss hfs[7] is itself blocked in the kernel (D)"),
            (
                disconnected.clone(),
                'S',
                "its server ss hfs[7] is running, but the FUSE connection was closed",
            ),
            (disconnected, ' ', "its server process is gone"),
            (hung(), ' ', "its server process was not found"),
        ] {
            let server = match state {
                ' ' => FuseServer::NotSeen,
                state => FuseServer::Process { pid: 7, name: b"ss hfs".to_vec(), state },
            };
            let (fuse_server, fuse_waiting) = (Some(Observation::Found(server)), Some(Observation::Found(2)));
            let evidence = Evidence { fuse_server, fuse_waiting, ..Evidence::default() };
            assert_eq!(
                evidence_summary(&with(failure, evidence)),
                format!("{words}; 2 FUSE requests pending")
            );
        }
    }

    #[test]
    fn incomplete_task_counts_are_marked() {
        let summary_of = |tasks| {
            evidence_summary(&with(
                hung(),
                Evidence { tasks: Some(Observation::Found(tasks)), ..Evidence::default() },
            ))
        };
        assert_eq!(summary_of(tasks(0, 0)), "");
        assert_eq!(summary_of(tasks(1, 1)), "1 task blocked: bash[311]");
        let partly = BlockedTasks { complete: false, of_user_only: true, ..tasks(2, 1) };
        assert_eq!(summary_of(partly), "at least 2 tasks of this user blocked: bash[311]");
        let unassigned = BlockedTasks { unassigned: 3, ..tasks(0, 0) };
        assert_eq!(summary_of(unassigned), "3 tasks blocked on this or another dead mount");
    }

    #[test]
    fn summary_is_bounded_and_keeps_the_first_lines() {
        let mut evidence = of_nfs(ServerResponse::NoReply(Duration::from_secs(1)));
        let text = "x".repeat(10_000);
        evidence.kernel_log = Some(Observation::Found(LogLine { text, age: Duration::ZERO }));
        let text = evidence_summary(&with(hung(), evidence));
        assert!(text.len() <= MAX_SUMMARY && text.starts_with("NFS server 10.0.0.5:2049 accepts"), "{text}");
    }

    #[test]
    fn kernel_log_is_left_out_when_the_server_replies() {
        let line = LogLine {
            text: "nfs: server s not responding, still trying".into(),
            age: Duration::from_millis(65_432),
        };
        let mut evidence = of_nfs(ServerResponse::Refused);
        evidence.kernel_log = Some(Observation::Found(line));
        let text = evidence_summary(&with(hung(), evidence.clone()));
        assert!(text.contains("; kernel log 1m5s ago: nfs: server s not responding, still trying"), "{text}");
        evidence.server =
            Some(ServerCheck { response: ServerResponse::Replies, ..evidence.server.expect("it was set") });
        assert!(!evidence_summary(&with(hung(), evidence)).contains("kernel log"));
    }

    #[test]
    fn evidence_that_needs_root_is_listed() {
        let thread = StuckThread { state: 'D', wait_channel: None, stack: Observation::NeedsRoot };
        let evidence = Evidence {
            probe: Some(Observation::Found(thread)),
            traffic: Some(Observation::Found(Traffic::default())),
            kernel_log: Some(Observation::NeedsRoot),
            fuse_waiting: Some(Observation::Unknown),
            fuse_server: Some(Observation::NeedsRoot),
            tasks: Some(Observation::NeedsRoot),
            server: None,
        };
        assert_eq!(needs_root(&evidence), ["stack", "kernel_log", "fuse_server", "blocked_tasks"]);
        assert_eq!(evidence_summary(&with(hung(), evidence)), "");
        assert_eq!(needs_root(&Evidence::default()), [""; 0]);
    }
}
