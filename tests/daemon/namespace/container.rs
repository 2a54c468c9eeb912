//! A process in its own mount namespace with private mounts.

use crate::common::{Daemon, Lab, Lines, display_path, monitor_command, ms};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

pub(super) struct Container {
    pub(super) process: Child,
    /// Closing it ends the process.
    _stdin: ChildStdin,
    root: PathBuf,
}

impl Container {
    /// Moves these mounts into the namespace, to [`Container::mount_point`] 0, 1, …. The namespace has no `/proc`.
    pub(super) fn with(lab: &Lab, mounts: &[&Path]) -> Container {
        let container = Container::sharing(lab, mounts);
        for mount in mounts {
            lab.detach(mount);
        }
        container
    }

    /// The same, but the mounts also stay in the own namespace.
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
        let output = Lines::from_reader(process.stdout.take().expect("the stream is piped"));
        assert!(output.wait_for(0, "ready", ms(10_000)).is_some(), "the container did not come up");
        let stdin = process.stdin.take().expect("the stream is piped");
        Container { process, _stdin: stdin, root }
    }

    pub(super) fn file(&self) -> String {
        format!("/proc/{}/ns/mnt", self.process.id())
    }

    pub(super) fn mount_point(&self, n: usize) -> PathBuf {
        self.root.join(n.to_string())
    }

    /// Runs a command in the namespace.
    pub(super) fn run(&self, command: &[&str]) {
        let result = Command::new("nsenter").arg(format!("--mount={}", self.file())).args(command).output();
        let result = result.expect("nsenter starts");
        assert!(result.status.success(), "{command:?}: {}", String::from_utf8_lossy(&result.stderr));
    }

    /// A process in the namespace with this root directory, which contains no programs.
    pub(super) fn chrooted(&self, root: &Path) -> Child {
        // perl is essential on Debian, and after chroot it needs no files.
        let script = "chroot $ARGV[0] or die; chdir '/'; $| = 1; print \"ready\\n\"; sleep 600";
        let mut child = Command::new("nsenter")
            .arg(format!("--mount={}", self.file()))
            .args(["perl", "-e", script])
            .arg(root)
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter starts");
        let output = Lines::from_reader(child.stdout.take().expect("the stream is piped"));
        assert!(output.wait_for(0, "ready", ms(10_000)).is_some(), "the process did not start");
        child
    }

    /// The command line of a daemon that watches the namespace.
    pub(super) fn command(&self, lab: &Lab, arguments: &[&str]) -> Command {
        let mut command = lab.daemon_command(arguments);
        command.args(self.options());
        command
    }

    pub(super) fn check(&self, arguments: &[&str]) -> Command {
        let mut command = monitor_command();
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

    /// Ends the last process of the namespace.
    pub(super) fn end(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
