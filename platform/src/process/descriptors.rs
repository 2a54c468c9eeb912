//! Descriptors that are passed over the channel between the daemon and a child, between packets. Each is sent with one
//! byte, because a socket does not carry a descriptor alone.

use super::{Channel, wait_ready};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What accompanies a descriptor; the value has no meaning.
const COMPANION: [u8; 1] = [b'd'];

/// Waits until a packet can be sent (true), or until the timeout (false).
///
/// # Errors
/// Those of `poll(2)`.
pub fn wait_writable(channel: &Channel, timeout: Option<Duration>) -> io::Result<bool> {
    wait_ready(channel.as_fd(), PollFlags::POLLOUT, timeout)
}

/// Reads what a pipe has now, without waiting: `None` if it has nothing, 0 when every process has closed the other end.
///
/// # Errors
/// Those of `poll(2)` and `read(2)`.
pub fn read_available(pipe: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    // At the end of a pipe, `poll` reports POLLHUP.
    if !wait_ready(pipe, PollFlags::POLLIN, Some(Duration::ZERO))? {
        return Ok(None);
    }
    Ok(Some(nix::unistd::read(pipe, buffer)?))
}

/// Sends a descriptor to the other end of a channel, or fails with `WouldBlock`. Packets that were accepted before must
/// have been flushed.
///
/// # Errors
/// Those of `sendmsg(2)`.
pub fn send_descriptor(channel: &Channel, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    send(channel.as_fd(), descriptor, MsgFlags::MSG_DONTWAIT)
}

/// Sends a descriptor from a child to the daemon, and blocks until it is sent.
///
/// # Errors
/// The daemon has closed its end.
pub fn send_descriptor_to_daemon(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let stdin = io::stdin();
    loop {
        match send(stdin.as_fd(), descriptor, MsgFlags::empty()) {
            // The portable channel does not block.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait_ready(stdin.as_fd(), PollFlags::POLLOUT, None)?;
            }
            result => return result,
        }
    }
}

fn send(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>, flags: MsgFlags) -> io::Result<()> {
    let descriptors = [descriptor.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&COMPANION)], &control, flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives a descriptor that the other end sends next; `WouldBlock` while there is none.
///
/// # Errors
/// Those of `recvmsg(2)`; `InvalidData` if something else comes next; `UnexpectedEof` if the other end is closed.
pub fn receive_descriptor(channel: &Channel) -> io::Result<OwnedFd> {
    let mut companion = COMPANION;
    let mut slices = [IoSliceMut::new(&mut companion)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    #[cfg(not(target_os = "macos"))]
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    #[cfg(target_os = "macos")]
    let flags = MsgFlags::MSG_DONTWAIT;
    let received = loop {
        match recvmsg::<()>(channel.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut found = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            // SAFETY: the kernel has just made these descriptors for this process; nothing else owns them.
            found.extend(descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let is_closed = received.bytes == 0;
    found.pop().ok_or_else(|| {
        io::Error::from(if is_closed { ErrorKind::UnexpectedEof } else { ErrorKind::InvalidData })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    #[test]
    fn descriptor_arrives_between_packets() {
        let (mut ours, theirs) = Channel::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        ours.send(b"before").unwrap();
        send_descriptor(&ours, writer.as_fd()).unwrap();
        ours.send(b"after").unwrap();
        drop(writer);
        let mut theirs = Channel::from_descriptor(theirs).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(theirs.receive(&mut buffer).unwrap(), 6);
        let passed = receive_descriptor(&theirs).unwrap();
        assert_eq!(theirs.receive(&mut buffer).unwrap(), 5);
        assert_eq!(receive_descriptor(&theirs).unwrap_err().kind(), ErrorKind::WouldBlock);
        File::from(passed).write_all(b"through it").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through it");
    }
}
