//! Executes commands on the mounts that are served.

use crate::command::{Action, Behaviour, Command, MountOptions, Selection};
use crate::files::{DelayedReply, Files, Shared};
use crate::source::Source;
use fuser::{Config, Notifier, Session, SessionACL};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// The session threads only wait for other threads.
const STACK_BYTES: usize = 64 * 1024;

pub(crate) struct Mounts {
    served: BTreeMap<PathBuf, Served>,
    later: Sender<DelayedReply>,
}

struct Served {
    shared: Arc<Shared>,
    source: Arc<Source>,
    /// Only with a source: it keeps the connection open when the session has ended.
    notifier: Option<Notifier>,
    /// The device of a `noinit` mount: closing it would end the mount.
    _unread: Option<File>,
}

impl Mounts {
    pub(crate) fn new() -> Mounts {
        let (later, late) = mpsc::channel();
        thread::spawn(move || send_delayed_replies(&late));
        Mounts { served: BTreeMap::new(), later }
    }

    pub(crate) fn execute(&mut self, Command { mounts, action }: Command) -> Result<String, String> {
        let paths = match mounts {
            Selection::All => self.served.keys().cloned().collect(),
            Selection::Paths(paths) => paths,
        };
        let mut result = String::new();
        for path in &paths {
            let served = self.served.get(path).ok_or_else(|| format!("{} is not served", path.display()));
            match &action {
                Action::Mount(options) => self.mount(path, options).map_err(|e| e.to_string())?,
                Action::SetBehaviour(behaviour) => served?.shared.set_behaviour(*behaviour),
                Action::Release => served?.shared.release(),
                Action::Count => result = served?.shared.counts(),
                Action::Forget => served?.forget().map_err(|e| e.to_string())?,
                Action::Unmount => umount2(path, MntFlags::MNT_DETACH).map_err(|e| e.to_string())?,
                Action::Disconnect => abort(path).map_err(|e| format!("abort: {e}"))?,
            }
        }
        Ok(result)
    }

    /// Does not use the crate's mount function, which makes this process the owner of every mount.
    fn mount(&mut self, path: &Path, options: &MountOptions) -> io::Result<()> {
        std::fs::create_dir_all(path)?;
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        let mut data = format!(
            "fd={},rootmode=40000,user_id={owner},group_id={owner}",
            device.as_raw_fd(),
            owner = options.owner
        );
        if options.allow_other {
            data.push_str(",allow_other");
        }
        let source = options.fsname.as_deref().unwrap_or("faultfs");
        let fstype = options.subtype.as_ref().map_or_else(|| "fuse".to_owned(), |sub| format!("fuse.{sub}"));
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(source), path, Some(fstype.as_str()), flags, Some(data.as_str()))?;

        let behaviour = if options.mute { Behaviour::Mute } else { Behaviour::Reply };
        let shared = Arc::new(Shared::new(behaviour));
        let source = Arc::new(Source::open(options.source.as_deref())?);
        let mut served =
            Served { shared: shared.clone(), source: source.clone(), notifier: None, _unread: None };
        if options.noinit {
            served._unread = Some(device);
        } else {
            let files = Files { shared, source, attr_ttl: options.attr_ttl, later: self.later.clone() };
            let session = Session::from_fd(files, device.into(), SessionACL::All, Config::default())?;
            served.notifier = options.source.is_some().then(|| session.notifier());
            // Ends with the mount.
            thread::Builder::new().stack_size(STACK_BYTES).spawn(move || drop(session.run()))?;
        }
        self.served.insert(path.to_owned(), served);
        Ok(())
    }
}

impl Served {
    fn forget(&self) -> io::Result<()> {
        let Some(notifier) = &self.notifier else { return Ok(()) };
        self.source.inodes().try_for_each(|inode| notifier.inval_inode(inode, 0, 0))
    }
}

/// Aborts the connection, which clients see as the end of the server.
fn abort(path: &Path) -> io::Result<()> {
    let minor = minor_of(path)?.ok_or_else(|| io::Error::other("not in the mount table"))?;
    let file = format!("{CONNECTIONS}/{minor}/abort");
    if !Path::new(&file).exists() {
        mount(Some("none"), CONNECTIONS, Some("fusectl"), MsFlags::empty(), None::<&str>)?;
    }
    std::fs::write(file, "1")
}

/// Read from the mount table, because stat(2) on the path could hang.
fn minor_of(path: &Path) -> io::Result<Option<String>> {
    let wanted = escape(path.as_os_str().as_bytes());
    let table = std::fs::read("/proc/self/mountinfo")?;
    // The last entry is the topmost mount.
    Ok(table.split(|&b| b == b'\n').rev().find_map(|line| {
        let mut fields = line.split(|&b| b == b' ').skip(2);
        let (_, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
        (fields.nth(1)? == wanted).then(|| minor.to_owned())
    }))
}

fn escape(path: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(path.len());
    for &byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => text.extend(format!("\\{byte:03o}").bytes()),
            _ => text.push(byte),
        }
    }
    text
}

fn send_delayed_replies(arrivals: &mpsc::Receiver<DelayedReply>) {
    let mut waiting: Vec<DelayedReply> = Vec::new();
    loop {
        let now = Instant::now();
        let next = waiting.iter().map(|late| late.at).min();
        let arrived = match next {
            None => arrivals.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => arrivals.recv_timeout(at.saturating_duration_since(now)),
        };
        match arrived {
            Ok(late) => waiting.push(late),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let (due, rest) = waiting.into_iter().partition::<Vec<_>, _>(|late| late.at <= now);
        waiting = rest;
        for DelayedReply { pending, errno, .. } in due {
            match errno {
                None => pending.reply(),
                Some(errno) => pending.reply_error(errno),
            }
        }
    }
}
