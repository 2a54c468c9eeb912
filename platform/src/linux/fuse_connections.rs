//! The owners of FUSE connections. In the directory of `fusectl`, the inode of each connection belongs to the user of
//! the connection (`fs/fuse/control.c`), whatever user namespace it was made in.

use super::evidence::connection;
use super::mountinfo::Line;
use super::names::Names;
use crate::{FsKind, Mount, MountTree};
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstatat};
use std::fs::File;
use std::sync::Arc;

const SYS: &str = "/sys";
/// Below [`SYS`].
const CONNECTIONS: &str = "fs/fuse/connections";

#[derive(Debug)]
pub(super) struct FuseConnections {
    /// Opened once, at the start: a walk from `/` could wait for the root's storage, a walk from here cannot. `None` if
    /// there is no such directory.
    sys: Option<File>,
    names: Names,
}

impl FuseConnections {
    pub(super) fn open() -> FuseConnections {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let sys = open(SYS, flags, Mode::empty()).ok().map(File::from);
        FuseConnections { sys, names: Names::default() }
    }

    /// Counts the names of these mounts, to which others are added.
    pub(super) fn count<'a>(&mut self, mounts: impl IntoIterator<Item = &'a Arc<Mount>>) {
        self.names.count(mounts);
    }

    /// This mount is gone.
    pub(super) fn forget(&mut self, mount: &Mount) {
        self.names.forget(mount);
    }

    /// The mount of a line of the text: the known one with its id, if they are equal.
    pub(super) fn entry_for(&mut self, line: &Line<'_>, known: &MountTree) -> Arc<Mount> {
        match known.with_id(line.id) {
            Some(entry) if line.matches(entry) => Arc::clone(entry),
            _ => Arc::new(self.complete(line.to_mount(line.reusable_key()), None)),
        }
    }

    /// The mount that was read, or the known entry if they are equal.
    pub(super) fn same_or_new(&mut self, mount: Mount, entry: Option<&Arc<Mount>>) -> Arc<Mount> {
        let Some(entry) = entry else { return Arc::new(self.complete(mount, None)) };
        let owner = entry.connection_owner; // the same mount has the same connection
        let mount = Mount { connection_owner: owner, ..mount };
        if mount == **entry {
            return Arc::clone(entry);
        }
        self.forget(entry);
        let mount = self.complete(mount, owner);
        if mount == **entry { Arc::clone(entry) } else { Arc::new(mount) }
    }

    /// The mount as it is kept: with the owner of its connection, which may be known, and with names that it shares with
    /// others and that are not too long for its user. Without an owner if it is no FUSE mount, `fusectl` is not mounted, or the connection is gone.
    /// Sends no request to the server.
    fn complete(&mut self, mut mount: Mount, known: Option<(u32, u32)>) -> Mount {
        if mount.kind() == FsKind::Fuse {
            mount.connection_owner = known.or_else(|| self.owner(connection(mount.device_number)));
        }
        self.names.kept(mount)
    }

    fn owner(&self, connection: u32) -> Option<(u32, u32)> {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT;
        let found =
            fstatat(self.sys.as_ref()?, format!("{CONNECTIONS}/{connection}").as_str(), flags).ok()?;
        Some((found.st_uid, found.st_gid))
    }
}
