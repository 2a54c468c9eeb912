//! Unix sockets by their paths: bound, connected to, removed.

use super::request::Reply;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

/// A listening socket and the identity of its file. The file of a daemon that died is replaced; any other file, or a
/// daemon that listens, is an error.
pub(super) fn bind(path: &Path, mode: u32, group: &str) -> io::Result<Reply> {
    let group = if group.is_empty() { None } else { Some(group_id(group)?) };
    if path == Path::new(platform::DEFAULT_SOCKET) {
        make_folder(path); // if that fails, so does the next call
    }
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    let identity = identity(path)?;
    let owned = if group.is_some() { chown(path, None, group) } else { Ok(()) };
    owned.map_err(|error| io::Error::new(error.kind(), format!("cannot set its group: {error}")))?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(Reply { fields: vec![identity], descriptor: Some(listener.into()) })
}

/// The folder of the default socket, which systemd makes for its service.
pub(super) fn make_folder(path: &Path) {
    let Some(folder) = path.parent() else { return };
    if fs::create_dir(folder).is_ok() {
        let _ = fs::set_permissions(folder, Permissions::from_mode(0o755));
    }
}

fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let unknown = || io::Error::new(ErrorKind::NotFound, format!("there is no group {group}"));
    platform::group_id(group)?.ok_or_else(unknown)
}

/// Whether it is a socket without a listener.
fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Device and inode: the file may be replaced by another daemon.
fn identity(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::symlink_metadata(path)?;
    Ok([found.dev().to_le_bytes(), found.ino().to_le_bytes()].concat())
}

/// Removes the file that [`bind`] made.
pub(super) fn remove(path: &Path, expected: &[u8]) -> io::Result<()> {
    if identity(path)? == expected { fs::remove_file(path) } else { Ok(()) }
}

/// A connected socket, and whether it is a stream. Datagrams are tried first, as syslog daemons use them.
pub(super) fn connect(path: &Path, any_kind: bool) -> io::Result<Reply> {
    if any_kind {
        let datagram = UnixDatagram::unbound()?;
        match datagram.connect(path) {
            Ok(()) => return Ok(connected(datagram.into(), false)),
            // EPROTOTYPE: it is a stream.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    Ok(connected(UnixStream::connect(path)?.into(), true))
}

fn connected(socket: OwnedFd, is_stream: bool) -> Reply {
    Reply { fields: vec![vec![u8::from(is_stream)]], descriptor: Some(socket) }
}
