//! The operations, as blocking calls with a deadline, for threads of outputs, of the configuration and of commands.

use super::config_files::{PROBLEM, TEXT};
use super::execute::execute;
use super::fields::unpack;
use super::helper::{
    Helper, LeftBehind, have_worked, is_left_behind, no_answer, still_no_answer, uses_children,
};
use super::request::{Reply, Request, path as to_path};
use platform::Mount;
use platform::evidence::{Holders, Observation, StackedFiles, Users};
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum size of a file with a secret, certificates or expected mounts; a larger file is a mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Others may read the file: node_exporter runs as another user.
const PUBLIC: u32 = 0o644;
/// Only the user of the daemon may.
const PRIVATE: u32 = 0o600;

/// One use of files. At most one of its children is left behind: while that one exists, no other is started.
#[derive(Debug, Default)]
pub struct FileWorker {
    left_behind: Mutex<Option<LeftBehind>>,
}

/// Operations that share a child and a deadline.
pub struct FileSession<'w> {
    left_behind: MutexGuard<'w, Option<LeftBehind>>,
    /// `None` executes in place.
    helper: Option<Helper>,
    timeout: Duration,
    deadline: Instant,
    has_timed_out: bool,
}

impl FileWorker {
    #[must_use]
    pub const fn new() -> FileWorker {
        FileWorker { left_behind: Mutex::new(None) }
    }

    /// Starts a child, whose operations must all be complete within the timeout. Waits for another session of this worker.
    ///
    /// # Errors
    /// `TimedOut` while an earlier child waits for storage; those of starting a process.
    pub fn begin(&self, timeout: Duration) -> io::Result<FileSession<'_>> {
        let mut left_behind = self.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        if left_behind.is_some_and(is_left_behind) {
            return Err(still_no_answer());
        }
        *left_behind = None;
        let helper = if uses_children() { Some(Helper::start()?) } else { None };
        let deadline = Instant::now() + timeout;
        Ok(FileSession { left_behind, helper, timeout, deadline, has_timed_out: false })
    }

    /// Fails while an earlier child waits for storage.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn check(&self) -> io::Result<()> {
        let left_behind = *self.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        if left_behind.is_some_and(is_left_behind) { Err(still_no_answer()) } else { Ok(()) }
    }
}

