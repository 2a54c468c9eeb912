//! Reading `/proc`, in bounded pieces.

use crate::evidence::Observation;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// The fields of `proc_pid_stat(5)` that are wanted here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stat {
    pub(super) name: Vec<u8>,
    pub(super) state: char,
    pub(super) parent: u32,
    pub(super) is_kernel_thread: bool,
    pub(super) started: u64,
}

/// `PF_KTHREAD` of the kernel's `sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;

impl Stat {
    /// The name can hold anything, parentheses too: what follows comes after its last one.
    pub(super) fn parse(text: &[u8]) -> Option<Stat> {
        let start = text.iter().position(|&byte| byte == b'(')?;
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let flags: u64 = fields.nth(4)?.parse().ok()?; // field 9 of the manual
        let started = fields.nth(12)?.parse().ok()?; // field 22
        let is_kernel_thread = flags & KERNEL_THREAD != 0;
        Some(Stat { name: text.get(start + 1..end)?.to_vec(), state, parent, is_kernel_thread, started })
    }
}

/// What fits into the buffer of a file that is read whole.
pub(super) fn read<'a>(path: &Path, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut file = File::open(path)?;
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(&buffer[..length])
}

/// At most so much of a longer file.
pub(super) fn read_up_to(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn is_refusal(error: &io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

/// Why there is nothing.
pub(super) fn nothing<T>(error: &io::Error) -> Observation<T> {
    if is_refusal(error) { Observation::NeedsRoot } else { Observation::Unknown }
}

/// The numbers among the names of a directory.
pub(super) fn numbers(directory: &Path) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A function's name, without what a compiler hung on it (`.constprop.0`).
pub(super) fn plain_function(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The functions of a `stack` file, the innermost first.
pub(super) fn functions(stack: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stack);
    let named = text.lines().filter_map(|line| {
        let name = line.split_once("] ").map_or(line, |(_, rest)| rest);
        let name = name.split(['+', '/', ' ']).next()?.trim();
        (!name.is_empty() && !name.starts_with("0x")).then(|| name.to_owned())
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_with_an_odd_name() {
        let text = b"7 (a) b ( c) D 3 7 7 0 -1 4194560 9 0 0 0 11 22 0 0 20 0 3 0 444 5555 66\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.name.as_slice(), stat.state, stat.parent), (&b"a) b ( c"[..], 'D', 3));
        assert_eq!((stat.is_kernel_thread, stat.started), (false, 444));
        let text = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0\n";
        assert!(Stat::parse(text).unwrap().is_kernel_thread);
        for text in [&b""[..], b"7", b"7 (", b") (", b"7 (a)", b"7 (a) S x", b"7 (a) S 1 2 3"] {
            assert_eq!(Stat::parse(text), None);
        }
    }

    #[test]
    fn functions_of_a_stack() {
        let stack =
            b"[<0>] request_wait_answer+0x112/0x210\n[<0>] nfs_x.isra.0+0x1/0x2 [nfs]\n[<0>] 0x12\n\n";
        assert_eq!(functions(stack), ["request_wait_answer", "nfs_x.isra.0"]);
        assert_eq!(plain_function("nfs_x.isra.0"), "nfs_x");
    }
}
