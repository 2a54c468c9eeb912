//! The socket of systemd's journal.

use crate::render::{Message, journal};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// A journal that is stopped does not read. The thread must return to apply changed settings.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends entries. Each names the socket's path, so a journal that is started again receives them.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

impl Journal {
    pub(super) fn new() -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
        Ok(Journal(socket))
    }

    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if the journal does not read. Others, such as `ENOENT` and `EMSGSIZE`, concern this
    /// socket only: standard error may still be written.
    pub(super) fn send(&self, message: &Message) -> io::Result<()> {
        self.0.send_to(&journal::entry(message), SOCKET).map(drop)
    }
}
