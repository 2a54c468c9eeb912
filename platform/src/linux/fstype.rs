//! How to probe each file system type.

use crate::FsKind;

/// Types with storage behind a network, whose attributes may come from a cache.
const NETWORK: &[&[u8]] = &[
    b"nfs",
    b"nfs4",
    b"cifs",
    b"smb3",
    b"smbfs",
    b"ceph",
    b"9p",
    b"afs",
    b"coda",
    b"ncpfs",
    b"lustre",
    b"beegfs",
    b"gpfs",
    b"glusterfs",
    b"orangefs",
    b"pvfs2",
    b"panfs",
    b"gfs",
    b"gfs2",
    b"ocfs2",
    b"davfs",
    b"acfs",
];

pub(crate) fn kind_of(fstype: &[u8]) -> FsKind {
    match fstype {
        b"autofs" => FsKind::Autofs,
        b"fuse" | b"fuseblk" | b"virtiofs" => FsKind::Fuse,
        _ if fstype.starts_with(b"fuse.") || fstype.starts_with(b"fuseblk.") => FsKind::Fuse,
        _ if NETWORK.contains(&fstype) => FsKind::Network,
        _ => FsKind::Local,
    }
}
