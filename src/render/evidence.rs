//! Evidence in words: what helps most comes first, and what helps nobody is left out.

use super::escape::escape;
use super::human_duration::HumanDuration;
use crate::monitor::{Failure, Reason};
use platform::evidence::{BlockedTasks, Evidence, FuseServer, Observation, ServerCheck, ServerResponse};
use std::time::Duration;

/// All that is said in one line comes to at most so many bytes: the line is for reading, and syslog cuts long ones.
const MAX_SAID: usize = 400;
/// Processes that are named where there is little room.
const FEW: usize = 3;
/// The kernel's word about a server counts for this long.
const LOG_COUNTS: Duration = Duration::from_secs(3600);

/// What is known of the failure besides its reason, in one line; empty if that is nothing.
#[must_use]
pub fn said(failure: &Failure) -> String {
    let Some(findings) = &failure.evidence else { return String::new() };
    let mut text = String::new();
    for sentence in sentences(failure, &findings.evidence, FEW) {
        if text.len() + sentence.len() + 2 > MAX_SAID {
            break; // the first are the ones that matter
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&sentence);
    }
    text
}

/// The same, each sentence alone, with so many processes named.
#[must_use]
pub fn sentences(failure: &Failure, evidence: &Evidence, names: usize) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(evidence.server.as_ref().and_then(|check| server(check, failure.reason)));
    if let Some(Observation::Found(process)) = &evidence.fuse_server {
        found.push(fuse_server(process, failure.reason));
    }
    if let Some(Observation::Found(line)) = &evidence.kernel_log
        && line.age < LOG_COUNTS
        && !answers(evidence)
        && !line.text.ends_with(" OK")
    {
        found.push(format!(
            "kernel log {} ago: {}",
            HumanDuration(whole(line.age)),
            escape(line.text.as_bytes())
        ));
    }
    if let Some(Observation::Found(tasks)) = &evidence.tasks {
        found.extend(blocked(tasks, names));
    }
    if let Some(Observation::Found(waiting @ 1..)) = evidence.fuse_waiting {
        let requests = if waiting == 1 { "request" } else { "requests" };
        found.push(format!("{waiting} FUSE {requests} pending"));
    }
    found
}

/// What could not be learned by this user.
#[must_use]
pub fn needs_root(evidence: &Evidence) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut add = |what, refused: bool| {
        if refused {
            found.push(what);
        }
    };
    let Evidence { probe, server: _, traffic, kernel_log, fuse_waiting, fuse_server, tasks } = evidence;
    let stack = probe.as_ref().and_then(Observation::found).map(|thread| &thread.stack);
    add("stack", probe == &Some(Observation::NeedsRoot) || stack == Some(&Observation::NeedsRoot));
    add("traffic", *traffic == Some(Observation::NeedsRoot));
    add("kernel_log", *kernel_log == Some(Observation::NeedsRoot));
    add("fuse_waiting", *fuse_waiting == Some(Observation::NeedsRoot));
    add("fuse_server", *fuse_server == Some(Observation::NeedsRoot));
    let partly = tasks.as_ref().and_then(Observation::found).is_some_and(|tasks| tasks.of_user_only);
    add("blocked_tasks", *tasks == Some(Observation::NeedsRoot) || partly);
    found
}