impl FileSession<'_> {
    fn call(&mut self, request: Request) -> io::Result<Reply> {
        let Some(helper) = &mut self.helper else { return execute(request, Vec::new()) };
        let result = if self.has_timed_out {
            Err(ErrorKind::TimedOut.into())
        } else {
            helper.call(&request, &[], self.deadline)
        };
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) && !have_worked() {
            self.helper = None;
            return execute(request, Vec::new());
        }
        result.map_err(|error| match error.kind() {
            ErrorKind::TimedOut if error.raw_os_error().is_none() => {
                self.has_timed_out = true;
                no_answer(self.timeout)
            }
            _ => error,
        })
    }

    /// Replaces a file atomically; everybody may read it.
    ///
    /// # Errors
    /// Those of writing and renaming; `TimedOut`, as for all operations.
    pub fn replace(&mut self, path: &Path, text: Vec<u8>) -> io::Result<()> {
        self.replace_with_mode(path, PUBLIC, text)
    }

    /// The same for a file that only this user may read.
    ///
    /// # Errors
    /// Those of [`FileSession::replace`].
    pub fn replace_private(&mut self, path: &Path, text: Vec<u8>) -> io::Result<()> {
        self.replace_with_mode(path, PRIVATE, text)
    }

    fn replace_with_mode(&mut self, path: &Path, mode: u32, text: Vec<u8>) -> io::Result<()> {
        let request = Request::Replace { path: path.to_owned(), owner: std::process::id(), mode, text };
        self.call(request).map(drop)
    }

    /// Opens the saved state of the last daemon. `records` is the size of its records, `limit` that of its text.
    ///
    /// # Errors
    /// Another daemon has the lock, or it cannot be made.
    pub fn open_state(&mut self, path: &Path, limit: u64, records: u64) -> io::Result<OpenedState> {
        let reply = self.call(Request::OpenState { path: path.to_owned(), limit, records })?;
        let lock = reply.descriptor.ok_or(ErrorKind::InvalidData)?;
        let mut fields = reply.fields.into_iter();
        let records = fields.next().ok_or(ErrorKind::InvalidData)?;
        let text = fields.next().ok_or(ErrorKind::InvalidData)?;
        let refusal = fields.next().map(|why| String::from_utf8_lossy(&why).into_owned());
        let text = match refusal {
            Some(why) if why.is_empty() => StateText::None,
            Some(why) => StateText::Refused(why),
            None => StateText::Some(text),
        };
        Ok(OpenedState { lock, records, text })
    }

    /// Reads a regular file of at most 1 MiB.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` for another or a larger file.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let reply = self.call(Request::Read { path: path.to_owned(), limit: MAX_FILE_BYTES })?;
        reply.fields.into_iter().next().ok_or(ErrorKind::InvalidData.into())
    }

    /// Reads the main configuration file, which may be missing unless it is `required`, and its drop-ins. `checked` adds
    /// problems with those who may replace them.
    ///
    /// # Errors
    /// Problems with single files are in the result.
    pub fn read_config(&mut self, path: &Path, required: bool, checked: bool) -> io::Result<ConfigFiles> {
        let reply = self.call(Request::ReadConfig { path: path.to_owned(), required, checked })?;
        let (fingerprints, items) = reply.fields.split_first().ok_or(ErrorKind::InvalidData)?;
        let fingerprints = unpack(fingerprints).ok_or(ErrorKind::InvalidData)?;
        Ok(ConfigFiles {
            fingerprints: fingerprints.into_iter().map(<[u8]>::to_vec).collect(),
            items: items
                .iter()
                .map(|item| decode_item(item))
                .collect::<Option<_>>()
                .ok_or(ErrorKind::InvalidData)?,
        })
    }

    /// The fingerprints of the configuration files.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn fingerprints(&mut self, path: &Path) -> io::Result<Vec<FileFingerprint>> {
        self.call(Request::Fingerprints { path: path.to_owned(), with_drop_ins: true })
            .map(|reply| reply.fields)
    }

    /// The fingerprint of another file. Each has its own request, so that it is known which one does not answer.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn fingerprint(&mut self, path: &Path) -> io::Result<FileFingerprint> {
        let reply = self.call(Request::Fingerprints { path: path.to_owned(), with_drop_ins: false })?;
        reply.fields.into_iter().next().ok_or(ErrorKind::InvalidData.into())
    }

    /// Binds a listening socket, of this group or group id. The file of a daemon that died is replaced.
    ///
    /// # Errors
    /// Those of `bind(2)`, also for any other file and for a daemon that listens; an unknown group.
    pub fn bind(
        &mut self,
        path: &Path,
        mode: u32,
        group: Option<&str>,
    ) -> io::Result<(OwnedFd, SocketIdentity)> {
        let group = group.unwrap_or_default().to_owned();
        let reply = self.call(Request::Bind { path: path.to_owned(), mode, group })?;
        let identity = reply.fields.into_iter().next().ok_or(ErrorKind::InvalidData)?;
        Ok((reply.descriptor.ok_or(ErrorKind::InvalidData)?, SocketIdentity(identity)))
    }

    /// Removes the file that [`FileSession::bind`] made, unless it was replaced.
    ///
    /// # Errors
    /// Those of `unlink(2)`.
    pub fn remove(&mut self, path: &Path, SocketIdentity(identity): SocketIdentity) -> io::Result<()> {
        self.call(Request::Remove { path: path.to_owned(), identity }).map(drop)
    }

    /// Connects to a Unix socket: to a stream, or to whichever kind it is. Returns whether it is a stream.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub fn connect(&mut self, path: &Path, any_kind: bool) -> io::Result<(OwnedFd, bool)> {
        let reply = self.call(Request::Connect { path: path.to_owned(), any_kind })?;
        let is_stream = reply.fields.first().is_some_and(|field| field == &[1]);
        Ok((reply.descriptor.ok_or(ErrorKind::InvalidData)?, is_stream))
    }

    /// The addresses of `HOST:PORT`.
    ///
    /// # Errors
    /// Those of `getaddrinfo(3)`.
    pub fn resolve(&mut self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let reply = self.call(Request::Resolve { name: name.to_owned() })?;
        let parse = |field: &Vec<u8>| std::str::from_utf8(field).ok()?.parse().ok();
        reply.fields.iter().map(parse).collect::<Option<_>>().ok_or(ErrorKind::InvalidData.into())
    }

    /// The certificates that the system trusts, encoded in DER: those that the variables `SSL_CERT_FILE` and `SSL_CERT_DIR`
    /// name, or those of the system's files.
    ///
    /// # Errors
    /// There are none.
    pub fn certificates(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let named = |variable| std::env::var_os(variable).map(PathBuf::from);
        let (file, directory) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
        self.call(Request::Certificates { file, directory }).map(|reply| reply.fields)
    }

    /// These paths without symbolic links, except on mounts that may hang.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn follow_links(&mut self, paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
        let reply = self.call(Request::FollowLinks { paths: paths.to_vec() })?;
        let followed: Vec<PathBuf> = reply.fields.iter().map(|field| to_path(field)).collect();
        if followed.len() == paths.len() { Ok(followed) } else { Err(ErrorKind::InvalidData.into()) }
    }

    /// The mount namespaces that have the file system of this mount, except the watched one: this inode number, or our own.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn holders(&mut self, mount: &Mount, watched: Option<u64>) -> io::Result<Observation<Holders>> {
        let Mount { device_number: device, id: mount_id, .. } = *mount;
        self.call_for_json(Request::Holders { device, mount_id, watched })
    }

    /// The processes that use the file system of this mount, which may be detached.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn users(&mut self, mount: &Mount) -> io::Result<Observation<Users>> {
        let Mount { device_number: device, id: mount_id, .. } = *mount;
        self.call_for_json(Request::Users { device, mount_id })
    }

    /// What `systemctl show` prints about these units, one paragraph each.
    ///
    /// # Errors
    /// systemd does not answer, or there is no systemctl.
    pub fn show_units(&mut self, names: Vec<String>) -> io::Result<Vec<u8>> {
        let reply = self.call(Request::ShowUnits { names })?;
        reply.fields.into_iter().next().ok_or(ErrorKind::InvalidData.into())
    }

    /// What is stacked on files.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn stacked_files(&mut self) -> io::Result<StackedFiles> {
        self.call_for_json(Request::StackedFiles)
    }

    fn call_for_json<T: DeserializeOwned>(&mut self, request: Request) -> io::Result<T> {
        let reply = self.call(request)?;
        Ok(serde_json::from_slice(reply.fields.first().ok_or(ErrorKind::InvalidData)?)?)
    }

    /// Who may replace these programs, if others than root and this user.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn check_programs(&mut self, paths: &[PathBuf]) -> io::Result<Vec<ConfigItem>> {
        let reply = self.call(Request::CheckPrograms { paths: paths.to_vec() })?;
        reply
            .fields
            .iter()
            .map(|item| decode_item(item))
            .collect::<Option<_>>()
            .ok_or(ErrorKind::InvalidData.into())
    }
}

