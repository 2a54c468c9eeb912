//! What `EVFILT_FS` tells (kqueue(2), `sys/mount.h`): one mask, the same bits on macOS and FreeBSD, and no word on which
//! mount it is about.

use crate::Changes;

/// A file server does not answer.
pub(crate) const VQ_NOTRESP: u32 = 0x1;
/// Something was mounted.
pub(crate) const VQ_MOUNT: u32 = 0x8;
/// Something was unmounted.
pub(crate) const VQ_UNMOUNT: u32 = 0x10;
/// A file system is gone and will not come back.
pub(crate) const VQ_DEAD: u32 = 0x20;
/// A mount was changed; macOS alone.
#[cfg(any(test, target_os = "macos"))]
pub(crate) const VQ_UPDATE: u32 = 0x100;

/// What is asked for on macOS. Named bit by bit: a kernel that takes no mask for everything, one that takes it for
/// nothing and one that ignores it then all do the same.
#[cfg(target_os = "macos")]
pub(crate) const WANTED_ON_MACOS: u32 = WANTED_ON_FREEBSD | VQ_UPDATE;
/// What is asked for on FreeBSD.
pub(crate) const WANTED_ON_FREEBSD: u32 = VQ_MOUNT | VQ_UNMOUNT | VQ_NOTRESP | VQ_DEAD;

/// What to do after this mask. Whatever is not known means that something has changed: to read the table once too
/// often costs little.
pub(crate) fn meaning(mask: u32) -> Changes {
    Changes { table: mask & !VQ_NOTRESP != 0, server_not_responding: mask & (VQ_NOTRESP | VQ_DEAD) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_has_its_consequence() {
        for (mask, table, server_not_responding) in [
            (0, false, false),
            (VQ_MOUNT, true, false),
            (VQ_UNMOUNT, true, false),
            (VQ_UPDATE, true, false),
            (VQ_NOTRESP, false, true),
            (VQ_DEAD, true, true),
            (VQ_MOUNT | VQ_NOTRESP, true, true),
            (0x8000, true, false),
        ] {
            assert_eq!(meaning(mask), Changes { table, server_not_responding }, "{mask:#x}");
        }
    }
}
