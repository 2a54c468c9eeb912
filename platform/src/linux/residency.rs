//! Running from memory. A page of a program or library that the kernel has dropped is read again from its file when it
//! is needed; if that storage hangs, so does the process, and no signal ends it. Here every mapping of a file is replaced
//! by a copy of its content that no file backs: afterwards the storage of the program and its libraries may hang, change
//! or disappear.
//!
//! What may not be written is shared by all children: it is mapped from one sealed memfd. The kernel permits to map a
//! memfd executable under every `vm.memfd_noexec`, because that only forbids to *execute* it, and under
//! `MemoryDenyWriteExecute=` of systemd, because no mapping is writable and executable. Security modules may refuse.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set in this process and inherited by its forks.
static RUNS_FROM_MEMORY: AtomicBool = AtomicBool::new(false);

/// Whether [`run_from_memory`] has succeeded in this process, or in the one that it was forked from.
#[must_use]
pub fn runs_from_memory() -> bool {
    RUNS_FROM_MEMORY.load(Ordering::Relaxed)
}

/// Replaces every mapping of a file by memory. Nothing is replaced if any mapping may not be.
///
/// # Errors
/// The process has other threads; `/proc` is not mounted; the system refuses.
pub fn run_from_memory() -> io::Result<()> {
    if runs_from_memory() {
        return Ok(());
    }
    // Another thread could write to a mapping while it is copied.
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("other threads exist already"));
    }
    let mappings = file_mappings(&fs::read_to_string("/proc/self/maps")?)?;
    let (writable, constant): (Vec<Mapping>, Vec<Mapping>) = mappings.into_iter().partition(|it| it.writable);
    let copy = sealed_copy(&constant)?;
    let mut offset = 0;
    for mapping in &constant {
        let trial = mapping.map_copy(&copy, offset, None)?;
        // SAFETY: nothing uses this new mapping.
        unsafe { libc::munmap(trial, mapping.length) };
        offset += mapping.length;
    }
    offset = 0;
    for mapping in &constant {
        mapping.map_copy(&copy, offset, Some(mapping.start))?;
        offset += mapping.length;
    }
    for mapping in &writable {
        mapping.move_to_memory()?;
    }
    RUNS_FROM_MEMORY.store(true, Ordering::Relaxed);
    Ok(())
}

/// A private mapping of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mapping {
    start: usize,
    length: usize,
    protection: c_int,
    writable: bool,
}

/// The private mappings of files in the text of `/proc/PID/maps`. Left out are those that nothing can read: gaps between
/// the segments of a library.
fn file_mappings(maps: &str) -> io::Result<Vec<Mapping>> {
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let (start, end) = (number(start)?, number(end)?);
        let flags = fields.next()?.as_bytes();
        let inode = fields.nth(2)?;
        let flag = |at: usize, letter, bit| if flags.get(at) == Some(&letter) { bit } else { 0 };
        let protection =
            flag(0, b'r', libc::PROT_READ) | flag(1, b'w', libc::PROT_WRITE) | flag(2, b'x', libc::PROT_EXEC);
        let is_private = flags.get(3) == Some(&b'p');
        let writable = protection & libc::PROT_WRITE != 0;
        let mapping = Mapping { start, length: end.checked_sub(start)?, protection, writable };
        Some((inode != "0" && is_private && protection & libc::PROT_READ != 0).then_some(mapping))
    };
    maps.lines()
        .map(parse)
        .collect::<Option<Vec<_>>>()
        .map(|found| found.into_iter().flatten().collect())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/maps is not understood"))
}

impl Mapping {
    /// Maps its part of the copy, with its protection: at this address, or anywhere.
    fn map_copy(&self, copy: &File, offset: usize, at: Option<usize>) -> io::Result<*mut c_void> {
        let flags = libc::MAP_PRIVATE | at.map_or(0, |_| libc::MAP_FIXED);
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        let address = at.unwrap_or(0) as *mut c_void;
        // SAFETY: a new mapping, or one that takes the place of a mapping with equal bytes and protection that nobody can
        // write; the caller checked that it will not be refused. The copy is sealed, so its bytes stay.
        match unsafe { libc::mmap(address, self.length, self.protection, flags, copy.as_raw_fd(), offset) } {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            mapped => Ok(mapped),
        }
    }

    /// Replaces a writable mapping by anonymous memory with the same content.
    fn move_to_memory(&self) -> io::Result<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping. Then its bytes are copied from a mapping of the same length, which nobody else writes:
        // there is no other thread, and none of these calls stores anything in static memory if it succeeds. At last it
        // takes the place of that mapping in one step.
        unsafe {
            let memory = libc::mmap(std::ptr::null_mut(), self.length, self.protection, flags, -1, 0);
            if memory == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let place = self.start as *mut c_void;
            std::ptr::copy_nonoverlapping(place.cast::<u8>(), memory.cast::<u8>(), self.length);
            let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            if libc::mremap(memory, self.length, self.length, how, place) == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// The bytes of these mappings, one after the other, in a file in memory that nobody can change any more.
fn sealed_copy(mappings: &[Mapping]) -> io::Result<File> {
    let total: usize = mappings.iter().map(|mapping| mapping.length).sum();
    // Beyond this limit a write would end the process by SIGXFSZ.
    if getrlimit(Resource::RLIMIT_FSIZE)?.0 < total as u64 {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    let mut copy = File::from(memory_file(c"mount_status_monitor")?);
    for mapping in mappings {
        // SAFETY: a readable mapping of this length, which nobody can write.
        copy.write_all(unsafe { std::slice::from_raw_parts(mapping.start as *const u8, mapping.length) })?;
    }
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(copy)
}

/// An empty file in memory that may not be executed.
pub(crate) fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    let create = |flags: c_uint| {
        // SAFETY: the name is NUL-terminated.
        match unsafe {
            libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | flags)
        } {
            -1 => Err(Errno::last()),
            // SAFETY: a new descriptor that nothing else owns.
            fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    };
    match create(libc::MFD_NOEXEC_SEAL) {
        Err(Errno::EINVAL) => Ok(create(0)?), // before Linux 6.3
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_mappings_of_files_are_replaced() {
        let maps = "55d0c0000000-55d0c0002000 r-xp 00001000 fe:01 77  /usr/bin/my program\n\
                    55d0c0002000-55d0c0003000 rw-p 00003000 fe:01 77  /usr/bin/my program\n\
                    55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0   [heap]\n\
                    7f0000000000-7f0000001000 ---p 00000000 fe:01 78  /usr/lib/libc.so.6\n\
                    7f0000001000-7f0000002000 r--s 00000000 fe:01 79  /usr/lib/gconv/gconv-modules.cache\n\
                    7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \n\
                    7fff00000000-7fff00002000 r-xp 00000000 00:00 0   [vdso]\n\
                    ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
        let text = Mapping {
            start: 0x55d0_c000_0000,
            length: 0x2000,
            protection: libc::PROT_READ | libc::PROT_EXEC,
            writable: false,
        };
        let data = Mapping {
            start: 0x55d0_c000_2000,
            length: 0x1000,
            protection: libc::PROT_READ | libc::PROT_WRITE,
            writable: true,
        };
        assert_eq!(file_mappings(maps).unwrap(), [text, data]);
        assert!(file_mappings("nonsense").is_err());
    }

    /// The test runner has threads.
    #[test]
    fn process_with_threads_is_refused() {
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || receiver.recv());
        assert_eq!(run_from_memory().unwrap_err().to_string(), "other threads exist already");
        assert!(!runs_from_memory());
    }
}
