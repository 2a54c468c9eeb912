//! The world of one test: a private tmpfs with a place for mounts, and hands to make them.

use super::{Daemon, Lines, Server};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

pub(crate) struct Lab {
    root: PathBuf,
    server: Option<Server>,
}

impl Lab {
    pub(crate) fn new(root: PathBuf) -> Lab {
        mount(Some("lab"), &root, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).expect("tmpfs mounts");
        for directory in ["m", "run"] {
            std::fs::create_dir(root.join(directory)).expect("an empty tmpfs takes a directory");
        }
        Lab { root, server: None }
    }

    /// A place for a mount that the daemon of the tests watches.
    pub(crate) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join("m").join(name)
    }

    /// A place for anything else.
    pub(crate) fn aside(&self, name: &str) -> PathBuf {
        self.root.join("run").join(name)
    }

    pub(crate) fn server(&mut self) -> &Server {
        self.server.get_or_insert_with(Server::start)
    }

    /// One mount that anybody may ask.
    pub(crate) fn fuse(&mut self, name: impl AsRef<Path>) -> PathBuf {
        self.fuse_with(name, "allow_other")
    }

    pub(crate) fn fuse_with(&mut self, name: impl AsRef<Path>, options: &str) -> PathBuf {
        let path = self.at(name);
        self.server().order(format!("mount {{}} {options}").trim_end(), &path);
        path
    }

    /// Mounts `0` to `n - 1`.
    pub(crate) fn fuses(&mut self, n: usize) -> Vec<PathBuf> {
        self.say_range("mount", 0, n, " allow_other subtype=fault fsname=nowhere:/x");
        (0..n).map(|n| self.at(n.to_string())).collect()
    }

    /// One order for mounts `from` to `to - 1`.
    pub(crate) fn say_range(&mut self, verb: &str, from: usize, to: usize, rest: &str) {
        let range = self.at(format!("{from}..{to}"));
        let text = format!("{verb} {}{rest}", range.display());
        self.server().say(&text);
    }

    /// One order to the server for one mount: `order("mute", path)`, `order("errno EIO", path)`.
    pub(crate) fn order(&mut self, order: &str, path: &Path) -> String {
        let (verb, rest) = order.split_once(' ').unwrap_or((order, ""));
        self.server().order(format!("{verb} {{}} {rest}").trim_end(), path)
    }

    pub(crate) fn tmpfs(&self, path: &Path) {
        std::fs::create_dir_all(path).expect("a directory can be made");
        self.tmpfs_over(path);
    }

    /// Without making the directory, for which what is there would have to be asked.
    pub(crate) fn tmpfs_over(&self, path: &Path) {
        mount(Some("over"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("tmpfs mounts");
    }

    pub(crate) fn bind(&self, from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a directory can be made");
        mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("bind");
    }

    /// A mount on a file that is there already.
    pub(crate) fn bind_file(&self, to: &Path) {
        let from = self.aside("bound");
        std::fs::write(&from, "").expect("a file can be made");
        mount(Some(&from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("bind");
    }

    pub(crate) fn move_mount(&self, from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a directory can be made");
        mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>).expect("move");
    }

    pub(crate) fn remount_read_only(&self, path: &Path) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(None::<&str>, path, None::<&str>, flags, None::<&str>).expect("remount");
    }

    /// As `umount` does it: refused while somebody is inside.
    pub(crate) fn unmount(&self, path: &Path) -> nix::Result<()> {
        umount2(path, MntFlags::UMOUNT_NOFOLLOW)
    }

    /// The same, with patience for a probe that is just inside.
    pub(crate) fn unmount_soon(&self, path: &Path) {
        super::soon(super::ms(2000), "an idle mount can be unmounted", || self.unmount(path).is_ok());
    }

    pub(crate) fn detach(&self, path: &Path) {
        umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).expect("detach");
    }

    /// A syslog that somebody reads.
    pub(crate) fn syslog(&self) -> Lines {
        Lines::of_socket(self.syslog_socket())
    }

    /// A syslog that nobody reads yet.
    pub(crate) fn syslog_socket(&self) -> UnixDatagram {
        UnixDatagram::bind(self.syslog_path()).expect("a socket can be bound")
    }

    pub(crate) fn syslog_path(&self) -> PathBuf {
        self.aside("syslog")
    }

    /// The daemon, with quick settings and without the machine's syslog; see [`Daemon`] for more.
    pub(crate) fn daemon(&self, arguments: &[&str]) -> Daemon {
        Daemon::start(self.command(arguments))
    }

    /// The arguments of every daemon here: watch this lab's mounts and tell this lab's syslog.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
        self.add_arguments(&mut command, arguments);
        command
    }

    /// The daemon as an ordinary user, from a copy that such a user can reach.
    pub(crate) fn command_of_user(&self, id: u32, arguments: &[&str]) -> std::process::Command {
        use std::os::unix::process::CommandExt;
        let copy = self.aside("daemon");
        std::fs::copy(env!("CARGO_BIN_EXE_mount_status_monitor"), &copy).expect("the daemon can be copied");
        let mut command = std::process::Command::new(copy);
        self.add_arguments(&mut command, arguments);
        command.uid(id).gid(id).current_dir("/");
        command
    }

    fn add_arguments(&self, command: &mut std::process::Command, arguments: &[&str]) {
        command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM").env("LC_ALL", "C");
        command.arg("--mount-points-include").arg(format!("^{}/", self.root.join("m").display()));
        command.arg("--syslog").arg(format!("unix:{}", self.syslog_path().display()));
        // The machine's port and socket are not the tests'.
        for option in ["--listen-address", "--socket"] {
            if !arguments.contains(&option) && !arguments.contains(&"--once-only") {
                command.args([option, "off"]);
            }
        }
        command.args(arguments);
    }
}
