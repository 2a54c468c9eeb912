//! The file system and its injected faults: a root directory with a directory, an empty file, to which writes are lost,
//! and a file of one page. One more file can be created, and keeps what is written.

use crate::command::Behaviour;
use crate::source::Source;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, WriteFlags,
};
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

const FILE: INodeNo = INodeNo(2);
const DATA: INodeNo = INodeNo(3);
const DIRECTORY: INodeNo = INodeNo(4);
const CREATED: INodeNo = INodeNo(5);
/// One page.
const LENGTH: usize = 4096;
/// Opening `data` with this flag bypasses the page cache.
const O_SYNC: i32 = 0o4_010_000;

/// State shared by the commands and the session of a mount.
pub(crate) struct Shared {
    behaviour: Mutex<Behaviour>,
    pending: Mutex<Vec<PendingRequest>>,
    getattr_count: AtomicU64,
    statfs_count: AtomicU64,
    /// The name and the content of the file that was created.
    created: Mutex<Option<(OsString, Vec<u8>)>>,
}

impl Shared {
    pub(crate) fn new(behaviour: Behaviour) -> Shared {
        Shared {
            behaviour: Mutex::new(behaviour),
            pending: Mutex::default(),
            getattr_count: AtomicU64::new(0),
            statfs_count: AtomicU64::new(0),
            created: Mutex::default(),
        }
    }

    fn created(&self) -> MutexGuard<'_, Option<(OsString, Vec<u8>)>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_behaviour(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    pub(crate) fn release(&self) {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        pending.into_iter().for_each(PendingRequest::reply);
    }

    pub(crate) fn counts(&self) -> String {
        format!(
            "getattr={} statfs={} pending={}",
            self.getattr_count.load(Ordering::Relaxed),
            self.statfs_count.load(Ordering::Relaxed),
            self.pending.lock().unwrap_or_else(PoisonError::into_inner).len()
        )
    }
}

/// A pending request with its normal reply.
pub(crate) enum PendingRequest {
    Attr(ReplyAttr, Duration, FileAttr),
    Entry(ReplyEntry, Duration, FileAttr),
    Data(ReplyData, Vec<u8>),
    Statfs(ReplyStatfs),
    Open(ReplyOpen),
    Directory(ReplyDirectory, u64),
    Write(ReplyWrite, u32),
    Flush(ReplyEmpty),
}

