//! `listmount(2)` and `statmount(2)` (Linux 6.8): the ids of all mounts in one call, and one mount by its id. Neither
//! asks a file system anything or pins a mount. No wrapper exists in libc yet; the structures are the kernel's
//! `include/uapi/linux/mount.h`.

use crate::{DeviceNumber, Mount, MountKey};
use linux_raw_sys::general as raw;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Stands for the namespace that the calling process is in.
pub(super) const OWN_NAMESPACE: u64 = 0;

/// Ids that one call has room for beyond those of the last call, so that one call is nearly always enough (and then
/// a snapshot). The kernel refuses more than a million.
const SPARE_IDS: usize = 256;
const MOST_IDS: usize = 1_000_000;

/// Room for the strings of one mount; grows up to the limit for long overlay options.
const FIRST_BUFFER: usize = 16 << 10;
const LARGEST_BUFFER: usize = 1 << 20;

/// What a [`Mount`] is made of.
const WHOLE_MOUNT: u32 = raw::STATMOUNT_SB_BASIC
    | raw::STATMOUNT_MNT_BASIC
    | raw::STATMOUNT_MNT_ROOT
    | raw::STATMOUNT_MNT_POINT
    | raw::STATMOUNT_FS_TYPE
    | raw::STATMOUNT_MNT_OPTS
    | raw::STATMOUNT_FS_SUBTYPE
    | raw::STATMOUNT_SB_SOURCE;

/// Without these no [`Mount`] can be made. Empty strings are left out of the answer's mask as unknown ones are, but
/// sources and subtypes came with the same kernel (6.13), and only a source is (nearly) never empty.
const NEEDED: u32 = raw::STATMOUNT_SB_BASIC
    | raw::STATMOUNT_MNT_BASIC
    | raw::STATMOUNT_MNT_ROOT
    | raw::STATMOUNT_FS_TYPE
    | raw::STATMOUNT_SB_SOURCE;

/// In the kernel's order (`show_mnt_opts()` in `fs/proc_namespace.c`), `relatime` apart.
const ATTRIBUTES: &[(u32, &str)] = &[
    (raw::MOUNT_ATTR_NOSUID, ",nosuid"),
    (raw::MOUNT_ATTR_NODEV, ",nodev"),
    (raw::MOUNT_ATTR_NOEXEC, ",noexec"),
    (raw::MOUNT_ATTR_NOATIME, ",noatime"),
    (raw::MOUNT_ATTR_NODIRATIME, ",nodiratime"),
];
const LATER_ATTRIBUTES: &[(u32, &str)] =
    &[(raw::MOUNT_ATTR_NOSYMFOLLOW, ",nosymfollow"), (raw::MOUNT_ATTR_IDMAP, ",idmapped")];

/// As `show_sb_opts()` in the same file; of `mand`, which means nothing since 5.15, statmount does not tell, and the
/// parser of mountinfo leaves it out.
const SUPER_FLAGS: &[(u32, &str)] =
    &[(raw::MS_SYNCHRONOUS, ",sync"), (raw::MS_DIRSYNC, ",dirsync"), (raw::MS_LAZYTIME, ",lazytime")];

/// What the kernel tells of one id.
#[derive(Debug)]
pub(super) enum Found {
    /// The mount.
    Mount(Box<Mount>),
    /// There, but out of reach of this process's root: mountinfo does not show it either.
    Hidden,
    /// Unmounted meanwhile.
    Gone,
    /// This kernel cannot tell all of it.
    Unclear,
}

/// The unique ids of all mounts that this process can reach, ascending. `hint` is about how many there will be.
/// Several calls (more mounts than expected) together are no snapshot, but lose no mount that outlives them.
pub(super) fn listmount(namespace: u64, hint: usize) -> io::Result<Vec<u64>> {
    let room = (hint + hint / 8 + SPARE_IDS).min(MOST_IDS);
    let mut ids: Vec<u64> = Vec::new();
    while list_more(namespace, &mut ids, room)? == room {}
    Ok(ids)
}

