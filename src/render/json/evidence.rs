//! Evidence in fields. Every field is always present; an unknown value is null.

use super::seconds;
use crate::monitor::Failure;
use crate::render::escape::escape;
use crate::render::evidence::{evidence_lines, needs_root};
use crate::render::timestamp::rfc3339;
use platform::evidence::{
    BlockedTasks, Evidence, FuseServer, MAX_NAMED_TASKS, Observation, ServerCheck, ServerResponse,
};
use serde::Serialize;
use std::time::SystemTime;

#[derive(Serialize)]
pub(super) struct EvidenceObject {
    /// When the newest part was collected; null in an event.
    time: Option<String>,
    complete: bool,
    says: Vec<String>,
    server: Option<Server>,
    kernel_log: Option<Log>,
    nfs: Option<Nfs>,
    fuse_waiting: Option<u64>,
    fuse_server: Option<Process>,
    probe: Option<Probe>,
    blocked_tasks: Option<Tasks>,
    needs_root: Vec<&'static str>,
}

#[derive(Serialize)]
struct Server {
    service: &'static str,
    address: String,
    answer: &'static str,
    errno: Option<String>,
    waited_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Log {
    text: String,
    age_seconds: f64,
}

#[derive(Serialize)]
struct Nfs {
    sent: u64,
    received: u64,
    idle_seconds: f64,
}

#[derive(Serialize)]
struct Process {
    seen: bool,
    pid: Option<u32>,
    name: Option<String>,
    state: Option<char>,
}

#[derive(Serialize)]
struct Probe {
    state: char,
    wait_channel: Option<String>,
    stack: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Tasks {
    count: u32,
    unassigned: u32,
    complete: bool,
    of_user_only: bool,
    named: Vec<Task>,
}

#[derive(Serialize)]
struct Task {
    pid: u32,
    name: String,
    seen_seconds: f64,
}

impl EvidenceObject {
    pub(super) fn of(failure: &Failure, time: Option<SystemTime>) -> Option<EvidenceObject> {
        let record = failure.evidence.as_ref()?;
        let evidence = &record.evidence;
        let Evidence { probe, server, traffic, kernel_log, fuse_waiting, fuse_server, tasks } = evidence;
        Some(EvidenceObject {
            time: time.map(rfc3339),
            complete: record.complete,
            says: evidence_lines(failure, evidence, MAX_NAMED_TASKS),
            server: server.as_ref().map(server_object),
            kernel_log: found(kernel_log).map(|line| Log {
                text: escape(line.text.as_bytes()).into_owned(),
                age_seconds: seconds(line.age),
            }),
            nfs: found(traffic).map(|traffic| Nfs {
                sent: traffic.sent,
                received: traffic.received,
                idle_seconds: seconds(traffic.idle),
            }),
            fuse_waiting: found(fuse_waiting).copied(),
            fuse_server: found(fuse_server).map(process_object),
            probe: found(probe).map(|thread| Probe {
                state: thread.state,
                wait_channel: thread.wait_channel.clone(),
                stack: thread.stack.found().cloned(),
            }),
            blocked_tasks: found(tasks).map(tasks_object),
            needs_root: needs_root(evidence),
        })
    }
}

fn found<T>(observation: &Option<Observation<T>>) -> Option<&T> {
    observation.as_ref().and_then(Observation::found)
}

fn server_object(check: &ServerCheck) -> Server {
    let (answer, errno, waited) = match &check.response {
        ServerResponse::NoConnection(waited) => ("no_connection", None, Some(*waited)),
        ServerResponse::Refused => ("refused", None, None),
        ServerResponse::Unreachable(errno) => ("unreachable", Some(errno.name()), None),
        ServerResponse::NoReply(waited) => ("silent", None, Some(*waited)),
        ServerResponse::Connects => ("accepts", None, None),
        ServerResponse::Replies => ("answers", None, None),
        ServerResponse::NotChecked => ("not_asked", None, None),
    };
    Server {
        service: check.service.name(),
        address: check.address.to_string(),
        answer,
        errno,
        waited_seconds: waited.map(seconds),
    }
}

fn process_object(server: &FuseServer) -> Process {
    match server {
        FuseServer::Process { pid, name, state } => Process {
            seen: true,
            pid: Some(*pid),
            name: Some(escape(name).into_owned()),
            state: Some(*state),
        },
        FuseServer::NotSeen => Process { seen: false, pid: None, name: None, state: None },
    }
}

fn tasks_object(tasks: &BlockedTasks) -> Tasks {
    let task = |task: &platform::evidence::BlockedTask| Task {
        pid: task.pid,
        name: escape(&task.name).into_owned(),
        seen_seconds: seconds(task.seen_for),
    };
    Tasks {
        count: tasks.count,
        unassigned: tasks.unassigned,
        complete: tasks.complete,
        of_user_only: tasks.of_user_only,
        named: tasks.named.iter().map(task).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::render::evidence::tests::{of_nfs, with};
    use crate::render::samples::failure;
    use platform::evidence::StuckThread;
    use std::time::Duration;

    #[test]
    fn each_field_is_present() {
        let mut evidence = of_nfs(ServerResponse::NoReply(Duration::from_millis(1500)));
        let stack = Observation::Found(vec!["rpc_wait_bit_killable".into()]);
        evidence.probe = Some(Observation::Found(StuckThread { state: 'D', wait_channel: None, stack }));
        evidence.kernel_log = Some(Observation::NeedsRoot);
        let failure = with(failure(Reason::Hung, None, 3.0), evidence);
        let object = serde_json::to_value(EvidenceObject::of(&failure, None)).unwrap();
        let expected = serde_json::json!({
            "time": null,
            "complete": true,
            "says": object["says"],
            "server": {"service": "NFS", "address": "10.0.0.5:2049", "answer": "silent", "errno": null,
                       "waited_seconds": 1.5},
            "kernel_log": null, "nfs": null, "fuse_waiting": null, "fuse_server": null,
            "probe": {"state": "D", "wait_channel": null, "stack": ["rpc_wait_bit_killable"]},
            "blocked_tasks": {"count": 14, "unassigned": 0, "complete": true, "of_user_only": false,
                              "named": object["blocked_tasks"]["named"]},
            "needs_root": ["kernel_log"],
        });
        assert_eq!(object, expected);
        assert_eq!(
            object["blocked_tasks"]["named"][0],
            serde_json::json!({"pid": 311, "name": "bash", "seen_seconds": 60.0})
        );
        assert_eq!(object["says"].as_array().unwrap().len(), 2);
    }
}
