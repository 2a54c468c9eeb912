//! Reads or writes a little on a mount whose other calls have succeeded. Nothing is kept open, and no file is left,
//! except by a process that was killed: its file is removed by the next probe.

use super::mount_identity::{is_on_target, last_errno};
use super::thread_identity::{become_file_user, is_current_user};
use crate::{Call, DataKind, DataProbe, Errno, Target};
use nix::NixPath;
use std::ffi::{CStr, CString, OsStr, c_int};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is read or written. A multiple of the block size of nearly all storage; others are accessed through the cache.
const LENGTH: usize = 4096;
/// How often a file is made anew that another monitor of this machine removed or made at the same time.
const MAX_CREATIONS: u32 = 3;
/// Maximum number of entries of the directory that are looked at for files of earlier boots.
const MAX_ENTRIES: usize = 1024;
/// A file of an earlier boot is removed when it is so much older than one made now, by the clock of the storage:
/// machines that share a machine id must not remove the files that the others use now.
const MIN_LEFT_AGE: i64 = 300;

/// No component may be a symbolic link or on another mount, and none may lead out of the mount.
const RESOLVE: u64 =
    libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_XDEV | libc::RESOLVE_BENEATH;

type Failure = (Call, Errno);

#[repr(align(4096))]
struct Block([u8; LENGTH]);

/// Returns whether the page cache was bypassed.
pub(super) fn probe(
    path: &CStr,
    target: &Target<&OsStr>,
    data: &DataProbe,
    on_call: &impl Fn(Call),
) -> Result<bool, Failure> {
    on_call(Call::Identify);
    let root = open_at(libc::AT_FDCWD, path, libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .map_err(|errno| (if errno == Errno::ENOTDIR { Call::Open } else { Call::Identify }, errno))?;
    let root = root.as_fd();
    if !is_on_target(root, target).map_err(|errno| (Call::Identify, errno))? {
        // The caller compares the path again, and then finds this itself.
        return Err((Call::Identify, Errno::ENOENT));
    }
    on_call(Call::Open);
    if let Some(identity) = data.identity.filter(|&identity| !is_current_user(identity)) {
        become_file_user(identity).map_err(|errno| (Call::Open, errno))?;
    }
    match data.kind {
        DataKind::Read => read(root, data, on_call),
        DataKind::Write => write(root, data, on_call),
    }
}

fn read(root: BorrowedFd<'_>, data: &DataProbe, on_call: &impl Fn(Call)) -> Result<bool, Failure> {
    // Without waiting: a file that was replaced by a pipe must not block.
    let file = open_beneath(root, data, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY)
        .and_then(|file| if is_regular(&file)? { Ok(file) } else { Err(Errno::ENXIO) })
        .map_err(|errno| (Call::Open, errno))?;
    let mut file = File { fd: file, is_direct: false };
    file.set_direct(true);
    on_call(Call::Read);
    let mut block = Block([0; LENGTH]);
    let length = file.read(&mut block).map_err(|errno| (Call::Read, errno))?;
    if length == 0 {
        return Err((Call::Read, Errno::EINVAL)); // an empty file proves nothing
    }
    on_call(Call::Close);
    Ok(file.is_direct)
}

fn write(root: BorrowedFd<'_>, data: &DataProbe, on_call: &impl Fn(Call)) -> Result<bool, Failure> {
    let directory =
        open_beneath(root, data, libc::O_RDONLY | libc::O_DIRECTORY).map_err(|errno| (Call::Open, errno))?;
    let directory = directory.as_fd();
    let name = CString::new(data.own_file.as_bytes()).map_err(|_| (Call::Open, Errno::EINVAL))?;
    let mut file = File { fd: create(directory, &name, on_call)?, is_direct: false };
    let written = write_and_compare(&mut file, on_call);
    let made_at = attributes(&file.fd).map(|found| found.st_mtime);
    let is_direct = file.is_direct;
    on_call(Call::Close);
    let closed = close(file.fd).map_err(|errno| (Call::Close, errno));
    on_call(Call::Remove);
    let removed = remove(directory, &name).map_err(|errno| (Call::Remove, errno));
    written.and(closed).and(removed)?;
    if let Ok(made_at) = made_at {
        remove_left(directory, &data.own_file, made_at);
    }
    Ok(is_direct)
}

/// Makes the file, after a left one is removed.
fn create(directory: BorrowedFd<'_>, name: &CStr, on_call: &impl Fn(Call)) -> Result<OwnedFd, Failure> {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_DSYNC;
    let mut creations = 0;
    loop {
        on_call(Call::Remove);
        remove(directory, name).map_err(|errno| (Call::Remove, errno))?;
        on_call(Call::Open);
        creations += 1;
        match open_at(directory.as_raw_fd(), name, flags) {
            Err(Errno::EEXIST) if creations < MAX_CREATIONS => {}
            result => return result.map_err(|errno| (Call::Open, errno)),
        }
    }
}

fn write_and_compare(file: &mut File, on_call: &impl Fn(Call)) -> Result<(), Failure> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let mut block = Block([0; LENGTH]);
    let seed = NUMBER.fetch_add(1, Ordering::Relaxed);
    for (n, part) in (0_u64..).zip(block.0.chunks_exact_mut(8)) {
        part.copy_from_slice(&(seed << 16 | n).to_le_bytes());
    }
    file.set_direct(true);
    on_call(Call::Write);
    file.write(&block).map_err(|errno| (Call::Write, errno))?;
    on_call(Call::Read);
    let mut found = Block([0; LENGTH]);
    let length = file.read(&mut found).map_err(|errno| (Call::Read, errno))?;
    if length == LENGTH && found.0 == block.0 { Ok(()) } else { Err((Call::Compare, Errno::EIO)) }
}

