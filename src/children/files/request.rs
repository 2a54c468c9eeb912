//! What a child does, and what it replies.

use super::fields::{pack, unpack};
use platform::DeviceNumber;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// One operation on a path that an operator named, or a read of `/proc` and `/sys`, which may never return.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// Replaces a file atomically. `owner` makes the name of the temporary file unique among daemons.
    Replace { path: PathBuf, owner: u32, mode: u32, text: Vec<u8> },
    /// Reads a regular file of at most this size.
    Read { path: PathBuf, limit: u64 },
    /// Reads the main configuration file, which may be missing unless it is `required`, and its drop-ins.
    ReadConfig { path: PathBuf, required: bool, checked: bool },
    /// The fingerprint of a file, perhaps with those of the drop-ins beside it.
    Fingerprints { path: PathBuf, with_drop_ins: bool },
    /// Binds a listening socket, of this group unless that is empty.
    Bind { path: PathBuf, mode: u32, group: String },
    /// Removes a socket, unless the file has been replaced.
    Remove { path: PathBuf, identity: Vec<u8> },
    /// Connects to a socket: to a stream, or to whichever kind it is.
    Connect { path: PathBuf, any_kind: bool },
    /// Looks up the addresses of `HOST:PORT`.
    Resolve { name: String },
    /// Loads the certificates that the system trusts, or those of this file and directory.
    Certificates { file: Option<PathBuf>, directory: Option<PathBuf> },
    /// Follows the symbolic links in these paths, except on mounts that may hang.
    FollowLinks { paths: Vec<PathBuf> },
    /// Checks who may replace these programs.
    CheckPrograms { paths: Vec<PathBuf> },
    /// Reports changes of the configuration files and of other files from now on.
    Watch { path: PathBuf, others: Vec<PathBuf> },
    /// Finds the mount namespaces that have the file system of this mount, except the watched one: this inode number, or our
    /// own.
    Holders { device: DeviceNumber, mount_id: u32, watched: Option<u64> },
    /// Counts the processes that use this file system.
    Users { device: DeviceNumber, mount_id: u32 },
    /// Asks systemd about units.
    ShowUnits { names: Vec<String> },
    /// Finds what is stacked on files.
    StackedFiles,
    /// Opens the saved state of a daemon, which must have at most this size, and locks it for this one. Its records have
    /// their own size.
    OpenState { path: PathBuf, limit: u64, records: u64 },
    /// Copies from the first of two descriptors to the second until its end.
    Copy,
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        let path = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let optional = |it: &Option<PathBuf>| pack(it.iter().map(|it| path(it)));
        let list = |paths: &[PathBuf]| pack(paths.iter().map(|it| path(it)));
        let number = |number: u32| number.to_le_bytes().to_vec();
        let (code, fields) = match self {
            Request::Replace { path: to, owner, mode, text } => {
                (0, vec![path(to), number(*owner), number(*mode), text.clone()])
            }
            Request::Read { path: from, limit } => (1, vec![path(from), limit.to_le_bytes().to_vec()]),
            Request::ReadConfig { path: from, required, checked } => {
                (2, vec![path(from), vec![u8::from(*required)], vec![u8::from(*checked)]])
            }
            Request::Fingerprints { path: of, with_drop_ins } => {
                (3, vec![path(of), vec![u8::from(*with_drop_ins)]])
            }
            Request::Bind { path: at, mode, group } => {
                (4, vec![path(at), mode.to_le_bytes().to_vec(), group.clone().into_bytes()])
            }
            Request::Remove { path: at, identity } => (5, vec![path(at), identity.clone()]),
            Request::Connect { path: to, any_kind } => (6, vec![path(to), vec![u8::from(*any_kind)]]),
            Request::Resolve { name } => (7, vec![name.clone().into_bytes()]),
            Request::Certificates { file, directory } => (8, vec![optional(file), optional(directory)]),
            Request::FollowLinks { paths } => (9, vec![list(paths)]),
            Request::CheckPrograms { paths } => (10, vec![list(paths)]),
            Request::Watch { path: of, others } => (11, vec![path(of), list(others)]),
            Request::Copy => (12, vec![]),
            Request::Holders { device, mount_id, watched } => {
                let numbers = [device.major, device.minor, *mount_id].map(number);
                let watched = watched.map(|inode| inode.to_le_bytes().to_vec());
                (13, numbers.into_iter().chain(watched).collect())
            }
            Request::StackedFiles => (14, vec![]),
            Request::Users { device, mount_id } => {
                (15, [device.major, device.minor, *mount_id].map(number).to_vec())
            }
            Request::ShowUnits { names } => {
                (16, names.iter().map(|name| name.clone().into_bytes()).collect())
            }
            Request::OpenState { path: at, limit, records } => {
                (17, vec![path(at), limit.to_le_bytes().to_vec(), records.to_le_bytes().to_vec()])
            }
        };
        pack([vec![code]].into_iter().chain(fields))
    }

    /// `None` if it is malformed.
    pub(super) fn decode(packed: &[u8]) -> Option<Request> {
        let all = unpack(packed)?;
        let (code, fields) = all.split_first()?;
        let flag = |field: &[u8]| Some(*field.first()? != 0);
        let number = |field: &[u8]| Some(u32::from_le_bytes(field.try_into().ok()?));
        let optional = |field: &[u8]| Some(unpack(field)?.first().map(|it| path(it)));
        let list = |field: &[u8]| Some(unpack(field)?.into_iter().map(path).collect());
        Some(match (code.first()?, fields) {
            (0, [to, owner, mode, text]) => Request::Replace {
                path: path(to),
                owner: number(owner)?,
                mode: number(mode)?,
                text: text.to_vec(),
            },
            (1, [from, limit]) => {
                Request::Read { path: path(from), limit: u64::from_le_bytes((*limit).try_into().ok()?) }
            }
            (2, [from, required, checked]) => {
                Request::ReadConfig { path: path(from), required: flag(required)?, checked: flag(checked)? }
            }
            (3, [of, all]) => Request::Fingerprints { path: path(of), with_drop_ins: flag(all)? },
            (4, [at, mode, group]) => Request::Bind {
                path: path(at),
                mode: number(mode)?,
                group: String::from_utf8(group.to_vec()).ok()?,
            },
            (5, [at, identity]) => Request::Remove { path: path(at), identity: identity.to_vec() },
            (6, [to, any_kind]) => Request::Connect { path: path(to), any_kind: flag(any_kind)? },
            (7, [name]) => Request::Resolve { name: String::from_utf8(name.to_vec()).ok()? },
            (8, [file, directory]) => {
                Request::Certificates { file: optional(file)?, directory: optional(directory)? }
            }
            (9, [paths]) => Request::FollowLinks { paths: list(paths)? },
            (10, [paths]) => Request::CheckPrograms { paths: list(paths)? },
            (11, [of, others]) => Request::Watch { path: path(of), others: list(others)? },
            (12, []) => Request::Copy,
            (13, [major, minor, mount_id, watched @ ..]) => Request::Holders {
                device: DeviceNumber { major: number(major)?, minor: number(minor)? },
                mount_id: number(mount_id)?,
                watched: match watched.first() {
                    Some(inode) => Some(u64::from_le_bytes((*inode).try_into().ok()?)),
                    None => None,
                },
            },
            (14, []) => Request::StackedFiles,
            (15, [major, minor, mount_id]) => Request::Users {
                device: DeviceNumber { major: number(major)?, minor: number(minor)? },
                mount_id: number(mount_id)?,
            },
            (16, names) => Request::ShowUnits {
                names: names
                    .iter()
                    .map(|name| String::from_utf8(name.to_vec()).ok())
                    .collect::<Option<_>>()?,
            },
            (17, [at, limit, records]) => {
                let number = |field: &[u8]| Some(u64::from_le_bytes(field.try_into().ok()?));
                Request::OpenState { path: path(at), limit: number(limit)?, records: number(records)? }
            }
            _ => return None,
        })
    }

    /// Number of descriptors that follow the request.
    pub(super) const fn descriptors(&self) -> usize {
        if matches!(self, Request::Copy) { 2 } else { 0 }
    }
}

