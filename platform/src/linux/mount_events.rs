//! The kernel's events of a mount namespace (fanotify(7) with `FAN_REPORT_MNT`, Linux 6.15): the unique ids of mounts that
//! were attached, detached or moved. libc does not have these constants yet; they are those of
//! `include/uapi/linux/fanotify.h`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};

const FAN_REPORT_MNT: libc::c_uint = 0x4000;
const FAN_MARK_MNTNS: libc::c_uint = 0x0110;
const FAN_MNT_ATTACH: u64 = 0x0100_0000;
const FAN_MNT_DETACH: u64 = 0x0200_0000;
const FAN_EVENT_INFO_TYPE_MNT: u8 = 7;

/// `struct fanotify_event_metadata`.
const METADATA: usize = 24;
/// `struct fanotify_event_info_mnt`.
const MOUNT_INFO: usize = 16;
/// An event of one mount.
const EVENT: usize = METADATA + MOUNT_INFO;
/// Read at once.
const EVENTS_PER_READ: usize = 256;
/// The kernel's own limit (`FANOTIFY_DEFAULT_MAX_EVENTS`). With more, reading the whole table is cheaper.
const MAX_PENDING: usize = 16_384;

/// A mount was attached, detached, or both: moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MountEvent {
    pub(super) id: u64,
    pub(super) is_attached: bool,
    pub(super) is_detached: bool,
}

/// The events of one namespace.
#[derive(Debug)]
pub(super) struct MountEvents {
    file: File,
    pending: Vec<MountEvent>,
    /// Events were lost.
    has_overflowed: bool,
}

impl MountEvents {
    /// # Errors
    /// The kernel has no such events, or this process lacks `CAP_SYS_ADMIN` in the user namespace of the mount namespace
    /// (6.15: in the initial one).
    pub(super) fn of(namespace: BorrowedFd<'_>) -> io::Result<MountEvents> {
        let flags = FAN_REPORT_MNT | libc::FAN_CLASS_NOTIF | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
        // SAFETY: integer arguments only.
        let descriptor = unsafe { libc::fanotify_init(flags, 0) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made this descriptor, and nothing else owns it.
        let file = unsafe { File::from_raw_fd(descriptor) };
        let mask = FAN_MNT_ATTACH | FAN_MNT_DETACH;
        // SAFETY: without a path, the mark is set on the file of the descriptor.
        let marked = unsafe {
            libc::fanotify_mark(
                file.as_raw_fd(),
                libc::FAN_MARK_ADD | FAN_MARK_MNTNS,
                mask,
                namespace.as_raw_fd(),
                std::ptr::null(),
            )
        };
        if marked < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(MountEvents { file, pending: Vec::new(), has_overflowed: false })
    }

    /// Reads all events that the kernel has. Returns whether there is something to handle.
    pub(super) fn read(&mut self) -> bool {
        let mut buffer = [0; EVENTS_PER_READ * EVENT];
        loop {
            match self.file.read(&mut buffer) {
                Ok(count) => {
                    self.add(&buffer[..count]);
                    if count + EVENT <= buffer.len() {
                        break; // the queue was empty, and the next event is announced
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.has_overflowed |= error.kind() != io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        self.has_pending()
    }

    fn add(&mut self, mut bytes: &[u8]) {
        while let Some((event, rest)) = parse(bytes) {
            match event {
                Some(event) if self.pending.len() < MAX_PENDING => self.pending.push(event),
                _ => self.has_overflowed = true,
            }
            bytes = rest;
        }
        if self.has_overflowed {
            self.pending = Vec::new(); // the whole table is read
        }
    }

    /// The events that were read, the oldest first; `None` if the whole table must be read, because some were lost.
    pub(super) fn take(&mut self) -> Option<Vec<MountEvent>> {
        let events = std::mem::take(&mut self.pending);
        (!std::mem::take(&mut self.has_overflowed)).then_some(events)
    }

    pub(super) fn has_pending(&self) -> bool {
        self.has_overflowed || !self.pending.is_empty()
    }

    /// The events that were taken cannot be handled: the whole table must be read.
    pub(super) fn lose(&mut self) {
        (self.pending, self.has_overflowed) = (Vec::new(), true);
    }

    /// Events that could not be handled yet. They are older than all others.
    pub(super) fn put_back(&mut self, mut events: Vec<MountEvent>) {
        events.append(&mut self.pending);
        self.pending = events;
    }
}

impl AsFd for MountEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The first event, `None` if it is not that of a mount (an overflow), and the following bytes.
fn parse(bytes: &[u8]) -> Option<(Option<MountEvent>, &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let (event, rest) = bytes.split_at_checked(length.max(METADATA))?;
    let mask = u64::from_ne_bytes(event[8..16].try_into().ok()?);
    let of_mount = event[METADATA..].first_chunk::<MOUNT_INFO>();
    let id = of_mount
        .filter(|info| info[0] == FAN_EVENT_INFO_TYPE_MNT)
        .and_then(|info| Some(u64::from_ne_bytes(info[8..].try_into().ok()?)));
    let event = id.map(|id| MountEvent {
        id,
        is_attached: mask & FAN_MNT_ATTACH != 0,
        is_detached: mask & FAN_MNT_DETACH != 0,
    });
    Some((event, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(mask: u64, id: Option<u64>) -> Vec<u8> {
        let length = METADATA + if id.is_some() { MOUNT_INFO } else { 0 };
        let mut bytes = u32::try_from(length).unwrap().to_ne_bytes().to_vec();
        bytes.extend([3, 0, 24, 0]);
        bytes.extend(mask.to_ne_bytes());
        bytes.extend([0xff; 8]); // no descriptor, no process
        if let Some(id) = id {
            bytes.extend([FAN_EVENT_INFO_TYPE_MNT, 0, 16, 0, 0, 0, 0, 0]);
            bytes.extend(id.to_ne_bytes());
        }
        bytes
    }

    fn events() -> MountEvents {
        MountEvents { file: File::open("/dev/null").unwrap(), pending: Vec::new(), has_overflowed: false }
    }

    #[test]
    fn events_keep_their_order_and_an_overflow_discards_them() {
        let mut events = events();
        let event = |id, is_attached, is_detached| MountEvent { id, is_attached, is_detached };
        events
            .add(&[bytes(FAN_MNT_ATTACH, Some(7)), bytes(FAN_MNT_ATTACH | FAN_MNT_DETACH, Some(5))].concat());
        events.add(&bytes(FAN_MNT_DETACH, Some(7)));
        let expected = vec![event(7, true, false), event(5, true, true), event(7, false, true)];
        assert_eq!(events.take(), Some(expected.clone()));
        events.add(&bytes(FAN_MNT_ATTACH, Some(9)));
        events.put_back(expected.clone());
        assert_eq!(events.take(), Some([expected, vec![event(9, true, false)]].concat()));
        events.add(&bytes(FAN_MNT_ATTACH, Some(7)));
        events.add(&bytes(libc::FAN_Q_OVERFLOW, None));
        assert_eq!((events.take(), events.take()), (None, Some(Vec::new())));
    }

    #[test]
    fn more_events_than_the_limit_are_an_overflow() {
        let mut events = events();
        (0..=MAX_PENDING as u64).for_each(|id| events.add(&bytes(FAN_MNT_ATTACH, Some(id))));
        assert_eq!(events.take(), None);
    }

    #[test]
    fn incomplete_event_ends_the_parsing() {
        let whole = bytes(FAN_MNT_ATTACH, Some(7));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None);
        }
        assert!(parse(&[0; METADATA]).is_some_and(|(event, rest)| event.is_none() && rest.is_empty()));
    }
}
