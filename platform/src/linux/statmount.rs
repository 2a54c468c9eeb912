//! `listmount(2)` and `statmount(2)` (Linux 6.8): the ids of all mounts in one call, and one mount by its id. Neither
//! sends requests to a file system or keeps a mount busy. libc has no wrappers yet; the structures are those of
//! `include/uapi/linux/mount.h`.

use super::long_names::{kept, unreadable};
use crate::{DeviceNumber, Mount, MountKey, ShortenedNames};
use linux_raw_sys::general as raw;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// Means the namespace of the calling process.
pub(super) const OWN_NAMESPACE: u64 = 0;

/// Room for more ids than the last call returned, so that one call is nearly always enough and returns a snapshot.
const SPARE_IDS: usize = 256;
/// The kernel's limit for one call.
const MAX_IDS: usize = 1_000_000;

/// Buffer for the strings of one mount; it grows for long overlay options and mount points. Where all together do not
/// fit, the long ones are requested one by one, and one that does not fit alone is unreadable.
const MIN_BUFFER: usize = 16 << 10;
const MAX_BUFFER: usize = 1 << 20;

/// The parts of a [`Mount`].
const WHOLE_MOUNT: u32 = raw::STATMOUNT_SB_BASIC
    | raw::STATMOUNT_MNT_BASIC
    | raw::STATMOUNT_MNT_ROOT
    | raw::STATMOUNT_MNT_POINT
    | raw::STATMOUNT_FS_TYPE
    | raw::STATMOUNT_MNT_OPTS
    | raw::STATMOUNT_FS_SUBTYPE
    | raw::STATMOUNT_SB_SOURCE;

/// The strings without a limit: the others are at most a page.
const LONG_STRINGS: u32 = raw::STATMOUNT_MNT_ROOT | raw::STATMOUNT_MNT_POINT | raw::STATMOUNT_MNT_OPTS;

/// The parts without which no [`Mount`] can be made. The response's mask omits empty strings like unknown ones; sources
/// and subtypes came with the same kernel (6.13), which is known by the first source.
const REQUIRED: u32 = raw::STATMOUNT_SB_BASIC | raw::STATMOUNT_MNT_BASIC | raw::STATMOUNT_FS_TYPE;

/// In the kernel's order (`show_mnt_opts()` in `fs/proc_namespace.c`); `relatime` stands between both lists.
const ATTRIBUTES: &[(u32, &str)] = &[
    (raw::MOUNT_ATTR_NOSUID, ",nosuid"),
    (raw::MOUNT_ATTR_NODEV, ",nodev"),
    (raw::MOUNT_ATTR_NOEXEC, ",noexec"),
    (raw::MOUNT_ATTR_NOATIME, ",noatime"),
    (raw::MOUNT_ATTR_NODIRATIME, ",nodiratime"),
];
const LATER_ATTRIBUTES: &[(u32, &str)] =
    &[(raw::MOUNT_ATTR_NOSYMFOLLOW, ",nosymfollow"), (raw::MOUNT_ATTR_IDMAP, ",idmapped")];

/// Same order as `show_sb_opts()` in that file. statmount does not return `mand`, which has had no meaning since 5.15;
/// the mountinfo parser omits it too.
const SUPER_FLAGS: &[(u32, &str)] =
    &[(raw::MS_SYNCHRONOUS, ",sync"), (raw::MS_DIRSYNC, ",dirsync"), (raw::MS_LAZYTIME, ",lazytime")];

/// What the kernel returns for one id.
#[derive(Debug)]
pub(super) enum Found {
    Mount(Box<Mount>),
    /// Not reachable from this process's root: mountinfo does not show it either.
    Unreachable,
    /// Unmounted meanwhile.
    Gone,
    /// This kernel does not return all required parts.
    Incomplete,
}

/// The unique ids of all mounts that this process can reach, ascending. `hint` is the expected number. If several calls
/// are needed they are no snapshot, but they contain every mount that exists during all of them.
pub(super) fn listmount(namespace: u64, hint: usize) -> io::Result<Vec<u64>> {
    let room = (hint + hint / 8 + SPARE_IDS).min(MAX_IDS);
    let mut ids: Vec<u64> = Vec::new();
    while list_more(namespace, &mut ids, room)? == room {}
    Ok(ids)
}

/// The id of one mount, to detect whether this kernel has such ids.
pub(super) fn first_id(namespace: u64) -> io::Result<Option<u64>> {
    let mut ids = Vec::new();
    list_more(namespace, &mut ids, 1)?;
    Ok(ids.first().copied())
}

