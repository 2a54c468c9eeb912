//! A process in a mount namespace of its own, with mounts that are nowhere else.

use crate::common::{Daemon, Lab, Lines, display_path, ms};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

pub(super) struct Container {
    pub(super) process: Child,
    /// It ends when this is closed.
    _stdin: ChildStdin,
    root: PathBuf,
}

impl Container {
    /// Moves these mounts there, to [`Container::place`] 0, 1, …: here they are no more. It has no `/proc`.
    pub(super) fn with(lab: &Lab, mounts: &[&Path]) -> Container {
        let container = Container::sharing(lab, mounts);
        for mount in mounts {
            lab.detach(mount);
        }
        container
    }

    /// The same, but here they stay where they are.
    pub(super) fn sharing(lab: &Lab, mounts: &[&Path]) -> Container {
        let root = lab.scratch_path("there");
        std::fs::create_dir_all(&root).expect("a directory");
        let mut script = format!("set -e; mount -t tmpfs container {}\n", display_path(&root));
        for (n, mount) in mounts.iter().enumerate() {
            let (from, to) = (display_path(mount), display_path(&root.join(n.to_string())));
            script += &format!("mkdir {to}; mount --move {from} {to}\n");
        }
        script += "umount -l /proc; echo ready; exec cat";
        let mut process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let said = Lines::from_reader(process.stdout.take().expect("it was asked for"));
        assert!(said.wait_for(0, "ready", ms(10_000)).is_some(), "the container did not come up");
        let stdin = process.stdin.take().expect("it was asked for");
        Container { process, _stdin: stdin, root }
    }

    pub(super) fn file(&self) -> String {
        format!("/proc/{}/ns/mnt", self.process.id())
    }

    pub(super) fn place(&self, n: usize) -> PathBuf {
        self.root.join(n.to_string())
    }

    /// Runs a command in its namespace.
    pub(super) fn run(&self, command: &[&str]) {
        let done = Command::new("nsenter").arg(format!("--mount={}", self.file())).args(command).output();
        let done = done.expect("nsenter starts");
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// A process in it that has this root, and no way to run anything there.
    pub(super) fn chrooted(&self, root: &Path) -> Child {
        // perl is essential on Debian, and needs nothing of its root to wait.
        let script = "chroot $ARGV[0] or die; chdir '/'; $| = 1; print \"ready\\n\"; sleep 600";
        let mut child = Command::new("nsenter")
            .arg(format!("--mount={}", self.file()))
            .args(["perl", "-e", script])
            .arg(root)
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter starts");
        let said = Lines::from_reader(child.stdout.take().expect("it was asked for"));
        assert!(said.wait_for(0, "ready", ms(10_000)).is_some(), "nobody is in the new root");
        child
    }

    /// The daemon, which watches what is in it.
    pub(super) fn command(&self, lab: &Lab, arguments: &[&str]) -> Command {
        let mut command = lab.daemon_command(arguments);
        command.args(self.options());
        command
    }

    pub(super) fn check(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
        command.arg("check").args(self.options()).args(arguments);
        command
    }

    pub(super) fn daemon(&self, lab: &Lab, arguments: &[&str]) -> Daemon {
        Daemon::start(self.command(lab, arguments))
    }

    fn options(&self) -> [String; 4] {
        let include = format!("^{}/", display_path(&self.root));
        ["--mount-namespace".into(), self.file(), "--mount-points-include".into(), include]
    }

    /// Its end, as if its last process had ended by itself.
    pub(super) fn end(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
