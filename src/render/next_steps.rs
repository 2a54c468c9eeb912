//! What an administrator can do about a dead mount, the least harmful first: the exact command, and what it breaks.
//! Nothing of it is ever done by this program.

use super::escape::escape_os;
use crate::monitor::{Failure, Reason};
use platform::evidence::{Evidence, Family, FuseServer, Observation};
use platform::{FsKind, Mount};
use serde::Serialize;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Something that can be done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Step {
    /// The command, for a shell of root; none for what no command of this machine can do.
    pub command: Option<String>,
    /// What it does, and what it breaks.
    pub effect: String,
}

/// What can be done about this mount.
#[must_use]
pub fn next_steps(mount: &Mount, failure: &Failure) -> Vec<Step> {
    if let Some(outer) = &failure.blocked_by {
        let command = Some(format!("mount_status_monitor diagnose {}", quoted(outer)));
        let effect = "that mount is hung and blocks this path: diagnose it first".to_owned();
        return vec![Step { command, effect }];
    }
    let findings = failure.evidence.as_ref().map(|findings| &findings.evidence);
    match (mount.kind(), failure.reason) {
        (FsKind::Fuse, Reason::Disconnected) => vec![remount(mount)],
        (FsKind::Fuse, Reason::Hung) => of_hung_fuse(mount, findings),
        (FsKind::Network, Reason::Stale) => of_stale(mount),
        (FsKind::Network, _) => of_network(mount, failure.reason),
        (FsKind::Fuse | FsKind::Local | FsKind::Autofs, _) => of_local(mount),
    }
}

fn step(command: String, effect: &str) -> Step {
    Step { command: Some(command), effect: effect.to_owned() }
}

fn of_network(mount: &Mount, reason: Reason) -> Vec<Step> {
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
    let path = quoted(&mount.mountpoint);
    let mut steps = vec![Step { command: None, effect: effect.to_owned() }];
    steps.push(step(
        format!("umount -f {path}"),
        "aborts pending requests: blocked tasks continue with EIO and unwritten data is lost; fails with EBUSY while \
         a task has an open file or its working directory there: end those tasks and repeat",
    ));
    steps.push(step(
        format!("umount -f -l {path}"),
        "always detaches the mount at once: unwritten data is lost; tasks with open files keep the dead file system \
         until they exit; other tasks see the directory underneath and may write into it; tasks in uninterruptible \
         sleep stay blocked",
    ));
    steps
}

fn of_stale(mount: &Mount) -> Vec<Step> {
    let path = quoted(&mount.mountpoint);
    vec![
        Step {
            command: None,
            effect: "export the same file system again with the same fsid: the mount may then respond again"
                .to_owned(),
        },
        step(
            format!("umount -f {path} && mount {path}"),
            "mounts it again, if it is in /etc/fstab; fails with EBUSY while a file is open there; files that were \
             open return ESTALE until their tasks are restarted, and unwritten data is lost",
        ),
        step(
            format!("umount -f -l {path} && mount {path}"),
            "the same, but never fails with EBUSY: tasks inside keep the stale file system until they exit",
        ),
    ]
}

fn of_hung_fuse(mount: &Mount, evidence: Option<&Evidence>) -> Vec<Step> {
    let path = quoted(&mount.mountpoint);
    let mut steps = Vec::new();
    match evidence.and_then(|evidence| evidence.fuse_server.as_ref()).and_then(Observation::found) {
        Some(FuseServer::Process { pid, state: 'T' | 't', .. }) => steps.push(step(
            format!("kill -CONT {pid}"),
            "resumes the stopped server, which then answers all pending requests; no data is lost",
        )),
        Some(FuseServer::Process { pid, .. }) => steps.push(step(
            format!("kill {pid}"),
            "ends the server, cleanly if it still handles signals: pending calls fail, the mount is disconnected \
             (ENOTCONN) until it is unmounted, and unwritten data is lost",
        )),
        Some(FuseServer::NotSeen) | None => {}
    }
    let connection = (mount.device_number.major << 20) | mount.device_number.minor;
    steps.push(step(
        format!("echo 1 > /sys/fs/fuse/connections/{connection}/abort"),
        "aborts the FUSE connection for all its mounts: pending calls fail with ECONNABORTED, unkillable tasks are \
         released, open files become unusable and unwritten data is lost; the mount remains, disconnected \
         (ENOTCONN), until it is unmounted; requires fusectl (mount -t fusectl none /sys/fs/fuse/connections)",
    ));
    steps.push(step(
        format!("umount -f {path}"),
        "also aborts the connection, with the same losses; may fail with EBUSY the first time and succeed the second",
    ));
    steps.push(step(
        format!("umount -f -l {path}"),
        "the same, and always detaches the mount; with -l alone, blocked tasks stay blocked",
    ));
    steps
}

fn remount(mount: &Mount) -> Step {
    step(
        format!("umount {}", quoted(&mount.mountpoint)),
        "the server is gone, so no more data is lost; fails with EBUSY while a task uses the mount, unless with -l; \
         mount it again afterwards",
    )
}

fn of_local(mount: &Mount) -> Vec<Step> {
    vec![
        step("dmesg --level=err,warn".to_owned(), "shows kernel messages about its device; changes nothing"),
        step(
            format!("umount {}", quoted(&mount.mountpoint)),
            "fails with EBUSY while a file is open there; may wait long for the device; check the file system before \
             mounting it again",
        ),
    ]
}

/// As a shell takes it: any bytes, on one line.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:@,".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return escape_os(path).into_owned();
    }
    // What would be escaped in a line is escaped for the shell too, whose `$'…'` knows the same notation.
    let escaped = escape_os(OsStr::from_bytes(bytes));
    if escaped.as_bytes() == bytes && !bytes.contains(&b'\'') {
        return format!("'{escaped}'");
    }
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
    fn each_kind_has_its_steps_the_least_harmful_first() {
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
        let mut behind = hung.clone();
        behind.blocked_by = Some("/outer".into());
        assert_eq!(commands("tmpfs", "rw", &behind), ["mount_status_monitor diagnose /outer"]);
    }

    #[test]
    fn fuse_has_an_abort_and_a_stopped_server_is_let_go_on() {
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

    /// What is shown is pasted into a shell of root.
    #[test]
    fn a_shell_takes_a_quoted_path_as_it_is() {
        for path in [
            &b"/plain-path_1.x"[..],
            b"/with blank",
            b"/$(touch x) `y` \"z\" \\ ; & | > * ? ~ !",
            b"/it's",
            b"/new\nline\ttab\x1b[31m",
            b"/latin\xe9 \xff",
            "/日本 Grüße\u{202e}".as_bytes(),
        ] {
            let text = quoted(Path::new(OsStr::from_bytes(path)));
            assert!(!text.chars().any(char::is_control), "{text:?}");
            let told = Command::new("bash").args(["-c", &format!("printf %s {text}")]).output();
            let Ok(told) = told else { return }; // no such shell here
            assert_eq!(told.stdout, path, "{text}");
        }
    }
}
