//! Packets over the socket pair between the daemon and a prober (`SOCK_SEQPACKET`: each arrives whole or not at all).

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{MsgFlags, recv, send as send_bytes};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// No packet is larger. Three fit into the kernel's default socket buffer (`net.core.wmem_default`, 208 KiB), and
/// each takes about a thousand questions or answers, which makes the cost of the system calls disappear.
pub const MAX_PACKET: usize = 64 * 1024;

/// Sends one packet; `wait` until there is room for it, or fail with `WouldBlock`.
///
/// # Errors
/// Those of `send(2)`; `BrokenPipe` when the other end is gone.
pub fn send(socket: BorrowedFd<'_>, packet: &[u8], wait: bool) -> io::Result<()> {
    debug_assert!(!packet.is_empty() && packet.len() <= MAX_PACKET);
    let flags = MsgFlags::MSG_NOSIGNAL | flags(wait);
    loop {
        match send_bytes(socket.as_raw_fd(), packet, flags) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Ok(()), // a packet is never sent in part
        }
    }
}

/// Receives one packet and returns its length; 0 when the other end is gone.
///
/// # Errors
/// Those of `recv(2)`, `WouldBlock` among them unless it may `wait`; `InvalidData` for a packet that did not fit.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], wait: bool) -> io::Result<usize> {
    let flags = MsgFlags::MSG_TRUNC | flags(wait);
    loop {
        match recv(socket.as_raw_fd(), buffer, flags) {
            Err(nix::errno::Errno::EINTR) => {}
            // The other end went without having read all that we sent; what it sent before is still to come.
            Err(nix::errno::Errno::ECONNRESET) => {}
            Err(errno) => return Err(errno.into()),
            Ok(length) if length > buffer.len() => return Err(io::ErrorKind::InvalidData.into()),
            Ok(length) => return Ok(length),
        }
    }
}

/// Waits until there is something to receive (or the other end is gone): true; or until the time is over: false.
///
/// # Errors
/// Those of `poll(2)`.
pub fn wait_readable(socket: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<bool> {
    let timeout = limit.map_or(PollTimeout::NONE, |limit| {
        // Rounded up: a wait that ends too early is followed by one of no time at all, again and again.
        PollTimeout::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
    });
    let mut polled = [PollFd::new(socket, PollFlags::POLLIN)];
    match nix::poll::poll(&mut polled, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn flags(wait: bool) -> MsgFlags {
    if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT }
}