/// The id of one mount: enough to learn whether this kernel has such ids.
pub(super) fn first_id(namespace: u64) -> io::Result<Option<u64>> {
    let mut ids = Vec::new();
    list_more(namespace, &mut ids, 1)?;
    Ok(ids.first().copied())
}

/// Appends at most `room` ids that follow the last, and says how many.
fn list_more(namespace: u64, ids: &mut Vec<u64>, room: usize) -> io::Result<usize> {
    ids.reserve(room);
    let after = ids.last().copied().unwrap_or(0);
    let request = request(namespace, raw::LSMT_ROOT as i64 as u64, after);
    // SAFETY: the kernel reads `size` bytes of `request` and writes at most `room` ids, which is reserved behind the
    // vector's end.
    let count = unsafe {
        libc::syscall(
            raw::__NR_listmount as libc::c_long,
            &raw const request,
            ids.as_mut_ptr().add(ids.len()),
            room,
            0u32,
        )
    };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?.min(room);
    // SAFETY: the kernel has written this many ids behind the end, and never more than `room`.
    unsafe { ids.set_len(ids.len() + count) };
    Ok(count)
}

/// `statmount(2)` with its buffer.
#[derive(Debug)]
pub(super) struct Statmount {
    namespace: u64,
    /// In units that are aligned as the structure at its start is; never smaller than that.
    buffer: Vec<u64>,
}

impl Statmount {
    pub(super) fn new(namespace: u64) -> Statmount {
        Statmount { namespace, buffer: vec![0; FIRST_BUFFER / size_of::<u64>()] }
    }

    /// The reusable id (mountinfo field 1) of the mount with this unique id; `None` if there is no such mount.
    pub(super) fn old_id(&mut self, id: u64) -> io::Result<Option<u32>> {
        match self.call(id, raw::STATMOUNT_MNT_BASIC) {
            Ok(()) => Ok(Some(self.header().mnt_id_old)),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All that there is to know of the mount with this unique id, equal to what mountinfo shows.
    pub(super) fn mount(&mut self, id: u64) -> io::Result<Found> {
        match self.call(id, WHOLE_MOUNT) {
            Ok(()) => Ok(self.answer(id)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Found::Gone),
            Err(error) if absent(&error) => Ok(Found::Hidden),
            Err(error) => Err(error),
        }
    }

    fn call(&mut self, id: u64, mask: u32) -> io::Result<()> {
        loop {
            let request = request(self.namespace, id, u64::from(mask));
            let size = size_of_val(self.buffer.as_slice());
            // SAFETY: the kernel reads `size` bytes of `request` and writes at most `size` bytes of the buffer.
            let done = unsafe {
                libc::syscall(
                    raw::__NR_statmount as libc::c_long,
                    &raw const request,
                    self.buffer.as_mut_ptr(),
                    size,
                    0u32,
                )
            };
            if done == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EOVERFLOW) || size >= LARGEST_BUFFER {
                return Err(error);
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    fn header(&self) -> &raw::statmount {
        const { assert!(FIRST_BUFFER > size_of::<raw::statmount>()) };
        // SAFETY: the buffer is aligned for u64, the strictest field; it is never smaller than FIRST_BUFFER; and
        // every bit pattern is a value of each (integer) field.
        unsafe { &*self.buffer.as_ptr().cast::<raw::statmount>() }
    }

    /// The string at this offset, up to its NUL.
    fn string(&self, offset: u32) -> &[u8] {
        // SAFETY: the same memory seen as bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts(self.buffer.as_ptr().cast::<u8>(), size_of_val(self.buffer.as_slice()))
        };
        let start = size_of::<raw::statmount>().saturating_add(offset as usize).min(bytes.len());
        bytes[start..].split(|&b| b == 0).next().unwrap_or_default()
    }

    fn answer(&self, id: u64) -> Found {
        let header = self.header();
        let has = |bits: u32| header.mask & u64::from(bits) == u64::from(bits);
        let string = |bit, offset| if has(bit) { self.string(offset) } else { b"" };
        let mountpoint = string(raw::STATMOUNT_MNT_POINT, header.mnt_point);
        if mountpoint.is_empty() {
            return Found::Hidden;
        }
        if !has(NEEDED) {
            return Found::Unclear;
        }
        let mut fstype = self.string(header.fs_type).to_vec();
        if has(raw::STATMOUNT_FS_SUBTYPE) {
            fstype.push(b'.');
            fstype.extend_from_slice(self.string(header.fs_subtype));
        }
        let owned = |bytes| OsStr::from_bytes(bytes).to_os_string();
        Found::Mount(Box::new(Mount {
            key: MountKey(id),
            id: header.mnt_id_old,
            parent: header.mnt_parent_id_old,
            device_number: DeviceNumber { major: header.sb_dev_major, minor: header.sb_dev_minor },
            root: owned(self.string(header.mnt_root)),
            mountpoint: owned(mountpoint).into(),
            fstype: OsString::from_vec(fstype),
            device: owned(self.string(header.sb_source)),
            options: mount_options(header.mnt_attr),
            super_options: super_options(header.sb_flags, string(raw::STATMOUNT_MNT_OPTS, header.mnt_opts)),
        }))
    }
}

fn request(namespace: u64, id: u64, param: u64) -> raw::mnt_id_req {
    let size = match namespace {
        OWN_NAMESPACE => raw::MNT_ID_REQ_SIZE_VER0, // the oldest, which each kernel with these calls knows
        _ => raw::MNT_ID_REQ_SIZE_VER1,
    };
    raw::mnt_id_req { size, spare: 0, mnt_id: id, param, mnt_ns_id: namespace }
}

/// EPERM: not below our root, and we lack the right to look elsewhere.
fn absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EPERM))
}