impl PendingRequest {
    pub(crate) fn reply(self) {
        match self {
            PendingRequest::Attr(reply, ttl, attr) => reply.attr(&ttl, &attr),
            PendingRequest::Entry(reply, ttl, attr) => reply.entry(&ttl, &attr, Generation(0)),
            PendingRequest::Data(reply, bytes) => reply.data(&bytes),
            PendingRequest::Statfs(reply) => reply.statfs(1000, 600, 500, 100, 50, 4096, 255, 4096),
            PendingRequest::Open(reply) => reply.opened(FileHandle(0), FopenFlags::empty()),
            PendingRequest::Write(reply, length) => reply.written(length),
            PendingRequest::Flush(reply) => reply.ok(),
            PendingRequest::Directory(mut reply, offset) => {
                let entries = [
                    (INodeNo::ROOT, FileType::Directory, "."),
                    (INodeNo::ROOT, FileType::Directory, ".."),
                    (FILE, FileType::RegularFile, "file"),
                ];
                for (next, (inode, kind, name)) in (1..).zip(entries) {
                    if next > offset && reply.add(inode, next, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
        }
    }

    pub(crate) fn reply_error(self, errno: Errno) {
        match self {
            PendingRequest::Attr(reply, ..) => reply.error(errno),
            PendingRequest::Entry(reply, ..) => reply.error(errno),
            PendingRequest::Data(reply, _) => reply.error(errno),
            PendingRequest::Statfs(reply) => reply.error(errno),
            PendingRequest::Open(reply) => reply.error(errno),
            PendingRequest::Directory(reply, _) => reply.error(errno),
            PendingRequest::Write(reply, _) => reply.error(errno),
            PendingRequest::Flush(reply) => reply.error(errno),
        }
    }
}

/// A pending request with the time of its reply.
pub(crate) struct DelayedReply {
    pub(crate) at: Instant,
    pub(crate) pending: PendingRequest,
    pub(crate) errno: Option<Errno>,
}

pub(crate) struct Files {
    pub(crate) shared: Arc<Shared>,
    pub(crate) source: Arc<Source>,
    pub(crate) attr_ttl: Duration,
    pub(crate) later: Sender<DelayedReply>,
}

impl Files {
    fn serve(&self, request: PendingRequest) {
        let behaviour = *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = |request| self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        // The receiver is never dropped.
        let later = |pending, delay, errno| {
            let _ = self.later.send(DelayedReply { at: Instant::now() + delay, pending, errno });
        };
        match behaviour {
            Behaviour::Reply => request.reply(),
            Behaviour::Mute => keep(request),
            Behaviour::MuteStatfs if matches!(request, PendingRequest::Statfs(_)) => keep(request),
            Behaviour::MuteStatfs => request.reply(),
            Behaviour::MuteData if matches!(request, PendingRequest::Data(..)) => keep(request),
            Behaviour::MuteData | Behaviour::MuteWrites if matches!(request, PendingRequest::Write(..)) => {
                keep(request);
            }
            Behaviour::FailWrites(errno) if matches!(request, PendingRequest::Write(..)) => {
                request.reply_error(errno);
            }
            Behaviour::MuteData | Behaviour::MuteWrites | Behaviour::FailWrites(_) => request.reply(),
            Behaviour::Fail(errno) => request.reply_error(errno),
            Behaviour::Delay(delay) => later(request, delay, None),
            Behaviour::Soft(delay, errno) => later(request, delay, Some(errno)),
        }
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if let Some(found) = self.source.lookup(name) {
            return self.serve(PendingRequest::Entry(reply, self.attr_ttl, found));
        }
        if let Some(found) = self.created_attributes(Some(name)) {
            return self.serve(PendingRequest::Entry(reply, self.attr_ttl, found));
        }
        match name.to_str() {
            Some("file") => self.serve(PendingRequest::Entry(reply, self.attr_ttl, file())),
            Some("data") => self.serve(PendingRequest::Entry(reply, self.attr_ttl, data())),
            Some("directory") => self.serve(PendingRequest::Entry(reply, self.attr_ttl, directory())),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.shared.getattr_count.fetch_add(1, Ordering::Relaxed);
        let attr = match inode {
            FILE => file(),
            DATA => data(),
            DIRECTORY => directory(),
            CREATED => self.created_attributes(None).unwrap_or_else(file),
            _ => self.source.attributes(inode).unwrap_or_else(root),
        };
        self.serve(PendingRequest::Attr(reply, self.attr_ttl, attr));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.shared.statfs_count.fetch_add(1, Ordering::Relaxed);
        self.serve(PendingRequest::Statfs(reply));
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let direct = inode == DATA && flags.0 & O_SYNC == O_SYNC;
        reply.opened(FileHandle(0), if direct { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::empty() });
    }

    #[allow(clippy::too_many_arguments)] // signature of the trait
    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if let Some(bytes) = self.source.read(inode, offset, size as usize) {
            self.serve(PendingRequest::Data(reply, bytes));
        } else if let Some((_, content)) = self.shared.created().as_ref().filter(|_| inode == CREATED) {
            let from = content.len().min(usize::try_from(offset).expect("a short file"));
            let to = content.len().min(from + size as usize);
            self.serve(PendingRequest::Data(reply, content[from..to].to_vec()));
        } else if inode == DATA && offset == 0 {
            self.serve(PendingRequest::Data(reply, vec![b'x'; LENGTH]));
        } else {
            reply.data(&[]);
        }
    }

    #[allow(clippy::too_many_arguments)] // signature of the trait
    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = u32::try_from(data.len()).expect("the kernel sends at most a MiB");
        if let Some((_, content)) = self.shared.created().as_mut().filter(|_| inode == CREATED) {
            let offset = usize::try_from(offset).expect("a short file");
            content.resize(content.len().max(offset + data.len()), 0);
            content[offset..offset + data.len()].copy_from_slice(data);
        }
        self.serve(PendingRequest::Write(reply, length));
    }

    fn create(&self, _: &Request, _: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut created = self.shared.created();
        if created.is_some() {
            return reply.error(Errno::EEXIST);
        }
        *created = Some((name.to_owned(), Vec::new()));
        let attr = attributes(CREATED, FileType::RegularFile, 0o600);
        reply.created(&self.attr_ttl, &attr, Generation(0), FileHandle(0), FopenFlags::empty());
    }

    fn unlink(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.shared.created().take_if(|(created, _)| created == name) {
            Some(_) => reply.ok(),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.serve(PendingRequest::Flush(reply));
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.serve(PendingRequest::Open(reply));
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.serve(PendingRequest::Directory(reply, offset));
    }
}

impl Files {
    /// Those of the created file, if there is one (of this name).
    fn created_attributes(&self, name: Option<&OsStr>) -> Option<FileAttr> {
        let created = self.shared.created();
        let (created, content) = created.as_ref()?;
        let size = content.len() as u64;
        let attr = FileAttr { size, ..attributes(CREATED, FileType::RegularFile, 0o600) };
        name.is_none_or(|name| name == created).then_some(attr)
    }
}

fn root() -> FileAttr {
    attributes(INodeNo::ROOT, FileType::Directory, 0o755)
}

fn directory() -> FileAttr {
    attributes(DIRECTORY, FileType::Directory, 0o755)
}

fn file() -> FileAttr {
    attributes(FILE, FileType::RegularFile, 0o644)
}

fn data() -> FileAttr {
    FileAttr { size: LENGTH as u64, blocks: 8, ..attributes(DATA, FileType::RegularFile, 0o644) }
}

pub(crate) fn attributes(ino: INodeNo, kind: FileType, perm: u16) -> FileAttr {
    FileAttr {
        ino,
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
