//! The answer of `diagnose`: everything that is known of one mount, and what can be done about it.

use super::document::Entry;
use super::escape::{escape, escape_os};
use super::evidence::{needs_root, sentences};
use super::human_duration::HumanDuration;
use super::messages::cause;
use super::next_steps::{Step, next_steps};
use super::timestamp::rfc3339;
use crate::monitor::{Failure, Health, MountStatus, Time};
use platform::evidence::{Evidence, Observation, StuckThread};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Columns of a paragraph.
const COLUMNS: usize = 100;
const INFALLIBLE: &str = "a String takes everything";

/// The exit status: 0 if the mount answers, 1 if it is dead, 2 if that cannot be said.
#[must_use]
pub fn exit_status(status: &MountStatus) -> u8 {
    match status.health {
        Health::Ok | Health::Slow => 0,
        Health::Dead(_) => 1,
        Health::Pending | Health::Denied(_) | Health::Hidden => 2,
    }
}

/// For people. `wall` is the time of day at `now`.
#[must_use]
pub fn text(status: &MountStatus, now: Time, wall: SystemTime) -> String {
    let mount = &status.mount;
    // A time and not a span: what is known may be older than the question.
    let since = rfc3339(wall.checked_sub(now.since(status.since)).unwrap_or(wall));
    let mut text = format!("{} {}\n", escape_os(&mount.mountpoint), state(status, &clock(&since)));
    let from =
        if mount.device.is_empty() { String::new() } else { format!(" from {}", escape_os(&mount.device)) };
    let about = format!(
        "{}{from}; device number {}; mount options {}; superblock options {}",
        escape_os(&mount.fstype),
        mount.device_number,
        escape_os(&mount.options),
        escape_os(&mount.super_options)
    );
    paragraph(&mut text, "  ", "  ", &about);
    let Some(failure) = status.health.failure() else { return text };
    let known = known(failure);
    if !known.is_empty() {
        text.push_str("\nEvidence\n");
        known.iter().for_each(|sentence| paragraph(&mut text, "  * ", "    ", sentence));
    }
    text.push_str("\nNext steps (never taken by this program)\n");
    for (n, Step { command, effect }) in next_steps(mount, failure).iter().enumerate() {
        match command {
            Some(command) => {
                // Never wrapped: it is there to be copied.
                writeln!(text, "  {}. {command}", n + 1).expect(INFALLIBLE);
                paragraph(&mut text, "       ", "       ", effect);
            }
            None => paragraph(&mut text, &format!("  {}. ", n + 1), "     ", effect),
        }
    }
    text
}

/// For programs: the mount as in the document of all, and the steps.
#[must_use]
pub fn json(status: &MountStatus, now: Time, wall: SystemTime) -> String {
    #[derive(Serialize)]
    struct Diagnosis<'a> {
        mount: Entry<'a>,
        next_steps: Vec<Step>,
    }
    let steps = status.health.failure().map(|failure| next_steps(&status.mount, failure));
    let diagnosis = Diagnosis { mount: Entry::new(status, now, wall), next_steps: steps.unwrap_or_default() };
    serde_json::to_string(&diagnosis).expect("strings and finite numbers make JSON")
}

/// `2026-11-02 08:05:09 UTC`, from RFC 3339.
fn clock(wall: &str) -> String {
    format!("{} UTC", wall.get(..19).unwrap_or(wall).replace('T', " "))
}

fn state(status: &MountStatus, since: &str) -> String {
    let took = status.last_response.map(|answer| HumanDuration(answer.took));
    match (&status.health, took) {
        (Health::Dead(failure), _) => {
            format!("has been dead since {since} ({}: {})", failure.reason.as_str(), cause(failure))
        }
        (Health::Ok, Some(took)) => format!("is ok: responds in {took}"),
        (Health::Ok, None) => "is ok".to_owned(),
        (Health::Slow, Some(took)) => format!("is slow: responds in {took}"),
        (Health::Slow, None) => "is slow".to_owned(),
        (Health::Denied(errno), _) => format!("cannot be checked by this user ({errno})"),
        (Health::Pending, _) => "has not been judged yet".to_owned(),
        (Health::Hidden, _) => "is hidden under another mount".to_owned(),
    }
}

fn known(failure: &Failure) -> Vec<String> {
    let Some(findings) = &failure.evidence else { return Vec::new() };
    let evidence = &findings.evidence;
    let mut known = sentences(failure, evidence, usize::MAX);
    known.extend(details(evidence));
    let refused = needs_root(evidence);
    if !refused.is_empty() {
        known.push(format!("requires root: {}", refused.join(", ").replace('_', " ")));
    }
    if !findings.complete {
        known.push("collection is still in progress".to_owned());
    }
    known
}