fn mount_options(attributes: u64) -> OsString {
    let has = |bits: u32| attributes & u64::from(bits) != 0;
    let mut options = OsString::from(if has(raw::MOUNT_ATTR_RDONLY) { "ro" } else { "rw" });
    let mut push_all = |names: &[(u32, &str)], relatime: bool| {
        names.iter().filter(|(bit, _)| has(*bit)).for_each(|(_, name)| options.push(name));
        if relatime {
            options.push(",relatime");
        }
    };
    push_all(ATTRIBUTES, !has(raw::MOUNT_ATTR__ATIME)); // relatime is the 0 of that field
    push_all(LATER_ATTRIBUTES, false);
    options
}

fn super_options(flags: u32, own: &[u8]) -> OsString {
    let mut options = OsString::from(if flags & raw::MS_RDONLY != 0 { "ro" } else { "rw" });
    SUPER_FLAGS.iter().filter(|(bit, _)| flags & bit != 0).for_each(|(_, name)| options.push(name));
    if !own.is_empty() {
        options.push(",");
        options.push(OsStr::from_bytes(own));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_in_the_order_of_mountinfo() {
        assert_eq!(mount_options(0), "rw,relatime");
        assert_eq!(mount_options(u64::from(raw::MOUNT_ATTR_STRICTATIME)), "rw");
        let all = raw::MOUNT_ATTR_RDONLY
            | raw::MOUNT_ATTR_NOSUID
            | raw::MOUNT_ATTR_NODEV
            | raw::MOUNT_ATTR_NOEXEC
            | raw::MOUNT_ATTR_NOATIME
            | raw::MOUNT_ATTR_NODIRATIME
            | raw::MOUNT_ATTR_NOSYMFOLLOW
            | raw::MOUNT_ATTR_IDMAP;
        let shown = "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow,idmapped";
        assert_eq!(mount_options(u64::from(all)), shown);
        let flags = raw::MS_RDONLY | raw::MS_SYNCHRONOUS | raw::MS_LAZYTIME;
        assert_eq!(super_options(flags, b"a=b"), "ro,sync,lazytime,a=b");
        assert_eq!(super_options(0, b""), "rw");
    }
}
