//! How to probe each file system type.

use crate::FsKind;

// What the drivers do is in docs/platforms.md.
const NETWORK: &[&[u8]] = &[b"nfs", b"nfs4", b"ncpfs", b"davfs"];
const SMB: &[&[u8]] = &[b"cifs", b"smb3", b"smbfs"];
const CLUSTER: &[&[u8]] = &[b"ceph", b"lustre", b"beegfs", b"gpfs", b"glusterfs", b"afs", b"panfs", b"acfs"];
const UNCACHED: &[&[u8]] = &[b"9p", b"gfs", b"gfs2", b"ocfs2", b"coda", b"orangefs", b"pvfs2"];

pub(crate) fn kind_of(fstype: &[u8]) -> FsKind {
    match fstype {
        b"autofs" => FsKind::Autofs,
        b"fuse" | b"fuseblk" | b"virtiofs" => FsKind::Fuse,
        _ if fstype.starts_with(b"fuse.") || fstype.starts_with(b"fuseblk.") => FsKind::Fuse,
        _ if NETWORK.contains(&fstype) => FsKind::Network,
        _ if SMB.contains(&fstype) => FsKind::Smb,
        _ if CLUSTER.contains(&fstype) => FsKind::Cluster,
        _ if UNCACHED.contains(&fstype) => FsKind::Uncached,
        _ => FsKind::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_probed_as_their_drivers_require() {
        for (fstype, kind) in [
            ("nfs4", FsKind::Network),
            ("cifs", FsKind::Smb),
            ("ceph", FsKind::Cluster),
            ("lustre", FsKind::Cluster),
            ("9p", FsKind::Uncached),
            ("ocfs2", FsKind::Uncached),
            ("fuse.ceph", FsKind::Fuse),
            ("fuse.glusterfs", FsKind::Fuse),
            ("virtiofs", FsKind::Fuse),
            ("autofs", FsKind::Autofs),
            ("ext4", FsKind::Local),
        ] {
            assert_eq!(kind_of(fstype.as_bytes()), kind, "{fstype}");
        }
    }
}
