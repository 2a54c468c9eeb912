//! Reading `/proc` in bounded pieces.

use crate::evidence::Observation;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// The used fields of proc_pid_stat(5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stat {
    pub(super) name: Vec<u8>,
    pub(super) state: char,
    pub(super) parent: u32,
    pub(super) is_kernel_thread: bool,
    /// In user and kernel mode.
    pub(super) cpu_ticks: u64,
    pub(super) threads: u64,
    /// In ticks since boot.
    pub(super) started: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_pages: u64,
}

/// `PF_KTHREAD` of the kernel's `sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;

impl Stat {
    pub(super) fn parse(text: &[u8]) -> Option<Stat> {
        // The name (field 2) may contain anything, parentheses too: the next field follows the last one.
        let start = text.iter().position(|&byte| byte == b'(')?;
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().take(22).collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |field_number| field(field_number)?.parse::<u64>().ok();
        Some(Stat {
            name: text.get(start + 1..end)?.to_vec(),
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            is_kernel_thread: number(9)? & KERNEL_THREAD != 0,
            cpu_ticks: number(14)? + number(15)?,
            threads: number(20)?,
            started: number(22)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
        })
    }
}

/// The content of a file, up to the size of the buffer.
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

/// The content of a file, up to `max` bytes.
pub(super) fn read_up_to(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The number in the line `NAME:\tNUMBER` of a file such as `fdinfo`.
pub(super) fn number_field(text: &[u8], name: &str) -> Option<u64> {
    let text = String::from_utf8_lossy(text); // a task's name can be any bytes
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

pub(super) fn is_permission_error(error: &io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

/// The observation that follows from this error.
pub(super) fn not_observed<T>(error: &io::Error) -> Observation<T> {
    if is_permission_error(error) { Observation::NeedsRoot } else { Observation::Unknown }
}

/// The numeric names in a directory.
pub(super) fn numeric_entries(directory: &Path) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A function's name without a suffix of the compiler (`.constprop.0`).
pub(super) fn without_suffix(function: &str) -> &str {
    function.split('.').next().unwrap_or(function)
}

/// The functions of a `stack` file, innermost first.
pub(super) fn stack_functions(stack: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stack);
    let functions = text.lines().filter_map(|line| {
        let name = line.split_once("] ").map_or(line, |(_, rest)| rest);
        let name = name.split(['+', '/', ' ']).next()?.trim();
        (!name.is_empty() && !name.starts_with("0x")).then(|| name.to_owned())
    });
    functions.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_whatever_the_name_contains() {
        let text = b"7 (a) b ( c) D 3 7 7 0 -1 4194560 9 0 0 0 11 22 0 0 20 0 3 0 444 5555 66 18446744073709551615 1\n";
        let expected = Stat {
            name: b"a) b ( c".to_vec(),
            state: 'D',
            parent: 3,
            is_kernel_thread: false,
            cpu_ticks: 33,
            threads: 3,
            started: 444,
            virtual_bytes: 5555,
            resident_pages: 66,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        let text = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0\n";
        assert!(Stat::parse(text).unwrap().is_kernel_thread);
        for text in [&b""[..], b"7", b"7 (", b") (", b"7 (a)", b"7 (a) S x", b"7 (a) S 1 2 3"] {
            assert_eq!(Stat::parse(text), None);
        }
    }

    #[test]
    fn stack_functions_have_no_offsets() {
        let stack =
            b"[<0>] request_wait_answer+0x112/0x210\n[<0>] nfs_x.isra.0+0x1/0x2 [nfs]\n[<0>] 0x12\n\n";
        assert_eq!(stack_functions(stack), ["request_wait_answer", "nfs_x.isra.0"]);
        assert_eq!(without_suffix("nfs_x.isra.0"), "nfs_x");
    }

    #[test]
    fn number_field_needs_the_whole_name() {
        let info = b"pos:\t0\nflags:\t02\nmnt_id:\t58\nino:\t9\n";
        assert_eq!(number_field(info, "mnt_id"), Some(58));
        assert_eq!(number_field(info, "mnt"), None);
        assert_eq!(number_field(b"pos:\t0\n", "mnt_id"), None);
        let status = b"Name:\t\xff\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(number_field(status, "voluntary_ctxt_switches"), Some(7));
    }
}
