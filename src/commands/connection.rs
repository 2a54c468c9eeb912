//! The connection to the daemon: to its Unix socket or, for a user who may not use that, over TCP.

use super::client::{RESPONSE_TIMEOUT, STREAM_TIMEOUT};
use crate::children::files::FileWorker;
use crate::config::DaemonAddress;
use platform::{DEFAULT_SOCKET, EARLIER_SOCKET};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Connects to the socket of the daemon.
static SOCKET: FileWorker = FileWorker::new();

/// A connection with timeouts.
pub(super) fn connect(daemon: &DaemonAddress) -> io::Result<File> {
    // A thread of this process that waits for the storage of the socket, or for a daemon that is stopped and whose queue
    // is full, would keep the process from ending.
    let (path, connected) = connect_to_socket(&daemon.socket)?;
    match (connected, daemon.listen) {
        (Err(error), Some(address)) if error.kind() == ErrorKind::PermissionDenied => {
            let address = reachable(address);
            let stream = TcpStream::connect_timeout(&address, RESPONSE_TIMEOUT).map_err(|_| error)?;
            check_listener(path, address)?;
            stream.set_read_timeout(Some(STREAM_TIMEOUT))?;
            stream.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
            Ok(OwnedFd::from(stream).into())
        }
        (connected, _) => {
            let stream = UnixStream::from(connected?.0);
            stream.set_read_timeout(Some(STREAM_TIMEOUT))?;
            stream.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
            Ok(OwnedFd::from(stream).into())
        }
    }
}

type Connected = io::Result<(OwnedFd, bool)>;

/// The path at which a socket was found, and the connection.
fn connect_to_socket(path: &Path) -> io::Result<(&Path, Connected)> {
    let connected = SOCKET.begin(RESPONSE_TIMEOUT)?.connect(path, false);
    let is_missing = connected.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if is_missing && path == Path::new(DEFAULT_SOCKET) {
        let earlier = SOCKET.begin(RESPONSE_TIMEOUT)?.connect(Path::new(EARLIER_SOCKET), false);
        if !earlier.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok((Path::new(EARLIER_SOCKET), earlier));
        }
    }
    Ok((path, connected))
}

/// A listener on all addresses is also on the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Every user may listen on the port while the daemon does not, and could tell that all is well.
fn check_listener(socket: &Path, address: SocketAddr) -> io::Result<()> {
    // The storage of the socket has just refused the connection, so it responds.
    let of_socket = socket.symlink_metadata().ok().map(|found| found.uid());
    let is_daemon = |user: u32| user == 0 || user == platform::user_id() || Some(user) == of_socket;
    match platform::listener_owners(address.port()).into_iter().find(|user| !is_daemon(*user)) {
        Some(user) => {
            let text = format!("user {user}, not the daemon, listens on {address}");
            Err(io::Error::new(ErrorKind::PermissionDenied, text))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_on_all_addresses_is_reached_over_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("127.0.0.9:3", "127.0.0.9:3"),
            ("192.0.2.1:4", "192.0.2.1:4"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