struct File {
    fd: OwnedFd,
    /// `O_DIRECT` is set.
    is_direct: bool,
}

impl File {
    /// Set after opening, because opening with a flag that the file system refuses may create the file and then fail.
    fn set_direct(&mut self, is_direct: bool) {
        let flags = if is_direct { libc::O_DIRECT } else { 0 };
        // SAFETY: integer arguments only; the descriptor is open.
        let is_set = unsafe { libc::fcntl(self.fd.as_raw_fd(), libc::F_SETFL, flags) } == 0;
        self.is_direct = is_direct && is_set;
    }

    /// Repeats a call without `O_DIRECT` if the file system has accepted that flag but not the call.
    fn with_fallback(&mut self, call: impl Fn(&File) -> isize) -> Result<usize, Errno> {
        loop {
            match usize::try_from(call(self)) {
                Ok(length) => return Ok(length),
                Err(_) => match last_errno() {
                    Errno::EINVAL | Errno::EOPNOTSUPP if self.is_direct => self.set_direct(false),
                    errno => return Err(errno),
                },
            }
        }
    }

    fn read(&mut self, block: &mut Block) -> Result<usize, Errno> {
        let buffer = block.0.as_mut_ptr();
        self.with_fallback(|file| {
            let fd = file.fd.as_raw_fd();
            if !file.is_direct {
                // SAFETY: integer arguments only; a failure leaves the pages where they are.
                unsafe { libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_DONTNEED) };
            }
            // SAFETY: the buffer has this length and is not used by anything else during the call.
            unsafe { libc::pread(fd, buffer.cast(), LENGTH, 0) }
        })
    }

    fn write(&mut self, block: &Block) -> Result<(), Errno> {
        let mut done = 0;
        while done < LENGTH {
            let offset = libc::off_t::try_from(done).map_err(|_| Errno::EINVAL)?;
            let rest = &block.0[done..];
            // SAFETY: the buffer has this length.
            let write = |file: &File| unsafe {
                libc::pwrite(file.fd.as_raw_fd(), rest.as_ptr().cast(), rest.len(), offset)
            };
            match self.with_fallback(write)? {
                0 => return Err(Errno::EIO),
                length => done += length,
            }
        }
        Ok(())
    }
}

/// Removes files of this machine that an earlier boot has left. What cannot be removed is tried again next time.
fn remove_left(directory: BorrowedFd<'_>, own_file: &str, made_at: i64) {
    let Some((machine, _)) = own_file.rsplit_once('-') else { return };
    for name in names_with(directory, &format!("{machine}-")) {
        let is_old = attributes_of(directory, &name)
            .is_ok_and(|found| made_at.saturating_sub(found.st_mtime) >= MIN_LEFT_AGE);
        if is_old {
            let _ = remove(directory, &name);
        }
    }
}

