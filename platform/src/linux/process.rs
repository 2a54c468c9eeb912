//! The Linux part of `crate::process`: packets over a `SOCK_SEQPACKET` socket pair, where each arrives whole or not at
//! all, and the initialization of a child.

use crate::process::{MAX_PACKET, wait_ready};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

pub(crate) use super::launcher;
pub(crate) use super::namespace::enter as enter_namespace;
pub use super::residency::{run_from_memory, runs_from_memory};
pub use super::thread_sampler::ThreadSampler;

/// The type of the sockets below a [`Channel`].
pub(crate) const SOCKET_TYPE: SockType = SockType::SeqPacket;

/// One end of a connection that carries packets. It never blocks.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Two ends; the second is for a child.
    pub(crate) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SOCKET_TYPE, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel(ours), theirs))
    }

    /// The child's end. It never fails here; other systems may fail.
    pub(crate) fn from_stdin() -> io::Result<Channel> {
        // SAFETY: the daemon passed its socket as descriptor 0; the one reader owns it until the process ends.
        Ok(Channel(unsafe { OwnedFd::from_raw_fd(libc::STDIN_FILENO) }))
    }

    /// The other end of a [`Channel::pair`], for tests that are the child.
    #[cfg(test)]
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> io::Result<Channel> {
        Ok(Channel(descriptor))
    }

    /// Sends one packet, or fails with `WouldBlock` and sends nothing of it.
    ///
    /// # Errors
    /// Those of `send(2)`; `BrokenPipe` when the other end is closed.
    pub fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        send_packet(self.as_fd(), packet, MsgFlags::MSG_DONTWAIT)
    }

    /// Sends the rest of an accepted packet: none here, where packets are never sent in part.
    pub fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Receives one packet and returns its length; 0 when the other end is closed.
    ///
    /// # Errors
    /// Those of `recv(2)`, `WouldBlock` among them; `InvalidData` for a packet larger than the buffer.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT) {
                // ECONNRESET: the other end was closed with unread packets; the packets that it sent can still be read.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Err(errno) => return Err(errno.into()),
                Ok(length) if length > buffer.len() => return Err(io::ErrorKind::InvalidData.into()),
                Ok(length) => return Ok(length),
            }
        }
    }

    /// Waits until there is something to receive or the other end is closed (true), or until the timeout (false).
    ///
    /// # Errors
    /// Those of `poll(2)`.
    pub fn wait_readable(&self, timeout: Option<Duration>) -> io::Result<bool> {
        wait_ready(self.as_fd(), PollFlags::POLLIN, timeout)
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

/// Sends one packet from a child to the daemon, from any thread, and blocks until it is sent.
///
/// # Errors
/// The daemon has closed its end.
pub fn send_to_daemon(packet: &[u8]) -> io::Result<()> {
    send_packet(io::stdin().as_fd(), packet, MsgFlags::empty())
}

fn send_packet(socket: BorrowedFd<'_>, packet: &[u8], flags: MsgFlags) -> io::Result<()> {
    debug_assert!(!packet.is_empty() && packet.len() <= MAX_PACKET);
    loop {
        match send(socket.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL | flags) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// The link to the running program, which works even when its file was replaced. It never fails here; other systems
/// may.
pub(crate) fn own_program() -> io::Result<CString> {
    Ok(c"/proc/self/exe".to_owned())
}

/// Names the process, and makes all its threads share one heap.
pub(crate) fn init_child(name: &CStr) {
    // SAFETY: the name is NUL-terminated; the kernel reads at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    // glibc would make an arena for each thread.
    #[cfg(target_env = "gnu")]
    // SAFETY: integer arguments; no other thread exists yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// The kernel's id of the calling thread, as in `/proc/PID/task/TID`.
#[must_use]
pub fn thread_id() -> u32 {
    nix::unistd::gettid().as_raw().unsigned_abs()
}
