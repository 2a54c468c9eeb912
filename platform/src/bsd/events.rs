//! The events of `EVFILT_FS` (kqueue(2), `sys/mount.h`): one mask with the same bits on macOS and FreeBSD. It does not
//! identify the mount.

use crate::Changes;

/// A file server does not respond.
pub(crate) const VQ_NOTRESP: u32 = 0x1;
/// Something was mounted.
pub(crate) const VQ_MOUNT: u32 = 0x8;
/// Something was unmounted.
pub(crate) const VQ_UNMOUNT: u32 = 0x10;
/// A file system is permanently dead.
pub(crate) const VQ_DEAD: u32 = 0x20;
/// A mount was changed; macOS only.
#[cfg(any(test, target_os = "macos"))]
pub(crate) const VQ_UPDATE: u32 = 0x100;

/// The requested events on macOS. All bits are set explicitly, because the systems interpret an empty mask differently.
#[cfg(target_os = "macos")]
pub(crate) const MACOS_EVENTS: u32 = FREEBSD_EVENTS | VQ_UPDATE;
/// The requested events on FreeBSD.
pub(crate) const FREEBSD_EVENTS: u32 = VQ_MOUNT | VQ_UNMOUNT | VQ_NOTRESP | VQ_DEAD;

/// What this mask means. Unknown bits count as a change, because an unnecessary read of the table costs little.
pub(crate) fn changes_of(mask: u32) -> Changes {
    Changes { table: mask & !VQ_NOTRESP != 0, server_not_responding: mask & (VQ_NOTRESP | VQ_DEAD) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_means_its_change() {
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
            assert_eq!(changes_of(mask), Changes { table, server_not_responding }, "{mask:#x}");
        }
    }
}
