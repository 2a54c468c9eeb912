//! The environment of one test: a private tmpfs, a FUSE server with fault injection, and helpers that make mounts.

use super::isolation::{DEFAULT_LIMIT, run_in_namespaces, skip_test, test_name};
use super::{Daemon, FaultServer, Lines, ms, program, wait_until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::ops::Range;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Runs a closure of a test function with FUSE mounts in its own namespaces, or skips it where that is not possible.
pub(crate) fn run_isolated<F: FnOnce(&mut Lab)>(test: F) {
    run_isolated_for(DEFAULT_LIMIT, test);
}

/// The same for a test that may take longer.
pub(crate) fn run_isolated_for<F: FnOnce(&mut Lab)>(limit: Duration, test: F) {
    let name = test_name::<F>();
    run_in_namespaces(limit, name, true, |root| test(&mut Lab::new(name, root)));
}

pub(crate) struct Lab {
    test: &'static str,
    root: PathBuf,
    server: Option<FaultServer>,
}

impl Lab {
    fn new(test: &'static str, root: &Path) -> Lab {
        mount(Some("lab"), root, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).expect("tmpfs mounts");
        for directory in ["m", "run"] {
            std::fs::create_dir(root.join(directory)).expect("create a directory");
        }
        Lab { test, root: root.to_owned(), server: None }
    }

    /// Reports that the test is skipped; it must return then.
    pub(crate) fn skip(&self, reason: &str) {
        skip_test(self.test, reason);
    }

    /// A path below the directory that [`Lab::start_daemon`] watches.
    pub(crate) fn mount_point(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join("m").join(name)
    }

    /// A path outside of the watched directory.
    pub(crate) fn scratch_path(&self, name: &str) -> PathBuf {
        self.root.join("run").join(name)
    }

    pub(crate) fn write_file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.scratch_path(name);
        std::fs::write(&path, text).expect("write a file");
        path
    }

    pub(crate) fn fuse_server(&mut self) -> &FaultServer {
        self.server.get_or_insert_with(FaultServer::start)
    }

    /// A FUSE mount that every user may access.
    pub(crate) fn mount_fuse(&mut self, name: impl AsRef<Path>) -> PathBuf {
        self.mount_fuse_with(name, "allow_other")
    }

    pub(crate) fn mount_fuse_with(&mut self, name: impl AsRef<Path>, options: &str) -> PathBuf {
        let path = self.mount_point(name);
        self.fuse_server().send_for(format!("mount {{}} {options}").trim_end(), &path);
        path
    }

    /// A FUSE mount that is not watched, and a writable directory whose path leads through it.
    pub(crate) fn mount_storage(&mut self, name: &str) -> (PathBuf, PathBuf) {
        let path = self.scratch_path(name);
        self.fuse_server().send_for("mount {} allow_other", &path);
        let inside = path.join("directory");
        self.mount_tmpfs_over(&inside);
        (path, inside)
    }

    /// FUSE mounts named `0` to `count - 1`.
    pub(crate) fn mount_fuses(&mut self, count: usize) -> Vec<PathBuf> {
        self.set_faults("mount allow_other subtype=fault fsname=nowhere:/x", 0..count);
        (0..count).map(|n| self.mount_point(n.to_string())).collect()
    }

    /// Injects a fault into one mount: `mute`, `errno EIO`, `delay 300`, `die`, … (see `tests/faultfs/server.rs`).
    pub(crate) fn set_fault(&mut self, fault: &str, path: &Path) {
        let (verb, arguments) = fault.split_once(' ').unwrap_or((fault, ""));
        self.fuse_server().send_for(format!("{verb} {{}} {arguments}").trim_end(), path);
    }

    /// Injects a fault into the mounts of [`Lab::mount_fuses`] in this range.
    pub(crate) fn set_faults(&mut self, fault: &str, range: Range<usize>) {
        let paths = self.mount_point(format!("{}..{}", range.start, range.end));
        self.set_fault(fault, &paths);
    }

    /// Makes a mount respond again, to the pending requests too.
    pub(crate) fn clear_fault(&mut self, path: &Path) {
        self.set_fault("ok", path);
        self.set_fault("release", path);
    }

    pub(crate) fn clear_faults(&mut self, range: Range<usize>) {
        self.set_faults("ok", range.clone());
        self.set_faults("release", range);
    }

    /// Requests so far: `getattr=N statfs=N pending=N`.
    pub(crate) fn request_counts(&mut self, path: &Path) -> String {
        self.fuse_server().send_for("count {}", path)
    }

    pub(crate) fn mount_tmpfs(&self, path: &Path) {
        std::fs::create_dir_all(path).expect("create a directory");
        self.mount_tmpfs_over(path);
    }

    /// Does not create the directory, which would access the mount that is there.
    pub(crate) fn mount_tmpfs_over(&self, path: &Path) {
        mount(Some("over"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("tmpfs mounts");
    }

    pub(crate) fn bind_mount(&self, from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("create a directory");
        mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("bind mount");
    }

    /// Bind-mounts an empty file over an existing one.
    pub(crate) fn bind_mount_file(&self, to: &Path) {
        let from = self.scratch_path("bound");
        std::fs::write(&from, "").expect("create a file");
        mount(Some(&from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("bind mount");
    }

    pub(crate) fn move_mount(&self, from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("create a directory");
        mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>).expect("move");
    }

    pub(crate) fn remount_read_only(&self, path: &Path) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(None::<&str>, path, None::<&str>, flags, None::<&str>).expect("remount");
    }

    pub(crate) fn remount_read_write(&self, path: &Path) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        mount(None::<&str>, path, None::<&str>, flags, None::<&str>).expect("remount");
    }

    /// Like `umount`: EBUSY while the mount is in use.
    pub(crate) fn unmount(&self, path: &Path) -> nix::Result<()> {
        umount2(path, MntFlags::UMOUNT_NOFOLLOW)
    }

    /// Retries while a probe is using the mount.
    pub(crate) fn unmount_when_idle(&self, path: &Path) {
        wait_until(ms(2000), "an idle mount can be unmounted", || self.unmount(path).is_ok());
    }

    pub(crate) fn detach(&self, path: &Path) {
        umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).expect("detach");
    }

    /// Binds the syslog socket of this lab and reads it.
    pub(crate) fn read_syslog(&self) -> Lines {
        Lines::from_socket(self.bind_syslog())
    }

    /// Binds the syslog socket of this lab without reading it.
    pub(crate) fn bind_syslog(&self) -> UnixDatagram {
        UnixDatagram::bind(self.syslog_path()).expect("bind a socket")
    }

    pub(crate) fn syslog_path(&self) -> PathBuf {
        self.scratch_path("syslog")
    }

    /// Starts the daemon on the mounts of this lab and waits for its first run.
    pub(crate) fn start_daemon(&self, arguments: &[&str]) -> Daemon {
        Daemon::start(self.daemon_command(arguments))
    }

    pub(crate) fn daemon_command(&self, arguments: &[&str]) -> Command {
        self.extend_command(Command::new(program()), arguments)
    }

    /// The daemon as an ordinary user, from a copy that this user can reach.
    pub(crate) fn daemon_command_as(&self, id: u32, arguments: &[&str]) -> Command {
        let copy = self.scratch_path("daemon");
        std::fs::copy(program(), &copy).expect("copy the program");
        let mut command = self.extend_command(Command::new(&copy), arguments);
        command.uid(id).gid(id).current_dir("/");
        command
    }

    /// The daemon from a command that runs it without arguments. It watches only the mounts of this lab, with its own
    /// syslog, and without the default port and socket.
    pub(crate) fn extend_command(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM").env("LC_ALL", "C");
        command.arg("--mount-points-include").arg(format!("^{}/", self.root.join("m").display()));
        command.arg("--syslog").arg(format!("unix:{}", self.syslog_path().display()));
        for option in ["--listen-address", "--socket"] {
            if !arguments.contains(&option) && !arguments.contains(&"--once-only") {
                command.args([option, "off"]);
            }
        }
        if let Some(source) = std::env::var_os("MSM_TEST_MOUNT_SOURCE") {
            command.arg("--mount-source").arg(source);
        }
        command.args(arguments);
        command
    }
}
