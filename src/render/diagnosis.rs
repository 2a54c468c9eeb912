//! The output of `diagnose`: everything known about one mount, and the next steps.

use super::escape::{escape, escape_os};
use super::evidence::{evidence_lines, needs_root};
use super::json::{self, MountObject};
use super::messages::{cause, last_known, source};
use super::next_steps::{NextStep, next_steps};
use super::timestamp::clock;
use super::{HumanDuration, Snapshot, remedy_state};
use crate::monitor::{DataPathStatus, Failure, Health, MountStatus};
use platform::Errno;
use platform::evidence::{Evidence, Observation, StuckThread};
use serde::Serialize;
use std::time::Duration;

/// Width of a paragraph in columns.
const COLUMNS: usize = 100;
/// Begins the last section. No name can contain it: names are escaped to one line.
pub(super) const NEXT_STEPS: &str = "\nNext steps (not taken by this command)\n";
/// Tasks that were just noticed have no duration worth showing.
const MIN_BLOCKED: Duration = Duration::from_secs(1);

/// The exit status: 0 if the mount responds, 1 if it is dead, 2 if it could not be judged.
#[must_use]
pub fn exit_status(status: &MountStatus) -> u8 {
    match status.health {
        Health::Ok | Health::Slow => 0,
        Health::Dead(_) => 1,
        Health::Pending | Health::Denied(_) | Health::Hidden | Health::Unknown { .. } => 2,
    }
}

/// The text for people; `status` is a mount of the snapshot.
#[must_use]
pub fn text(status: &MountStatus, snapshot: &Snapshot) -> String {
    let mount = &status.mount;
    // An absolute time, not an age: the status may be older than the output.
    let since = clock(snapshot.wall_at(status.since));
    let age = status.outdated_at(snapshot.at).filter(|_| !matches!(status.health, Health::Unknown { .. }));
    let age = age.map(|age| format!("; judged {} ago", HumanDuration::in_seconds(age))).unwrap_or_default();
    let mut text = format!("{} {}{age}\n", escape_os(&mount.mountpoint), state(status, &since));
    let about = format!(
        "{}; device number {}; mount options {}; superblock options {}",
        source(mount),
        mount.device_number,
        escape_os(&mount.options),
        escape_os(&mount.super_options)
    );
    text += &paragraph("  ", "  ", &about);
    if let Some(data_path) = &status.data_path {
        text += &paragraph("  ", "  ", &data_probe(data_path, snapshot));
    }
    let Some(failure) = status.health.failure() else { return text };
    if let Some(remedy) = remedy_state::of_mount(&snapshot.remedies, status) {
        text += &paragraph("  ", "  ", &remedy_state::words_at(remedy, snapshot.at));
    }
    let evidence = all_evidence(failure);
    if !evidence.is_empty() {
        text += "\nEvidence\n";
        text.extend(evidence.iter().map(|line| paragraph("  * ", "    ", line)));
    }
    text += NEXT_STEPS;
    for (index, NextStep { command, effect }) in next_steps(mount, failure).iter().enumerate() {
        let number = index + 1;
        match command {
            // Commands are copied, so they are not wrapped.
            Some(command) => {
                text += &format!("  {number}. {command}\n{}", paragraph("       ", "       ", effect));
            }
            None => text += &paragraph(&format!("  {number}. "), "     ", effect),
        }
    }
    text
}

/// The JSON for programs: the mount as in the status document, and the next steps.
#[must_use]
pub fn json(status: &MountStatus, snapshot: &Snapshot) -> String {
    #[derive(Serialize)]
    struct Diagnosis<'a> {
        mount: MountObject<'a>,
        next_steps: Vec<NextStep>,
    }
    let steps = status.health.failure().map(|failure| next_steps(&status.mount, failure));
    let mount = MountObject::new(status, snapshot);
    json::to_line(&Diagnosis { mount, next_steps: steps.unwrap_or_default() })
}

fn state(status: &MountStatus, since: &str) -> String {
    let latency = match status.last_response {
        Some(response) => format!(": responds in {}", HumanDuration(response.took)),
        None => String::new(),
    };
    match &status.health {
        Health::Dead(failure) => {
            format!("has been dead since {since} ({}: {})", failure.reason.as_str(), cause(failure))
        }
        Health::Ok => format!("is ok{latency}"),
        Health::Slow => format!("is slow{latency}"),
        Health::Denied(Errno::ENAMETOOLONG) => {
            "cannot be checked: its path is too long for system calls".to_owned()
        }
        Health::Denied(errno @ (Errno::EACCES | Errno::EPERM)) => {
            format!("cannot be checked by this user ({errno})")
        }
        // Only data-path probes are refused for other reasons.
        Health::Denied(errno) => {
            format!("responds, but its data-path probe was refused: {} ({errno})", errno.describe())
        }
        Health::Pending => "has not been judged yet".to_owned(),
        Health::Hidden => "is hidden under another mount".to_owned(),
        Health::Unknown { was } => {
            let known = last_known(was, status.unjudged_at(status.since));
            format!("has been unknown since {since} ({known})")
        }
    }
}

