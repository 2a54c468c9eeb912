//! Names of the mount table that are too long to be kept. A user can make mount points of any length by renaming
//! directories above them, and thousands of these: what is kept of each must be bounded.

use super::mountinfo::{unescape, write_escaped};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The longest name that is kept as it is. A longer path is not accepted by any system call: with its NUL it is longer
/// than `PATH_MAX`.
pub(super) const MAX_NAME: usize = libc::PATH_MAX as usize - 1;
/// What is kept of a longer name: whole components of its start and of its end.
const KEPT_START: usize = 512;
const KEPT_END: usize = 128;
/// Of names longer than this nothing is kept, because a `statmount` buffer cannot hold several of them.
const MAX_READ: usize = 512 << 10;
/// The longest text of a name of [`MAX_READ`] bytes: each can be escaped as `\ooo`.
const MAX_ESCAPED: usize = 4 * MAX_READ;

/// Precedes a shortened name in a line of the text. The kernel writes no such byte in a name: it escapes tabs.
pub(super) const SHORTENED: u8 = b'\t';

/// A name as it is kept, and whether it was shortened. `separator` is that of its components.
pub(super) fn kept(name: &[u8], separator: u8) -> (Cow<'_, OsStr>, bool) {
    if name.len() <= MAX_NAME {
        return (Cow::Borrowed(OsStr::from_bytes(name)), false);
    }
    if name.len() > MAX_READ {
        return (Cow::Owned(unreadable(separator)), true);
    }
    (Cow::Owned(shortened(name, separator, KEPT_START, KEPT_END)), true)
}

/// The name, or if it is longer than this function returns, a short form.
pub(super) fn abbreviated(name: &[u8], separator: u8) -> OsString {
    const START: usize = 64;
    const END: usize = 32;
    if name.len() <= START + END + 48 {
        return OsStr::from_bytes(name).into();
    }
    shortened(name, separator, START, END)
}

fn shortened(name: &[u8], separator: u8, start: usize, end: usize) -> OsString {
    // Two names that differ only in the middle must differ, and the same name must be the same after each reading.
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    let (start, end) = (&name[..start], &name[name.len() - end..]);
    let start_length = start.iter().rposition(|&b| b == separator).map_or(start.len(), |at| at + 1);
    let end_from = end.iter().position(|&b| b == separator).unwrap_or(0);
    let middle = format!("…[{} bytes, {:016x}]…", name.len(), hasher.finish());
    let parts = [&start[..start_length], middle.as_bytes(), &end[end_from..]];
    OsString::from_vec(parts.concat())
}

/// Stands for a name that is too long to be read.
pub(super) fn unreadable(separator: u8) -> OsString {
    let root = if separator == b'/' { "/" } else { "" };
    format!("{root}…[unreadable: longer than {MAX_READ} bytes]").into()
}

/// The field of the text that holds a name, in a line that was read in pieces.
const ROOT: usize = 3;
const MOUNTPOINT: usize = 4;
/// Fields before the optional ones.
const FIXED: usize = 6;
/// Fields between `-` and the options of the superblock, which are the rest of the line.
const AFTER_SEPARATOR: usize = 2;

/// A line that is longer than all its names may be, collected in pieces.
#[derive(Debug)]
pub(super) struct LongLine {
    fields: Vec<Vec<u8>>,
    /// The index of the options of the superblock.
    options: Option<usize>,
}

impl LongLine {
    pub(super) fn new() -> LongLine {
        LongLine { fields: vec![Vec::new()], options: None }
    }

    /// Adds the next bytes of the line, without its newline.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        loop {
            let index = self.fields.len() - 1;
            let is_last = self.options == Some(index);
            let end = if is_last { None } else { bytes.iter().position(|&b| b == b' ') };
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let field = &mut self.fields[index];
            let room = (MAX_ESCAPED + 1).saturating_sub(field.len());
            field.extend_from_slice(&part[..part.len().min(room)]);
            let Some(end) = end else { return };
            if index >= FIXED && field == b"-" {
                self.options = Some(index + 1 + AFTER_SEPARATOR);
            }
            self.fields.push(Vec::new());
            bytes = &bytes[end + 1..];
        }
    }

    /// Appends the line with shortened names, which are marked by [`SHORTENED`].
    pub(super) fn write(&self, text: &mut Vec<u8>) {
        for (index, field) in self.fields.iter().enumerate() {
            if index > 0 {
                text.push(b' ');
            }
            if matches!(index, ROOT | MOUNTPOINT) {
                match kept_of_text(field) {
                    (_, false) => text.extend_from_slice(field),
                    (name, true) => {
                        text.push(SHORTENED);
                        write_escaped(&name, text);
                    }
                }
            } else if self.options == Some(index) {
                let (options, is_shortened) = kept(field, b',');
                text.extend(is_shortened.then_some(SHORTENED));
                text.extend_from_slice(options.as_bytes());
            } else {
                text.extend_from_slice(field);
            }
        }
    }
}

