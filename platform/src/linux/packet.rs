//! Packets over the socket pair between the daemon and a prober (`SOCK_SEQPACKET`: each arrives whole or not at all).

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{MsgFlags, recv, send};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// No packet is larger. Three fit into the kernel's default socket buffer (`net.core.wmem_default`, 208 KiB), and
/// each takes about a thousand questions or answers, which makes the cost of the system calls disappear.
pub const MAX_PACKET: usize = 64 * 1024;

/// One end of a connection that carries packets. It never waits.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    pub(in crate::linux) fn over(socket: OwnedFd) -> Channel {
        Channel(socket)
    }

    /// Sends one packet, or fails with `WouldBlock` and takes nothing of it.
    ///
    /// # Errors
    /// Those of `send(2)`; `BrokenPipe` when the other end is gone.
    pub fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        put(self.as_fd(), packet, MsgFlags::MSG_DONTWAIT)
    }

    /// Sends the rest of what was taken: here a packet is never sent in part.
    ///
    /// # Errors
    /// None.
    pub fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Receives one packet and returns its length; 0 when the other end is gone.
    ///
    /// # Errors
    /// Those of `recv(2)`, `WouldBlock` among them; `InvalidData` for a packet that did not fit.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT) {
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
    pub fn wait_readable(&self, limit: Option<Duration>) -> io::Result<bool> {
        let timeout = limit.map_or(PollTimeout::NONE, |limit| {
            // Rounded up: a wait that ends too early is followed by one of no time at all, again and again.
            PollTimeout::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        });
        match nix::poll::poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Sends one packet from the prober to the daemon, from whichever thread, and waits until it is sent.
///
/// # Errors
/// The daemon is gone.
pub fn answer(packet: &[u8]) -> io::Result<()> {
    put(io::stdin().as_fd(), packet, MsgFlags::empty())
}

fn put(socket: BorrowedFd<'_>, packet: &[u8], flags: MsgFlags) -> io::Result<()> {
    debug_assert!(!packet.is_empty() && packet.len() <= MAX_PACKET);
    loop {
        match send(socket.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL | flags) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Ok(()), // a packet is never sent in part
        }
    }
}