/// `data path: read health/probe every 10min; last success at …, past the page cache`
fn data_probe(data_path: &DataPathStatus, snapshot: &Snapshot) -> String {
    let DataPathStatus { settings, last_good } = data_path;
    let (kind, path) = (settings.kind.as_str(), escape_os(&settings.path));
    let result = match last_good {
        None => "no success yet".to_owned(),
        Some((at, past_cache)) => {
            let cache = if *past_cache { "past the page cache" } else { "the page cache may have answered" };
            format!("last success at {}, {cache}", clock(snapshot.wall_at(*at)))
        }
    };
    format!("data path: {kind} {path} every {}; {result}", HumanDuration(settings.interval))
}

fn all_evidence(failure: &Failure) -> Vec<String> {
    let Some(record) = &failure.evidence else { return Vec::new() };
    let evidence = &record.evidence;
    let mut lines = evidence_lines(failure, evidence, usize::MAX);
    lines.extend(details(evidence));
    let refused = needs_root(evidence);
    if !refused.is_empty() {
        lines.push(format!("requires root: {}", refused.join(", ").replace('_', " ")));
    }
    if !record.complete {
        lines.push("collection is still in progress".to_owned());
    }
    lines
}

/// Detailed evidence that is too long for log lines.
fn details(evidence: &Evidence) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(Observation::Found(tasks)) = &evidence.tasks {
        let blocked: Vec<String> = tasks
            .named
            .iter()
            .filter(|task| task.seen_for >= MIN_BLOCKED)
            .map(|task| format!("{}[{}] {}", escape(&task.name), task.pid, HumanDuration(task.seen_for)))
            .collect();
        if !blocked.is_empty() {
            lines.push(format!("blocked for at least: {}", blocked.join(", ")));
        }
        if tasks.count > 0 && tasks.unassigned > 0 {
            let count = tasks.unassigned;
            lines.push(format!("{count} more blocked on this or another dead mount of its type"));
        }
    }
    if let Some(Observation::Found(traffic)) = &evidence.traffic {
        let (sent, received, idle) = (traffic.sent, traffic.received, HumanDuration(traffic.idle));
        lines.push(format!(
            "NFS client: {sent} requests sent, {received} replies received; connection idle for {idle}"
        ));
    }
    if let Some(Observation::Found(thread)) = &evidence.probe {
        lines.push(probe_thread(thread));
    }
    lines
}

fn probe_thread(thread: &StuckThread) -> String {
    let channel = thread.wait_channel.as_deref().map(|name| format!(" in {name}")).unwrap_or_default();
    let stack = match &thread.stack {
        Observation::Found(stack) => format!("; kernel stack: {}", stack.join(" < ")),
        Observation::NeedsRoot | Observation::Unknown => String::new(),
    };
    escape(format!("probe thread: state {}{channel}{stack}", thread.state).as_bytes()).into_owned()
}

/// Wraps `text` at [`COLUMNS`], between words; `first` and `next` indent the first and the other lines.
pub(super) fn paragraph(first: &str, next: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.len() + 1 + word.len() > COLUMNS {
            lines += &line;
            lines.push('\n');
            next.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line += word;
        is_empty = false;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::{Reason, Status};
    use crate::render::evidence::tests::{of_nfs, with};
    use crate::render::samples::{at, failure, mount, snapshot, status_of};
    use platform::evidence::ServerResponse;

    fn at_68_seconds() -> Snapshot {
        Snapshot { at: at(68.0), ..snapshot(Status::default()) }
    }

    fn hung() -> MountStatus {
        let mut evidence = of_nfs(ServerResponse::Refused);
        let stack = Observation::Found(vec!["rpc_wait_bit_killable".into(), "nfs4_proc_statfs".into()]);
        let wait_channel = Some("rpc_wait_bit_killable".into());
        evidence.probe = Some(Observation::Found(StuckThread { state: 'D', wait_channel, stack }));
        evidence.kernel_log = Some(Observation::NeedsRoot);
        let failure = with(failure(Reason::Hung, None, 3.0), evidence);
        let nfs =
            mount("/mnt/a b", "nfs4", "server:/export", "rw,relatime", "rw,vers=4.2,hard,addr=10.0.0.5");
        status_of(nfs, Health::Dead(failure.into()))
    }

    #[test]
    fn text_has_evidence_and_next_steps() {
        let text = text(&hung(), &at_68_seconds());
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
    fn json_has_evidence_and_next_steps() {
        let parsed: serde_json::Value = serde_json::from_str(&json(&hung(), &at_68_seconds())).unwrap();
        assert_eq!(parsed["mount"]["evidence"]["server"]["answer"], "refused");
        assert_eq!(parsed["next_steps"][1]["command"], "umount -f '/mnt/a b'");
        assert_eq!(parsed["next_steps"][0]["command"], serde_json::Value::Null);
    }

    #[test]
    fn healthy_mount_has_no_next_steps() {
        let healthy = status_of(mount("/", "ext4", "/dev/sda1", "rw", "rw"), Health::Ok);
        assert!(
            text(&healthy, &at_68_seconds()).starts_with("/ is ok: responds in 3ms\n  ext4 from /dev/sda1;")
        );
        assert_eq!((exit_status(&healthy), exit_status(&hung())), (0, 1));
        assert_eq!(exit_status(&status_of(healthy.mount.clone(), Health::Pending)), 2);
        assert!(json(&healthy, &at_68_seconds()).ends_with("\"next_steps\":[]}"));
    }
}