/// Appends at most `room` ids after the last one, and returns their number.
fn list_more(namespace: u64, ids: &mut Vec<u64>, room: usize) -> io::Result<usize> {
    ids.reserve(room);
    let after = ids.last().copied().unwrap_or(0);
    let request = request(namespace, raw::LSMT_ROOT as i64 as u64, after);
    // SAFETY: the kernel reads `size` bytes of `request` and writes at most `room` ids behind the vector's end, where they
    // are reserved.
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
    // SAFETY: the kernel has written `count` ids behind the end, at most `room`.
    unsafe { ids.set_len(ids.len() + count) };
    Ok(count)
}

/// `statmount(2)` with its buffer.
#[derive(Debug)]
pub(super) struct Statmount {
    namespace: u64,
    /// Aligned as the structure at its start, and never smaller than [`MIN_BUFFER`].
    buffer: Vec<u64>,
    /// A source was returned, so the kernel knows sources: a mount without one has an empty source.
    has_sources: bool,
}

impl Statmount {
    pub(super) fn new(namespace: u64) -> Statmount {
        Statmount { namespace, buffer: vec![0; MIN_BUFFER / size_of::<u64>()], has_sources: false }
    }

    /// The reusable id (mountinfo field 1) of the mount with this unique id; `None` if there is no such mount.
    pub(super) fn old_id(&mut self, id: u64) -> io::Result<Option<u32>> {
        Ok(self.numbers(id)?.map(|(old_id, _)| old_id))
    }

    /// As before, and the number of its superblock. Every kernel with unique ids returns both, unlike a whole mount.
    pub(super) fn numbers(&mut self, id: u64) -> io::Result<Option<(u32, DeviceNumber)>> {
        match self.call(id, raw::STATMOUNT_MNT_BASIC | raw::STATMOUNT_SB_BASIC) {
            Ok(()) => {
                let header = self.header();
                let device = DeviceNumber { major: header.sb_dev_major, minor: header.sb_dev_minor };
                Ok(Some((header.mnt_id_old, device)))
            }
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The mount with this unique id, equal to what mountinfo shows.
    pub(super) fn mount(&mut self, id: u64) -> io::Result<Found> {
        let found = match self.call(id, WHOLE_MOUNT) {
            Ok(()) => Ok(self.response(id, |this, string| Some(this.kept_string(string)))),
            Err(error) if is_overflow(&error) => self.mount_in_parts(id),
            Err(error) => Err(error),
        };
        match found {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Found::Gone),
            Err(error) if is_absent(&error) => Ok(Found::Unreachable),
            other => other,
        }
    }

    /// The mount whose strings do not fit into the largest buffer together.
    fn mount_in_parts(&mut self, id: u64) -> io::Result<Found> {
        let mut parts = [None, None, None];
        for (part, string) in parts.iter_mut().zip(LongString::ALL) {
            *part = match self.call(id, string.mask() | raw::STATMOUNT_SB_BASIC) {
                Ok(()) => {
                    let (text, is_shortened) = self.kept_string(string);
                    Some((Cow::Owned(text.into_owned()), is_shortened))
                }
                Err(error) if is_overflow(&error) => Some((Cow::Owned(string.unreadable()), true)),
                Err(error) => return Err(error),
            };
        }
        self.call(id, WHOLE_MOUNT & !LONG_STRINGS)?;
        Ok(self.response(id, |_, string| parts[string as usize].take()))
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
                self.has_sources |= self.header().mask & u64::from(raw::STATMOUNT_SB_SOURCE) != 0;
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if !is_overflow(&error) || size >= MAX_BUFFER {
                return Err(error);
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    fn header(&self) -> &raw::statmount {
        const { assert!(MIN_BUFFER > size_of::<raw::statmount>()) };
        // SAFETY: the buffer is aligned for u64, the largest field, and never smaller than MIN_BUFFER; every bit pattern
        // is valid for integers.
        unsafe { &*self.buffer.as_ptr().cast::<raw::statmount>() }
    }

    /// The string at this offset, up to its NUL.
    fn string(&self, offset: u32) -> &[u8] {
        // SAFETY: the same initialized memory as bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts(self.buffer.as_ptr().cast::<u8>(), size_of_val(self.buffer.as_slice()))
        };
        let start = size_of::<raw::statmount>().saturating_add(offset as usize).min(bytes.len());
        bytes[start..].split(|&b| b == 0).next().unwrap_or_default()
    }

    /// A string of the last response as it is kept, and whether it was shortened; empty if it is not in the response.
    fn kept_string(&self, string: LongString) -> (Cow<'_, OsStr>, bool) {
        let header = self.header();
        let offset = match string {
            LongString::Root => header.mnt_root,
            LongString::Mountpoint => header.mnt_point,
            LongString::SuperOptions => header.mnt_opts,
        };
        let text = if header.mask & u64::from(string.mask()) == 0 { b"" } else { self.string(offset) };
        match string {
            LongString::Root | LongString::Mountpoint => kept(text, b'/'),
            LongString::SuperOptions => {
                let options = super_options(header.sb_flags, text);
                let (options, is_shortened) = kept(options.as_bytes(), b',');
                (Cow::Owned(options.into_owned()), is_shortened)
            }
        }
    }

    /// `part` returns the long strings.
    fn response<'a>(
        &'a self,
        id: u64,
        mut part: impl FnMut(&'a Statmount, LongString) -> Option<(Cow<'a, OsStr>, bool)>,
    ) -> Found {
        let header = self.header();
        let has = |bits: u32| header.mask & u64::from(bits) == u64::from(bits);
        let mut part = |string| part(self, string).unwrap_or_default();
        let (mountpoint, is_mountpoint_shortened) = part(LongString::Mountpoint);
        if mountpoint.is_empty() {
            return Found::Unreachable;
        }
        let (root, is_root_shortened) = part(LongString::Root);
        if !has(REQUIRED) || !self.has_sources || root.is_empty() {
            return Found::Incomplete;
        }
        let (super_options, are_options_shortened) = part(LongString::SuperOptions);
        let mut fstype = self.string(header.fs_type).to_vec();
        if has(raw::STATMOUNT_FS_SUBTYPE) {
            fstype.push(b'.');
            fstype.extend_from_slice(self.string(header.fs_subtype));
        }
        let device = if has(raw::STATMOUNT_SB_SOURCE) { self.string(header.sb_source) } else { b"" };
        Found::Mount(Box::new(Mount {
            key: MountKey(id),
            id: header.mnt_id_old,
            parent: header.mnt_parent_id_old,
            device_number: DeviceNumber { major: header.sb_dev_major, minor: header.sb_dev_minor },
            root: (&*root).into(),
            mountpoint: (&*mountpoint).into(),
            fstype: OsStr::from_bytes(&fstype).into(),
            device: OsStr::from_bytes(device).into(),
            options: mount_options(header.mnt_attr).into(),
            super_options: (&*super_options).into(),
            connection_owner: None,
            shortened: ShortenedNames {
                root: is_root_shortened,
                mountpoint: is_mountpoint_shortened,
                super_options: are_options_shortened,
                over_limit: false,
            },
        }))
    }
}

/// A string of a mount that can be of any length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LongString {
    Root,
    Mountpoint,
    SuperOptions,
}