impl Drop for FileSession<'_> {
    fn drop(&mut self) {
        *self.left_behind = self.helper.take().and_then(Helper::end);
    }
}

/// The identity of the file of a socket.
#[derive(Debug)]
pub struct SocketIdentity(Vec<u8>);

/// What the last daemon has left.
#[derive(Debug)]
pub struct OpenedState {
    /// The file of the lock, which is held while it is open.
    pub lock: OwnedFd,
    /// The bytes of this file, if it lies in memory; otherwise empty.
    pub records: Vec<u8>,
    pub text: StateText,
}

#[derive(PartialEq, Eq, Debug)]
pub enum StateText {
    None,
    Some(Vec<u8>),
    /// It cannot be read, or is not ours: why.
    Refused(String),
}

/// It differs after every change of a file.
pub type FileFingerprint = Vec<u8>;

/// What was read of the configuration.
#[derive(Debug, Default)]
pub struct ConfigFiles {
    /// From before the files were read.
    pub fingerprints: Vec<FileFingerprint>,
    /// In the order in which the files apply.
    pub items: Vec<ConfigItem>,
}

/// Something about a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigItem {
    pub path: PathBuf,
    pub kind: ConfigItemKind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigItemKind {
    Text(Vec<u8>),
    Problem(String),
    /// Another user could replace it: what that user can write, and why.
    Refused {
        part: PathBuf,
        why: String,
    },
    Warning {
        part: PathBuf,
        why: String,
    },
}

fn decode_item(packed: &[u8]) -> Option<ConfigItem> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (path, kind) = match *unpack(packed)?.as_slice() {
        [&[TEXT], path, bytes] => (path, ConfigItemKind::Text(bytes.to_vec())),
        [&[PROBLEM], path, bytes] => (path, ConfigItemKind::Problem(text(bytes))),
        [&[PROBLEM], path, why, part] => {
            (path, ConfigItemKind::Refused { part: to_path(part), why: text(why) })
        }
        [_, path, why, part] => (path, ConfigItemKind::Warning { part: to_path(part), why: text(why) }),
        _ => return None,
    };
    Some(ConfigItem { path: to_path(path), kind })
}