fn kept_of_text(field: &[u8]) -> (OsString, bool) {
    if field.len() > MAX_ESCAPED {
        return (unreadable(b'/'), true);
    }
    let name = unescape(field);
    let (name, is_shortened) = kept(name.as_bytes(), b'/');
    (name.into_owned(), is_shortened)
}

#[cfg(test)]
mod tests {
    use super::super::mountinfo;
    use super::*;

    #[test]
    fn long_name_is_shortened_to_whole_components() {
        let path = |first: &str| format!("/{first}{}/end", "/component".repeat(10_000)).into_bytes();
        let long = path("a");
        let (name, is_shortened) = kept(&long, b'/');
        let text = name.to_str().unwrap();
        assert!(is_shortened && name.len() < KEPT_START + KEPT_END + 64, "{text}");
        assert!(text.starts_with("/a/component/") && text.contains("/…[100006 bytes, "), "{text}");
        assert!(text.ends_with("]…/component/component/end") || text.ends_with("/component/end"), "{text}");
        assert_eq!(kept(&path("a"), b'/').0, name);
        let mut other = path("a");
        other[50_000] = b'X';
        assert_ne!(kept(&other, b'/').0, name, "the middle differs");
        assert_eq!(kept(&[b'x'; MAX_NAME], b'/').0.as_bytes(), [b'x'; MAX_NAME]);
    }

    #[test]
    fn long_line_has_the_names_of_the_whole_line_whatever_the_pieces() {
        let (deep, options) = (format!("/a{}", "/b\\040c".repeat(20_000)), "x=1,".repeat(2_000));
        let line = format!("36 35 0:1 {deep} /m{deep} rw shared:1 - fuse.x a#b rw,user_id=7,{options}");
        let mut whole = Vec::new();
        for size in [1, 7, 4096, line.len()] {
            let mut long = LongLine::new();
            line.as_bytes().chunks(size).for_each(|piece| long.push(piece));
            let mut text = Vec::new();
            long.write(&mut text);
            assert!(whole.is_empty() || text == whole, "pieces of {size}");
            whole = text;
        }
        let mount = mountinfo::parse(&whole).unwrap().remove(0);
        let plain = |text: &str| kept(unescape(text.as_bytes()).as_bytes(), b'/').0.into_owned();
        assert_eq!((mount.id, mount.fstype.to_str()), (36, Some("fuse.x")));
        assert_eq!(
            (mount.root.as_os_str(), mount.mountpoint.as_os_str()),
            (&*plain(&deep), &*plain(&format!("/m{deep}")))
        );
        assert_eq!(*mount.super_options, *kept(format!("rw,user_id=7,{options}").as_bytes(), b',').0);
        assert!(mount.shortened.root && mount.shortened.mountpoint && mount.shortened.super_options);
        assert!(mount.super_options.to_str().unwrap().starts_with("rw,user_id=7,x=1,"));
    }

    #[test]
    fn memory_for_a_line_is_bounded() {
        let mut long = LongLine::new();
        long.push(b"36 35 0:1 / /");
        for _ in 0..1000 {
            long.push(&[b'x'; 64 << 10]);
        }
        long.push(b" rw - tmpfs none rw");
        assert!(long.fields.iter().map(Vec::capacity).sum::<usize>() <= 2 * MAX_ESCAPED + (1 << 10));
        let mut text = Vec::new();
        long.write(&mut text);
        let mount = mountinfo::parse(&text).unwrap().remove(0);
        assert_eq!(
            (mount.mountpoint.as_os_str(), mount.fstype.to_str()),
            (&*unreadable(b'/'), Some("tmpfs"))
        );
    }
}
