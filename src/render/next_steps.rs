//! Actions of an administrator against a dead mount, the least harmful first: the exact command and its effect. This
//! program never runs them.

use super::PROCESS_NAME;
use super::escape::{escape, escape_os, is_unsafe};
use super::metrics::server as mount_server;
use crate::monitor::{Failure, Reason};
use platform::evidence::{Evidence, Family, FuseServer, Observation};
use platform::{FsKind, Mount};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// One action.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct NextStep {
    /// A command for a root shell; `None` if no command on this host can do it.
    pub(super) command: Option<String>,
    /// The effects, including harmful ones.
    pub(super) effect: String,
}

impl NextStep {
    fn run(command: String, effect: &str) -> NextStep {
        NextStep { command: Some(command), effect: effect.to_owned() }
    }

    fn without_command(effect: &str) -> NextStep {
        NextStep { command: None, effect: effect.to_owned() }
    }
}

/// The actions for this mount.
pub(super) fn next_steps(mount: &Mount, failure: &Failure) -> Vec<NextStep> {
    if let Some(ancestor) = &failure.blocked_by {
        let command = format!("mount_status_monitor diagnose {}", shell_quoted(ancestor));
        return vec![NextStep::run(command, "that mount is hung and blocks this path: diagnose it first")];
    }
    let evidence = failure.evidence.as_ref().map(|record| &record.evidence);
    match (mount.kind(), failure.reason) {
        (FsKind::Fuse, Reason::Disconnected) => for_disconnected_fuse(mount),
        (FsKind::Autofs, Reason::Disconnected) => for_abandoned_autofs(mount),
        (FsKind::Fuse, Reason::Hung) => for_hung_fuse(mount, evidence),
        (kind, Reason::Stale) if kind.is_network() => for_stale(mount),
        (kind, _) if kind.is_network() => for_network(mount, failure.reason),
        _ => for_local(mount),
    }
}

fn for_network(mount: &Mount, reason: Reason) -> Vec<NextStep> {
    let family = Family::from_fstype(mount.fstype.as_bytes());
    let has =
        |option: &str| mount.super_options.as_bytes().split(|&b| b == b',').any(|o| o == option.as_bytes());
    let effect = match (family, has("soft") || has("softerr")) {
        (Family::Nfs, false) if reason == Reason::Hung => {
            "restore the server or the network: this is a hard mount, so blocked tasks then continue and no data \
             is lost"
        }
        _ => {
            "restore the server or the network: the mount then responds again; operations that failed stay failed"
        }
    };
    let path = shell_quoted(&mount.mountpoint);
    vec![
        NextStep::without_command(effect),
        NextStep::run(
            format!("umount -f {path}"),
            "aborts pending requests: blocked tasks continue with EIO and unwritten data is lost; fails with EBUSY \
             while a task has an open file or its working directory there: end those tasks and repeat",
        ),
        NextStep::run(
            format!("umount -f -l {path}"),
            "always detaches the mount at once: unwritten data is lost; tasks with open files keep the dead file \
             system until they exit; other tasks see the directory underneath and may write into it; tasks in \
             uninterruptible sleep stay blocked",
        ),
    ]
}

fn for_stale(mount: &Mount) -> Vec<NextStep> {
    let path = shell_quoted(&mount.mountpoint);
    vec![
        NextStep::without_command(
            "export the same file system again with the same fsid: the mount may then respond again",
        ),
        NextStep::run(
            format!("umount -f {path} && mount {path}"),
            "mounts it again, if it is in /etc/fstab; fails with EBUSY while a file is open there; files that were \
             open return ESTALE until their tasks are restarted, and unwritten data is lost",
        ),
        NextStep::run(
            format!("umount -f -l {path} && mount {path}"),
            "the same, but never fails with EBUSY: tasks inside keep the stale file system until they exit",
        ),
    ]
}

