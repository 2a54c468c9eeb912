//! Records for tests: the output of `mount` on real machines, with invented server names.

use super::record::Record;

pub(crate) fn record(fsid: i32, path: &str) -> Record {
    Record {
        fsid: [fsid, 1],
        flags: 0x1000,
        fstype: b"apfs".to_vec(),
        mountpoint: path.into(),
        device: format!("/dev/disk{fsid}").into_bytes(),
    }
}

fn list(rows: &[([i32; 2], u64, &str, &str, &str)]) -> Vec<Record> {
    let record = |&(fsid, flags, fstype, mountpoint, device): &([i32; 2], u64, &str, &str, &str)| Record {
        fsid,
        flags,
        fstype: fstype.into(),
        mountpoint: mountpoint.into(),
        device: device.into(),
    };
    rows.iter().map(record).collect()
}

/// macOS 14 with a share, an automount map and a snapshot.
pub(crate) fn macos() -> Vec<Record> {
    list(&[
        ([0x0100_0010, 26], 0x0480_d001, "apfs", "/", "/dev/disk3s1s1"),
        ([0x3b00_0001, 19], 0x0010_1000, "devfs", "/dev", "devfs"),
        ([0x0100_000e, 26], 0x0490_1000, "apfs", "/System/Volumes/VM", "/dev/disk3s6"),
        ([0x0100_000f, 26], 0x0490_1000, "apfs", "/System/Volumes/Preboot", "/dev/disk3s2"),
        ([0x0100_0011, 26], 0x1490_1080, "apfs", "/System/Volumes/Data", "/dev/disk3s5"),
        ([0x3b00_0003, 24], 0x0050_0000, "autofs", "/System/Volumes/Data/home", "map auto_home"),
        ([0x3b00_0005, 29], 0x0000_0018, "smbfs", "/Volumes/share", "//me@nas/share"),
        (
            [0x0100_0013, 26],
            0x4090_1001,
            "apfs",
            "/Volumes/.timemachine/x",
            "com.apple.TimeMachine.x@/dev/disk4",
        ),
    ])
}

/// FreeBSD 14 on ZFS with a jail and an NFS mount.
pub(crate) fn freebsd() -> Vec<Record> {
    list(&[
        ([0x3ad1, 0xde], 0x1000_1010, "zfs", "/", "zroot/ROOT/default"),
        ([0xff00, 0x71], 0x0000_1000, "devfs", "/dev", "devfs"),
        ([0xff01, 0x29], 0x0000_1001, "nullfs", "/jail/usr", "/usr"),
        ([0xff02, 0x71], 0x0000_1000, "devfs", "/jail/dev", "devfs"),
        ([0xff03, 0x3a], 0x0000_0000, "nfs", "/mnt/nfs", "nas:/export"),
    ])
}