/// What is for experts, and in no line.
fn details(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(Observation::Found(tasks)) = &evidence.tasks {
        let long: Vec<String> = tasks
            .named
            .iter()
            .filter(|task| task.seen_for >= Duration::from_secs(1))
            .map(|task| format!("{}[{}] {}", escape(&task.name), task.pid, HumanDuration(task.seen_for)))
            .collect();
        if !long.is_empty() {
            found.push(format!("blocked for at least: {}", long.join(", ")));
        }
        if tasks.count > 0 && tasks.unassigned > 0 {
            let count = tasks.unassigned;
            found.push(format!("{count} more blocked on this or another dead mount of its type"));
        }
    }
    if let Some(Observation::Found(traffic)) = &evidence.traffic {
        let (sent, received, idle) = (traffic.sent, traffic.received, HumanDuration(traffic.idle));
        found.push(format!(
            "NFS client: {sent} requests sent, {received} replies received; connection idle for {idle}"
        ));
    }
    if let Some(Observation::Found(thread)) = &evidence.probe {
        found.push(stuck(thread));
    }
    found
}

fn stuck(thread: &StuckThread) -> String {
    let channel = thread.wait_channel.as_deref().map(|name| format!(" in {name}")).unwrap_or_default();
    let stack = match &thread.stack {
        Observation::Found(stack) => format!("; kernel stack: {}", stack.join(" < ")),
        Observation::NeedsRoot | Observation::Unknown => String::new(),
    };
    escape(format!("probe thread: state {}{channel}{stack}", thread.state).as_bytes()).into_owned()
}

/// Words in lines of at most [`COLUMNS`], as far as words allow.
fn paragraph(text: &mut String, first: &str, next: &str, words: &str) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in words.split(' ') {
        if !is_empty && line.len() + 1 + word.len() > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            next.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::render::evidence::tests::{of_nfs, with};
    use crate::render::samples::{at, failure, mount, status_of};
    use platform::evidence::ServerResponse;

    fn hung() -> MountStatus {
        let mut evidence = of_nfs(ServerResponse::Refused);
        let stack = Observation::Found(vec!["rpc_wait_bit_killable".into(), "nfs4_proc_statfs".into()]);
        let wait_channel = Some("rpc_wait_bit_killable".into());
        evidence.probe = Some(Observation::Found(StuckThread { state: 'D', wait_channel, stack }));
        evidence.kernel_log = Some(Observation::NeedsRoot);
        let failure = with(failure(Reason::Hung, None, 3.0), evidence);
        let nfs =
            mount("/mnt/a b", "nfs4", "server:/export", "rw,relatime", "rw,vers=4.2,hard,addr=10.0.0.5");
        status_of(nfs, Health::Dead(failure))
    }

    #[test]
    fn a_diagnosis_for_people() {
        let text = text(&hung(), at(68.0), SystemTime::UNIX_EPOCH + Duration::from_secs(100));
        let expected = "\
/mnt/a b has been dead since 1970-01-01 00:00:40 UTC (hung: no response in 3s)
  nfs4 from server:/export; device number 0:42; mount options rw,relatime; superblock options
  rw,vers=4.2,hard,addr=10.0.0.5

Evidence
  * NFS server 10.0.0.5:2049 refuses connections
";
        assert!(text.starts_with(expected), "{text}");
        for part in [
            "\n  * blocked for at least: bash[311] 1m, t1\\012[312] 1m,",
            "\n  * probe thread: state D in rpc_wait_bit_killable; kernel stack: rpc_wait_bit_killable <",
            "\n  * requires root: kernel log\n",
            "\n  1. restore the server or the network:",
            "\n  2. umount -f '/mnt/a b'\n       aborts pending requests:",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
    }

    #[test]
    fn a_diagnosis_for_programs() {
        let parsed: serde_json::Value =
            serde_json::from_str(&json(&hung(), at(68.0), SystemTime::UNIX_EPOCH)).unwrap();
        assert_eq!(parsed["mount"]["evidence"]["server"]["answer"], "refused");
        assert_eq!(parsed["next_steps"][1]["command"], "umount -f '/mnt/a b'");
        assert_eq!(parsed["next_steps"][0]["command"], serde_json::Value::Null);
    }

    #[test]
    fn a_mount_that_is_well() {
        let well = status_of(mount("/", "ext4", "/dev/sda1", "rw", "rw"), Health::Ok);
        assert!(
            text(&well, at(12.0), SystemTime::UNIX_EPOCH)
                .starts_with("/ is ok: responds in 3ms\n  ext4 from /dev/sda1;")
        );
        assert_eq!((exit_status(&well), exit_status(&hung())), (0, 1));
        assert_eq!(exit_status(&status_of(well.mount.clone(), Health::Pending)), 2);
        assert!(json(&well, at(12.0), SystemTime::UNIX_EPOCH).ends_with("\"next_steps\":[]}"));
    }
}