fn for_hung_fuse(mount: &Mount, evidence: Option<&Evidence>) -> Vec<NextStep> {
    let path = shell_quoted(&mount.mountpoint);
    let mut steps = Vec::new();
    match evidence.and_then(|evidence| evidence.fuse_server.as_ref()).and_then(Observation::found) {
        Some(FuseServer::Process { pid, state: 'T' | 't', .. }) => steps.push(NextStep::run(
            format!("kill -CONT {pid}"),
            "resumes the stopped server, which then answers all pending requests; no data is lost",
        )),
        Some(FuseServer::Process { pid, .. }) => steps.push(NextStep::run(
            format!("kill {pid}"),
            "ends the server, cleanly if it still handles signals: pending calls fail, the mount is disconnected \
             (ENOTCONN) until it is unmounted, and unwritten data is lost",
        )),
        Some(FuseServer::NotSeen) | None => {}
    }
    let connection = (mount.device_number.major << 20) | mount.device_number.minor;
    steps.push(NextStep::run(
        format!("echo 1 > /sys/fs/fuse/connections/{connection}/abort"),
        "aborts the FUSE connection for all its mounts: pending calls fail with ECONNABORTED, unkillable tasks are \
         released, open files become unusable and unwritten data is lost; the mount remains, disconnected \
         (ENOTCONN), until it is unmounted; requires fusectl (mount -t fusectl none /sys/fs/fuse/connections)",
    ));
    steps.push(NextStep::run(
        format!("umount -f {path}"),
        "also aborts the connection, with the same losses; may fail with EBUSY the first time and succeed the second",
    ));
    steps.push(NextStep::run(
        format!("umount -f -l {path}"),
        "the same, and always detaches the mount; with -l alone, blocked tasks stay blocked",
    ));
    steps
}

fn for_disconnected_fuse(mount: &Mount) -> Vec<NextStep> {
    vec![NextStep::run(
        format!("umount {}", shell_quoted(&mount.mountpoint)),
        "the server is gone, so no more data is lost; fails with EBUSY while a task uses the mount, unless with -l; \
         mount it again afterwards",
    )]
}

fn for_abandoned_autofs(mount: &Mount) -> Vec<NextStep> {
    vec![
        NextStep::run(
            "systemctl restart autofs".to_owned(),
            "starts the automount daemon again, if it is that of autofs(5), which takes over its triggers",
        ),
        NextStep::run(
            format!("umount -l {}", shell_quoted(&mount.mountpoint)),
            "detaches the trigger and what is mounted on it: tasks that wait for it go on until they are killed; other \
             tasks see the directory underneath and may write into it",
        ),
    ]
}

fn for_local(mount: &Mount) -> Vec<NextStep> {
    vec![
        NextStep::run(
            "dmesg --level=err,warn".to_owned(),
            "shows kernel messages about its device; changes nothing",
        ),
        NextStep::run(
            format!("umount {}", shell_quoted(&mount.mountpoint)),
            "fails with EBUSY while a file is open there; may wait long for the device; check the file system before \
             mounting it again",
        ),
    ]
}

/// Maximum number of servers in a line.
const MAX_SERVERS: usize = 3;

/// The line after this mount has died.
#[must_use]
pub fn next_steps_line(mount: &Mount) -> String {
    format!("Next steps: {}", diagnose_command(mount))
}

fn diagnose_command(mount: &Mount) -> String {
    format!("{PROCESS_NAME} diagnose {}", shell_quoted(&mount.mountpoint))
}

/// A line about dead mounts; `count` counts those too that are not among them. `what` they did: `died`.
#[must_use]
pub fn dead_mounts_line(mounts: &[Arc<Mount>], count: usize, what: &str) -> Option<String> {
    let command = diagnose_command(mounts.first()?);
    let mut servers: BTreeMap<&[u8], usize> = BTreeMap::new();
    for server in mounts.iter().filter_map(|mount| mount_server(mount)) {
        *servers.entry(server).or_default() += 1;
    }
    let mut servers: Vec<_> = servers.into_iter().collect();
    servers.sort_by_key(|(_, count)| Reverse(*count));
    let named: Vec<String> = servers
        .iter()
        .take(MAX_SERVERS)
        .map(|(server, count)| format!("server {}: {count}", escape(server)))
        .collect();
    let named = if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) };
    Some(format!("{count} mounts {what}{named}; next steps: {command}, and so for the others"))
}

