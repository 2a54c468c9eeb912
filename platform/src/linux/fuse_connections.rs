//! The owners of FUSE connections. In the directory of `fusectl`, the inode of each connection belongs to the user of
//! the connection (`fs/fuse/control.c`), whatever user namespace it was made in.

use super::evidence::connection;
use super::user_names::UserNames;
use crate::{FsKind, Mount, MountTable};
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

const SYS: &str = "/sys";
/// Below [`SYS`].
const CONNECTIONS: &str = "fs/fuse/connections";

#[derive(Debug)]
pub(super) struct FuseConnections {
    /// Opened once, at the start: a walk from `/` could wait for the root's storage, a walk from here cannot. `None` if
    /// there is no such directory.
    sys: Option<File>,
    names: UserNames,
}

impl FuseConnections {
    pub(super) fn open() -> FuseConnections {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let sys = OpenOptions::new().read(true).custom_flags(flags).open(SYS).ok();
        FuseConnections { sys, names: UserNames::default() }
    }

    /// Entries will be added to this table.
    pub(super) fn begin(&mut self, table: &MountTable) {
        self.names.count(table);
    }

    /// The mount as it is kept: with the owner of its connection, which may be known, and with names that are not too
    /// long for its user. Without an owner if it is no FUSE mount, `fusectl` is not mounted, or the connection is gone.
    /// Sends no request to the server.
    pub(super) fn complete(&mut self, mut mount: Mount, known: Option<(u32, u32)>) -> Mount {
        if mount.kind() == FsKind::Fuse {
            mount.connection_owner = known.or_else(|| self.owner(connection(mount.device_number)));
        }
        self.names.limited(mount)
    }

    fn owner(&self, connection: u32) -> Option<(u32, u32)> {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT;
        let found =
            fstatat(self.sys.as_ref()?, format!("{CONNECTIONS}/{connection}").as_str(), flags).ok()?;
        Some((found.st_uid, found.st_gid))
    }
}
