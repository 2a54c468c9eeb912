//! The mount tables of other processes (`/proc/PID/mountinfo`), read in bounded pieces: their users make them.

use crate::DeviceNumber;
use crate::evidence::ScanLimits;
use crate::linux::mountinfo::{PeerGroups, Placement, unescape};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Maximum number of mount namespaces whose tables are read: as many as a busy container host has.
pub(super) const MAX_NAMESPACES: usize = 256;
/// Of a line only so much is read: all up to its optional fields, with the longest names, escaped.
const MAX_LINE_START: u64 = 40_000;
/// Maximum size of the names that are kept of one table: 100,000 mounts, as many as the kernel allows, with usual names.
const MAX_NAMES: usize = 32 << 20;

/// A mount of a table.
pub(super) struct Placed {
    pub(super) id: u32,
    pub(super) parent: u32,
    pub(super) device: DeviceNumber,
    pub(super) root: Vec<u8>,
    pub(super) mountpoint: Vec<u8>,
    pub(super) groups: PeerGroups,
}

pub(super) struct Table {
    pub(super) mounts: Vec<Placed>,
    /// All lines were read and understood.
    pub(super) is_whole: bool,
}

impl Table {
    pub(super) fn read(mountinfo: &Path, limits: &ScanLimits) -> io::Result<Table> {
        let mut table = Table { mounts: Vec::new(), is_whole: true };
        let mut text = BufReader::new(File::open(mountinfo)?);
        let mut start = Vec::new();
        let mut names = 0;
        loop {
            start.clear();
            (&mut text).take(MAX_LINE_START).read_until(b'\n', &mut start)?;
            if start.is_empty() {
                return Ok(table);
            }
            if start.ends_with(b"\n") {
                start.pop();
            } else {
                text.skip_until(b'\n')?;
            }
            if names > MAX_NAMES || limits.is_over() {
                table.is_whole = false;
                return Ok(table);
            }
            let Some(placement) = Placement::parse(&start) else {
                table.is_whole = false;
                continue;
            };
            let name = |escaped| unescape(escaped).as_bytes().to_vec();
            let Placement { id, parent, device_number: device, groups, .. } = placement;
            let (root, mountpoint) = (name(placement.root), name(placement.mountpoint));
            names += root.len() + mountpoint.len();
            table.mounts.push(Placed { id, parent, device, root, mountpoint, groups });
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<&Placed> {
        self.mounts.iter().find(|mount| mount.id == id)
    }

    /// A process whose root directory is not that of its namespace does not see what is outside.
    pub(super) fn has_root(&self) -> bool {
        self.mounts.iter().any(|mount| mount.mountpoint == b"/")
    }
}
