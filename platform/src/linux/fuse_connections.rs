//! The owners of FUSE connections. In the directory of `fusectl`, the inode of each connection belongs to the user of
//! the connection (`fs/fuse/control.c`), whatever user namespace it was made in.

use super::evidence::connection;
use crate::{FsKind, Mount};
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
}

impl FuseConnections {
    pub(super) fn open() -> FuseConnections {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        FuseConnections { sys: OpenOptions::new().read(true).custom_flags(flags).open(SYS).ok() }
    }

    /// The mount with the owner of its connection. Without it if it is no FUSE mount, `fusectl` is not mounted, or the
    /// connection is gone. Sends no request to the server.
    pub(super) fn with_owner(&self, mut mount: Mount) -> Mount {
        if mount.kind() == FsKind::Fuse {
            mount.connection_owner = self.owner(connection(mount.device_number));
        }
        mount
    }

    fn owner(&self, connection: u32) -> Option<(u32, u32)> {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT;
        let found =
            fstatat(self.sys.as_ref()?, format!("{CONNECTIONS}/{connection}").as_str(), flags).ok()?;
        Some((found.st_uid, found.st_gid))
    }
}