pub(super) fn path(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).into()
}

/// The result of an operation.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) fields: Vec<Vec<u8>>,
    pub(super) descriptor: Option<OwnedFd>,
}

impl Reply {
    pub(super) fn new<F: Into<Vec<u8>>>(fields: impl IntoIterator<Item = F>) -> Reply {
        Reply { fields: fields.into_iter().map(Into::into).collect(), descriptor: None }
    }
}

const SUCCESS: u8 = 0;
const SUCCESS_WITH_DESCRIPTOR: u8 = 1;
const ERRNO: u8 = 2;
const ERROR_TEXT: u8 = 3;

/// The fields of a result. A descriptor is sent after them.
pub(super) fn encode_result(result: &io::Result<Reply>) -> Vec<u8> {
    match result {
        Ok(reply) => {
            let code = if reply.descriptor.is_some() { SUCCESS_WITH_DESCRIPTOR } else { SUCCESS };
            pack([&[code][..]].into_iter().chain(reply.fields.iter().map(Vec::as_slice)))
        }
        Err(error) => match error.raw_os_error() {
            Some(errno) => pack([&[ERRNO][..], &errno.to_le_bytes()]),
            None => pack([&[ERROR_TEXT][..], error.to_string().as_bytes()]),
        },
    }
}

/// A result, and whether a descriptor follows.
pub(super) fn decode_result(packed: &[u8]) -> io::Result<(Reply, bool)> {
    let all = unpack(packed).ok_or(ErrorKind::InvalidData)?;
    match all.split_first() {
        Some((&[code @ (SUCCESS | SUCCESS_WITH_DESCRIPTOR)], fields)) => {
            let fields = fields.iter().map(|field| field.to_vec()).collect();
            Ok((Reply { fields, descriptor: None }, *code == SUCCESS_WITH_DESCRIPTOR))
        }
        Some((&[ERRNO], [errno])) => {
            let errno = (*errno).try_into().map_err(|_| ErrorKind::InvalidData)?;
            Err(io::Error::from_raw_os_error(i32::from_le_bytes(errno)))
        }
        Some((&[ERROR_TEXT], [text])) => {
            Err(io::Error::new(ErrorKind::InvalidData, String::from_utf8_lossy(text).into_owned()))
        }
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_decoded_as_they_were_encoded() {
        let paths = || vec!["/a".into(), path(b"/\xff")];
        for request in [
            Request::Replace { path: "/a".into(), owner: 7, mode: 0o644, text: vec![0, 1] },
            Request::OpenState { path: "/a".into(), limit: 1 << 40, records: 1 << 20 },
            Request::Read { path: "/a".into(), limit: 1 << 40 },
            Request::ReadConfig { path: "/a".into(), required: true, checked: false },
            Request::Fingerprints { path: "/a".into(), with_drop_ins: true },
            Request::Fingerprints { path: "/a".into(), with_drop_ins: false },
            Request::Bind { path: "/a".into(), mode: 0o660, group: "nagios".into() },
            Request::Remove { path: "/a".into(), identity: vec![1] },
            Request::Connect { path: "/a".into(), any_kind: true },
            Request::Resolve { name: "a:1".into() },
            Request::FollowLinks { paths: paths() },
            Request::CheckPrograms { paths: vec![] },
            Request::Watch { path: "/a".into(), others: vec!["/b".into()] },
            Request::Copy,
            Request::Holders { device: DeviceNumber { major: 0, minor: 300 }, mount_id: 7, watched: None },
            Request::Holders {
                device: DeviceNumber { major: 8, minor: 1 },
                mount_id: 1 << 31,
                watched: Some(1 << 40),
            },
            Request::Users { device: DeviceNumber { major: 8, minor: 300 }, mount_id: 7 },
            Request::ShowUnits { names: vec!["a.mount".into(), "b.service".into()] },
            Request::StackedFiles,
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        assert_eq!(Request::decode(&pack([[99]])), None);
        assert_eq!(Request::decode(&[]), None);
    }

    #[test]
    fn errors_keep_their_kind_and_text() {
        let missing = decode_result(&encode_result(&Err(io::Error::from_raw_os_error(2)))).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let text = decode_result(&encode_result(&Err(io::Error::other("too odd")))).unwrap_err();
        assert_eq!(text.to_string(), "too odd");
        let (reply, with_descriptor) = decode_result(&encode_result(&Ok(Reply::new(["a"])))).unwrap();
        assert_eq!((reply.fields, with_descriptor), (vec![b"a".to_vec()], false));
    }
}