/// Quotes the path as one word of a shell command, on one line, whatever bytes it contains.
pub(super) fn shell_quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:@,".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return escape_os(path).into_owned();
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(|c| c == '\'' || is_unsafe(c))
    {
        return format!("'{text}'");
    }
    // The shell's `$'…'` has the same notation for escaped bytes as our lines.
    let escaped = escape_os(OsStr::from_bytes(bytes));
    format!("$'{}'", escaped.replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::evidence::tests::with;
    use crate::render::samples::{failure, mount};
    use platform::Errno;
    use std::process::Command;

    fn commands(fstype: &str, options: &str, failure: &Failure) -> Vec<String> {
        let steps = next_steps(&mount("/m n", fstype, "s:/e", "rw", options), failure);
        assert!(steps.iter().all(|step| !step.effect.contains("  ")), "{steps:?}");
        steps.into_iter().map(|step| step.command.unwrap_or_default()).collect()
    }

    #[test]
    fn steps_depend_on_kind_and_reason() {
        let hung = failure(Reason::Hung, None, 3.0);
        let umount = ["", "umount -f '/m n'", "umount -f -l '/m n'"];
        assert_eq!(commands("nfs4", "rw,hard", &hung), umount);
        assert_eq!(commands("cifs", "rw", &hung), umount);
        let hard = &next_steps(&mount("/m", "nfs4", "s:/e", "rw", "rw,hard"), &hung)[0].effect;
        assert!(hard.contains("no data is lost"), "{hard}");
        let soft = &next_steps(&mount("/m", "nfs4", "s:/e", "rw", "rw,soft"), &hung)[0].effect;
        assert!(!soft.contains("no data is lost"), "{soft}");
        let stale = failure(Reason::Stale, Some(Errno::ESTALE), 0.0);
        assert_eq!(commands("nfs4", "rw", &stale)[1], "umount -f '/m n' && mount '/m n'");
        let eio = failure(Reason::IoError, Some(Errno::EIO), 0.0);
        assert_eq!(commands("ext4", "rw", &eio)[1], "umount '/m n'");
        let gone = failure(Reason::Disconnected, Some(Errno::ESRCH), 0.0);
        assert_eq!(commands("autofs", "rw", &gone), ["systemctl restart autofs", "umount -l '/m n'"]);
        let mut behind = hung.clone();
        behind.blocked_by = Some("/outer".into());
        assert_eq!(commands("tmpfs", "rw", &behind), ["mount_status_monitor diagnose /outer"]);
    }

    #[test]
    fn hung_fuse_mount_is_aborted_and_a_stopped_server_is_continued() {
        let hung = failure(Reason::Hung, None, 3.0);
        let abort = "echo 1 > /sys/fs/fuse/connections/42/abort";
        assert_eq!(commands("fuse.sshfs", "rw", &hung), [abort, "umount -f '/m n'", "umount -f -l '/m n'"]);
        let server = |state| {
            let process = FuseServer::Process { pid: 77, name: b"sshfs".to_vec(), state };
            let fuse_server = Some(Observation::Found(process));
            with(hung.clone(), Evidence { fuse_server, ..Evidence::default() })
        };
        assert_eq!(commands("fuse.sshfs", "rw", &server('T'))[..2], ["kill -CONT 77", abort]);
        assert_eq!(commands("fuse.sshfs", "rw", &server('S'))[..2], ["kill 77", abort]);
        let gone = failure(Reason::Disconnected, Some(Errno::ENOTCONN), 0.0);
        assert_eq!(commands("fuse.sshfs", "rw", &gone), ["umount '/m n'"]);
    }

    /// Commands are pasted into a root shell.
    #[test]
    fn shell_reads_the_quoted_path_unchanged() {
        for path in [
            &b"/plain-path_1.x"[..],
            b"/with blank",
            b"/$(touch x) `y` \"z\" \\ ; & | > * ? ~ !",
            b"/it's",
            br"/back\040slash\",
            b"/new\nline\ttab\x1b[31m",
            b"/latin\xe9 \xff",
            "/日本 Grüße\u{202e}".as_bytes(),
        ] {
            let text = shell_quoted(Path::new(OsStr::from_bytes(path)));
            assert!(!text.chars().any(char::is_control), "{text:?}");
            let output = Command::new("bash").args(["-c", &format!("printf %s {text}")]).output();
            let Ok(output) = output else { return }; // bash is not installed
            assert_eq!(output.stdout, path, "{text}");
        }
    }
}