/// The names with this beginning, among the first entries of the directory.
fn names_with(directory: BorrowedFd<'_>, start: &str) -> Vec<CString> {
    let Ok(fd) = directory.try_clone_to_owned() else { return Vec::new() };
    let fd = fd.into_raw_fd();
    // SAFETY: the descriptor is open and of a directory; the stream owns it from now on, or it is closed below.
    let stream = unsafe { libc::fdopendir(fd) };
    if stream.is_null() {
        // SAFETY: nothing else owns it.
        unsafe { libc::close(fd) };
        return Vec::new();
    }
    let mut names = Vec::new();
    for _ in 0..MAX_ENTRIES {
        // SAFETY: the stream is open and used by this thread alone.
        let entry = unsafe { libc::readdir64(stream) };
        if entry.is_null() {
            break;
        }
        // SAFETY: the entry is valid until the next call, and its name ends with NUL.
        let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) };
        if name.to_bytes().starts_with(start.as_bytes()) {
            names.push(name.to_owned());
        }
    }
    // SAFETY: the stream is open and not used any more.
    unsafe { libc::closedir(stream) };
    names
}

fn open_beneath(root: BorrowedFd<'_>, data: &DataProbe, flags: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: the structure consists of integers; later kernels may have more fields, which are zero.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((flags | libc::O_CLOEXEC).cast_unsigned());
    how.resolve = RESOLVE;
    let open = |path: &CStr| {
        // SAFETY: the path ends with NUL and the structure has the given size.
        let fd = unsafe {
            let size = size_of::<libc::open_how>();
            libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), &raw const how, size)
        };
        owned(c_int::try_from(fd).unwrap_or(-1))
    };
    data.path.as_path().with_nix_path(open).unwrap_or(Err(Errno::EINVAL))
}

fn open_at(at: c_int, path: &CStr, flags: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: the path ends with NUL; the mode is used if the file is created.
    owned(unsafe { libc::openat(at, path.as_ptr(), flags | libc::O_CLOEXEC, 0o600 as libc::c_uint) })
}

fn owned(fd: c_int) -> Result<OwnedFd, Errno> {
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the descriptor is new, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn is_regular(file: &OwnedFd) -> Result<bool, Errno> {
    attributes(file).map(|found| found.st_mode & libc::S_IFMT == libc::S_IFREG)
}

fn attributes(file: &OwnedFd) -> Result<libc::stat64, Errno> {
    let mut found = std::mem::MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: the buffer has the type that the call fills.
    let result = unsafe { libc::fstat64(file.as_raw_fd(), found.as_mut_ptr()) };
    // SAFETY: if the call succeeded, it has filled the buffer.
    if result == 0 { Ok(unsafe { found.assume_init() }) } else { Err(last_errno()) }
}

fn attributes_of(directory: BorrowedFd<'_>, name: &CStr) -> Result<libc::stat64, Errno> {
    let mut found = std::mem::MaybeUninit::<libc::stat64>::uninit();
    let (fd, flags) = (directory.as_raw_fd(), libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: the name ends with NUL and the buffer has the type that the call fills.
    let result = unsafe { libc::fstatat64(fd, name.as_ptr(), found.as_mut_ptr(), flags) };
    // SAFETY: if the call succeeded, it has filled the buffer.
    if result == 0 { Ok(unsafe { found.assume_init() }) } else { Err(last_errno()) }
}

/// No error if there is none.
fn remove(directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // SAFETY: the name ends with NUL.
    match unsafe { libc::unlinkat(directory.as_raw_fd(), name.as_ptr(), 0) } {
        0 => Ok(()),
        _ => Some(last_errno()).filter(|&errno| errno != Errno::ENOENT).map_or(Ok(()), Err),
    }
}

/// Storage may report only now what a write has met.
fn close(file: OwnedFd) -> Result<(), Errno> {
    // SAFETY: the descriptor is open and owned by nothing else now.
    if unsafe { libc::close(file.into_raw_fd()) } == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
#[path = "data_probe_tests.rs"]
mod tests;
