//! The child's side of its channel to the daemon, shared by all children.

use platform::process::{self, Channel, ChildRole, MAX_PACKET};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Exit status after a protocol error or a panic: EX_SOFTWARE of sysexits.h.
const SOFTWARE_ERROR: i32 = 70;

/// Where a child receives packets; every thread may send with [`send`].
pub(super) struct DaemonChannel {
    channel: Channel,
    buffer: Vec<u8>,
}

impl DaemonChannel {
    /// Makes this process a child of this role: see [`process::init_child`].
    pub(super) fn init(role: ChildRole) -> DaemonChannel {
        // A thread that panics would silently lose its work; the end of the process informs the daemon.
        std::panic::set_hook(Box::new(|_| exit_with_error()));
        match process::init_child(role) {
            Ok(channel) => DaemonChannel { channel, buffer: vec![0; MAX_PACKET] },
            Err(_) => exit_with_error(),
        }
    }

    /// Waits for a packet (true) or until the timeout (false).
    pub(super) fn wait(&self, timeout: Option<Duration>) -> bool {
        self.channel.wait_readable(timeout).unwrap_or_else(|_| exit_with_error())
    }

    /// The next packet, if there is one. Ends the process when the daemon has closed its end.
    pub(super) fn receive(&mut self) -> Option<&[u8]> {
        self.receive_or_end().inspect(|packet| {
            if packet.is_empty() {
                process::exit_now(0);
            }
        })
    }

    /// The next packet, if there is one; an empty one when the daemon has closed its end.
    pub(super) fn receive_or_end(&mut self) -> Option<&[u8]> {
        match self.channel.receive(&mut self.buffer) {
            Ok(length) => Some(&self.buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => exit_with_error(),
        }
    }

    /// Waits for a descriptor that the daemon sends next.
    pub(super) fn receive_descriptor(&self) -> OwnedFd {
        loop {
            self.wait(None);
            match process::receive_descriptor(&self.channel) {
                Ok(descriptor) => return descriptor,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => process::exit_now(0),
                Err(_) => exit_with_error(),
            }
        }
    }
}

/// Sends a packet to the daemon, and blocks while the daemon does not read. Ends the process when the daemon has
/// closed its end.
pub(super) fn send(packet: &[u8]) {
    if process::send_to_daemon(packet).is_err() {
        process::exit_now(0);
    }
}

/// Ends the process because the daemon sent something unknown or because this program has a bug.
pub(super) fn exit_with_error() -> ! {
    process::exit_now(SOFTWARE_ERROR)
}