fn answers(evidence: &Evidence) -> bool {
    evidence.server.as_ref().is_some_and(|check| check.response == ServerResponse::Replies)
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
fn blocked(tasks: &BlockedTasks, names: usize) -> Option<String> {
    let least = if tasks.complete { "" } else { "at least " };
    let whose = if tasks.of_user_only { " of this user" } else { "" };
    let task = |count: u32| if count == 1 { "task" } else { "tasks" };
    if tasks.count == 0 {
        let count = tasks.unassigned;
        return (count > 0)
            .then(|| format!("{least}{count} {}{whose} blocked on this or another dead mount", task(count)));
    }
    let shown: Vec<String> =
        tasks.named.iter().take(names).map(|task| format!("{}[{}]", escape(&task.name), task.pid)).collect();
    let more = if shown.len() < tasks.named.len() { " and others" } else { "" };
    let count = tasks.count;
    Some(format!("{least}{count} {}{whose} blocked: {}{more}", task(count), shown.join(", ")))
}

/// Whole seconds: a fraction of an age helps nobody.
fn whole(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
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

    pub(in crate::render) fn of_nfs(answer: ServerResponse) -> Evidence {
        let address = "10.0.0.5:2049".parse().unwrap();
        let check = ServerCheck { service: Service::Nfs(4), address, response: answer };
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
    fn servers() {
        let ms = Duration::from_millis;
        let stale = failure(Reason::Stale, Some(Errno::ESTALE), 0.0);
        for (failure, answer, words) in [
            (hung(), ServerResponse::NoConnection(ms(1200)), "did not accept a connection within 1.2s"),
            (hung(), ServerResponse::Refused, "refuses connections"),
            (hung(), ServerResponse::Unreachable(Errno::EHOSTUNREACH), "is unreachable (EHOSTUNREACH)"),
            (hung(), ServerResponse::NoReply(ms(800)), "accepts connections but did not reply within 800ms"),
            (hung(), ServerResponse::Replies, "responds, but this export does not"),
            (stale, ServerResponse::Replies, "responds, but no longer knows this export (ESTALE)"),
        ] {
            let text = said(&with(failure, of_nfs(answer)));
            let tasks = r"14 tasks blocked: bash[311], t1\012[312], t2\012[313] and others";
            assert_eq!(text, format!("NFS server 10.0.0.5:2049 {words}; {tasks}"));
        }
        let text = said(&with(hung(), of_nfs(ServerResponse::NotChecked)));
        assert!(text.starts_with("14 tasks"), "{text}");
        assert_eq!(said(&hung()), "");
    }

    #[test]
    fn fuse_servers() {
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
            assert_eq!(said(&with(failure, evidence)), format!("{words}; 2 FUSE requests pending"));
        }
    }

    #[test]
    fn tasks_that_are_not_all() {
        let said_of = |tasks| {
            said(&with(hung(), Evidence { tasks: Some(Observation::Found(tasks)), ..Evidence::default() }))
        };
        assert_eq!(said_of(tasks(0, 0)), "");
        assert_eq!(said_of(tasks(1, 1)), "1 task blocked: bash[311]");
        let partly = BlockedTasks { complete: false, of_user_only: true, ..tasks(2, 1) };
        assert_eq!(said_of(partly), "at least 2 tasks of this user blocked: bash[311]");
        let unassigned = BlockedTasks { unassigned: 3, ..tasks(0, 0) };
        assert_eq!(said_of(unassigned), "3 tasks blocked on this or another dead mount");
    }

    #[test]
    fn what_is_said_is_bounded_and_the_first_matters() {
        let mut evidence = of_nfs(ServerResponse::NoReply(Duration::from_secs(1)));
        let text = "x".repeat(10_000);
        evidence.kernel_log = Some(Observation::Found(LogLine { text, age: Duration::ZERO }));
        let text = said(&with(hung(), evidence));
        assert!(text.len() <= MAX_SAID && text.starts_with("NFS server 10.0.0.5:2049 accepts"), "{text}");
    }

    #[test]
    fn the_kernels_word_is_said_where_the_server_does_not_contradict() {
        let line = LogLine {
            text: "nfs: server s not responding, still trying".into(),
            age: Duration::from_millis(65_432),
        };
        let mut evidence = of_nfs(ServerResponse::Refused);
        evidence.kernel_log = Some(Observation::Found(line));
        let text = said(&with(hung(), evidence.clone()));
        assert!(text.contains("; kernel log 1m5s ago: nfs: server s not responding, still trying"), "{text}");
        evidence.server =
            Some(ServerCheck { response: ServerResponse::Replies, ..evidence.server.expect("it was set") });
        assert!(!said(&with(hung(), evidence)).contains("kernel log"));
    }

    #[test]
    fn what_needs_root_is_named() {
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
        assert_eq!(said(&with(hung(), evidence)), "");
        assert_eq!(needs_root(&Evidence::default()), [""; 0]);
    }
}
