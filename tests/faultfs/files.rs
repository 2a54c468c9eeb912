//! What is in the file system (a root directory with one file), and how its requests are answered or not.

use crate::command::Behaviour;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, OpenFlags, ReplyAttr,
    ReplyDirectory, ReplyEntry, ReplyOpen, ReplyStatfs, Request,
};
use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

const FILE: INodeNo = INodeNo(2);

/// What the commands and the session of one mount share.
pub(crate) struct Shared {
    behaviour: Mutex<Behaviour>,
    kept: Mutex<Vec<Kept>>,
    getattrs: AtomicU64,
    statfses: AtomicU64,
}

impl Shared {
    pub(crate) fn new(behaviour: Behaviour) -> Shared {
        Shared {
            behaviour: Mutex::new(behaviour),
            kept: Mutex::default(),
            getattrs: AtomicU64::new(0),
            statfses: AtomicU64::new(0),
        }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    pub(crate) fn release(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        kept.into_iter().for_each(Kept::answer);
    }

    pub(crate) fn counts(&self) -> String {
        format!(
            "getattr={} statfs={} kept={}",
            self.getattrs.load(Ordering::Relaxed),
            self.statfses.load(Ordering::Relaxed),
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
        )
    }
}

/// A request that is not answered yet, with the answer that it would get.
pub(crate) enum Kept {
    Attr(ReplyAttr, Duration, FileAttr),
    Entry(ReplyEntry, Duration),
    Statfs(ReplyStatfs),
    Open(ReplyOpen),
    Directory(ReplyDirectory, u64),
}

impl Kept {
    pub(crate) fn answer(self) {
        match self {
            Kept::Attr(reply, ttl, attr) => reply.attr(&ttl, &attr),
            Kept::Entry(reply, ttl) => reply.entry(&ttl, &file(), Generation(0)),
            Kept::Statfs(reply) => reply.statfs(1000, 600, 500, 100, 50, 4096, 255, 4096),
            Kept::Open(reply) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Kept::Directory(mut reply, offset) => {
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

    pub(crate) fn refuse(self, errno: Errno) {
        match self {
            Kept::Attr(reply, ..) => reply.error(errno),
            Kept::Entry(reply, _) => reply.error(errno),
            Kept::Statfs(reply) => reply.error(errno),
            Kept::Open(reply) => reply.error(errno),
            Kept::Directory(reply, _) => reply.error(errno),
        }
    }
}

/// A request to be answered at a moment that is yet to come.
pub(crate) struct Late {
    pub(crate) at: Instant,
    pub(crate) kept: Kept,
    pub(crate) errno: Option<Errno>,
}

pub(crate) struct Files {
    pub(crate) shared: Arc<Shared>,
    pub(crate) attr_ttl: Duration,
    pub(crate) later: Sender<Late>,
}

impl Files {
    fn serve(&self, request: Kept) {
        let behaviour = *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = |request| self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        // The only other end of the channel lives as long as the process.
        let later =
            |kept, span, errno| drop(self.later.send(Late { at: Instant::now() + span, kept, errno }));
        match behaviour {
            Behaviour::Answer => request.answer(),
            Behaviour::Mute => keep(request),
            Behaviour::MuteStatfs if matches!(request, Kept::Statfs(_)) => keep(request),
            Behaviour::MuteStatfs => request.answer(),
            Behaviour::Fail(errno) => request.refuse(errno),
            Behaviour::Delay(span) => later(request, span, None),
            Behaviour::Soft(span, errno) => later(request, span, Some(errno)),
        }
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "file" {
            self.serve(Kept::Entry(reply, self.attr_ttl));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.shared.getattrs.fetch_add(1, Ordering::Relaxed);
        let attr = if inode == FILE { file() } else { root() };
        self.serve(Kept::Attr(reply, self.attr_ttl, attr));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.shared.statfses.fetch_add(1, Ordering::Relaxed);
        self.serve(Kept::Statfs(reply));
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.serve(Kept::Open(reply));
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.serve(Kept::Directory(reply, offset));
    }
}

fn root() -> FileAttr {
    attributes(INodeNo::ROOT, FileType::Directory, 0o755)
}

fn file() -> FileAttr {
    attributes(FILE, FileType::RegularFile, 0o644)
}

fn attributes(ino: INodeNo, kind: FileType, perm: u16) -> FileAttr {
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
