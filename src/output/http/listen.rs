//! Opens the listeners.

use super::limits::{BACKLOG, BIND_TIMEOUT, REMOVE_TIMEOUT};
use crate::children::files::{FileWorker, SocketIdentity};
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

/// For the daemon's user and the group of the socket.
const SOCKET_MODE: u32 = 0o660;

/// Binds and removes the socket. Shared by all servers of this process, because at most one child is left behind.
static SOCKET: FileWorker = FileWorker::new();

pub(super) fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted daemon can bind while old connections are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The file of the Unix socket.
pub(super) struct SocketFile {
    path: PathBuf,
    identity: SocketIdentity,
}

/// A Unix socket. The file of a daemon that died is replaced; any other file, or a daemon that listens, is an error.
/// Blocks.
pub(super) fn unix(path: &Path, group: Option<&str>) -> io::Result<(StdListener, SocketFile)> {
    let (socket, identity) = SOCKET.begin(BIND_TIMEOUT)?.bind(path, SOCKET_MODE, group)?;
    let listener = StdListener::from(socket);
    listener.set_nonblocking(true)?;
    platform::adopt_listener(&listener)?; // `remedy --reset` looks for the daemon, not for the child that has bound it
    Ok((listener, SocketFile { path: path.to_owned(), identity }))
}

/// For the runtime that is entered now.
pub(super) fn for_runtime(listener: StdListener) -> io::Result<UnixListener> {
    UnixListener::from_std(listener)
}

impl SocketFile {
    /// Removes it. Blocks.
    pub(super) fn remove(self) {
        // If it stays, the next daemon replaces it.
        let _ =
            SOCKET.begin(REMOVE_TIMEOUT).and_then(|mut session| session.remove(&self.path, self.identity));
    }
}