impl LongString {
    const ALL: [LongString; 3] = [LongString::Root, LongString::Mountpoint, LongString::SuperOptions];

    const fn mask(self) -> u32 {
        match self {
            LongString::Root => raw::STATMOUNT_MNT_ROOT,
            LongString::Mountpoint => raw::STATMOUNT_MNT_POINT,
            LongString::SuperOptions => raw::STATMOUNT_MNT_OPTS,
        }
    }

    fn unreadable(self) -> OsString {
        unreadable(if self == LongString::SuperOptions { b',' } else { b'/' })
    }
}

fn request(namespace: u64, id: u64, param: u64) -> raw::mnt_id_req {
    let size = match namespace {
        OWN_NAMESPACE => raw::MNT_ID_REQ_SIZE_VER0, // known to every kernel with these calls
        _ => raw::MNT_ID_REQ_SIZE_VER1,
    };
    raw::mnt_id_req { size, spare: 0, mnt_id: id, param, mnt_ns_id: namespace }
}

/// EPERM: not below our root, and we lack the rights for other mounts.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EPERM))
}

fn is_overflow(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOVERFLOW)
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

fn super_options(flags: u32, of_type: &[u8]) -> OsString {
    let mut options = OsString::from(if flags & raw::MS_RDONLY != 0 { "ro" } else { "rw" });
    SUPER_FLAGS.iter().filter(|(bit, _)| flags & bit != 0).for_each(|(_, name)| options.push(name));
    if !of_type.is_empty() {
        options.push(",");
        options.push(OsStr::from_bytes(of_type));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_the_order_of_mountinfo() {
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
