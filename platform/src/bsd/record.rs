//! One entry of the mount table in plain types, and the names of its flags on both systems.

use std::ffi::c_char;

/// The used fields of `struct statfs`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Record {
    /// `f_fsid`; zeros on FreeBSD for users other than root.
    pub(crate) fsid: [i32; 2],
    /// `f_flags`.
    pub(crate) flags: u64,
    /// `f_fstypename`.
    pub(crate) fstype: Vec<u8>,
    /// `f_mntonname`.
    pub(crate) mountpoint: Vec<u8>,
    /// `f_mntfromname`.
    pub(crate) device: Vec<u8>,
}

/// The text in a fixed-size field, which has no NUL if the text fills it.
pub(crate) fn text(field: &[c_char]) -> Vec<u8> {
    field.iter().map(|&char| char.to_ne_bytes()[0]).take_while(|&byte| byte != 0).collect()
}

/// A bit of `f_flags`.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) bit: u64,
    /// Its name in mount(8).
    pub(crate) option: &'static str,
    /// Its name in `sys/mount.h`, for the comparison with the headers.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) name: &'static str,
}

const fn flag(bit: u64, option: &'static str, name: &'static str) -> Flag {
    Flag { bit, option, name }
}

/// The same on all systems.
pub(crate) const MNT_RDONLY: u64 = 0x1;

/// The useful flags of macOS, as in its mount(8).
#[cfg(any(test, target_os = "macos"))]
pub(crate) const MACOS_FLAGS: [Flag; 16] = [
    flag(0x0000_0002, "synchronous", "MNT_SYNCHRONOUS"),
    flag(0x0000_0004, "noexec", "MNT_NOEXEC"),
    flag(0x0000_0008, "nosuid", "MNT_NOSUID"),
    flag(0x0000_0010, "nodev", "MNT_NODEV"),
    flag(0x0000_0020, "union", "MNT_UNION"),
    flag(0x0000_0040, "async", "MNT_ASYNC"),
    flag(0x0000_0080, "protect", "MNT_CPROTECT"),
    flag(0x0000_1000, "local", "MNT_LOCAL"),
    flag(0x0000_2000, "quota", "MNT_QUOTA"),
    flag(0x0000_4000, "rootfs", "MNT_ROOTFS"),
    flag(0x0010_0000, "nobrowse", "MNT_DONTBROWSE"),
    flag(0x0020_0000, "noowners", "MNT_IGNORE_OWNERSHIP"),
    flag(0x0040_0000, "automounted", "MNT_AUTOMOUNTED"),
    flag(0x0080_0000, "journaled", "MNT_JOURNALED"),
    flag(0x1000_0000, "noatime", "MNT_NOATIME"),
    flag(0x4000_0000, "snapshot", "MNT_SNAPSHOT"),
];

/// The useful flags of FreeBSD, as in its mount(8).
#[cfg(any(test, target_os = "freebsd"))]
pub(crate) const FREEBSD_FLAGS: [Flag; 16] = [
    flag(0x0000_0002, "sync", "MNT_SYNCHRONOUS"),
    flag(0x0000_0004, "noexec", "MNT_NOEXEC"),
    flag(0x0000_0008, "nosuid", "MNT_NOSUID"),
    flag(0x0000_0010, "nfsv4acls", "MNT_NFS4ACLS"),
    flag(0x0000_0020, "union", "MNT_UNION"),
    flag(0x0000_0040, "async", "MNT_ASYNC"),
    flag(0x0000_1000, "local", "MNT_LOCAL"),
    flag(0x0000_2000, "quota", "MNT_QUOTA"),
    flag(0x0000_4000, "rootfs", "MNT_ROOTFS"),
    flag(0x0010_0000, "suiddir", "MNT_SUIDDIR"),
    flag(0x0020_0000, "soft-updates", "MNT_SOFTDEP"),
    flag(0x0040_0000, "nosymfollow", "MNT_NOSYMFOLLOW"),
    flag(0x0800_0000, "acls", "MNT_ACLS"),
    flag(0x1000_0000, "noatime", "MNT_NOATIME"),
    flag(0x1_0000_0000, "journaled soft-updates", "MNT_SUJ"),
    flag(0x2_0000_0000, "automounted", "MNT_AUTOMOUNTED"),
];

/// `f_flags` as options: `rw` or `ro` first, as on Linux.
pub(crate) fn options(flags: u64, names: &[Flag]) -> String {
    let mut options = String::from(if flags & MNT_RDONLY == 0 { "rw" } else { "ro" });
    for name in names.iter().filter(|name| flags & name.bit != 0) {
        options.push(',');
        options.push_str(name.option);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_ends_at_its_first_nul_or_when_it_is_full() {
        let field =
            |bytes: &[u8]| bytes.iter().map(|&byte| c_char::from_ne_bytes([byte])).collect::<Vec<_>>();
        assert_eq!(text(&field(b"apfs\0\0rest")), b"apfs");
        assert_eq!(text(&field(b"full")), b"full");
        assert_eq!(text(&field(b"\xff\x80\0")), b"\xff\x80");
        assert_eq!(text(&field(b"")), b"");
    }

    #[test]
    fn flags_become_options() {
        assert_eq!(options(0, &MACOS_FLAGS), "rw");
        // `mount` shows (apfs, sealed, local, read-only, journaled) for this number.
        assert_eq!(options(0x0480_d001, &MACOS_FLAGS), "ro,local,rootfs,journaled");
        assert_eq!(options(0x1000_1010, &FREEBSD_FLAGS), "rw,nfsv4acls,local,noatime");
    }

    #[test]
    fn each_bit_has_one_name() {
        for table in [&MACOS_FLAGS, &FREEBSD_FLAGS] {
            let all = table.iter().fold(MNT_RDONLY, |all, flag| {
                assert!(flag.bit.is_power_of_two() && all & flag.bit == 0, "{flag:?}");
                all | flag.bit
            });
            assert_eq!(all.count_ones() as usize, table.len() + 1);
        }
    }
}
