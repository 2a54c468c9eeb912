//! The text of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)), byte for byte: a parser that borrows, for the watch
//! that re-reads the table on every change, and a writer that escapes as the kernel does, for tests.
//!
//! Names may hold any byte but NUL. The kernel writes blank, tab, newline and backslash as `\ooo`, in types and
//! devices also `#` (`fs/proc_namespace.c`); each file system writes its own options, so these are kept as written.

use crate::{DeviceNumber, Mount, MountKey};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Bytes of a bad line that its error quotes.
const QUOTED: usize = 160;

/// Escaped in every name.
const BLANKS: &[u8] = b" \t\n\\";
/// Escaped in types and devices, where a `#` at the start of a line would be a comment of fstab(5).
const BLANKS_AND_HASH: &[u8] = b" \t\n\\#";

/// All entries of a mountinfo text in its order, each with its own id (field 1) as the key.
///
/// # Errors
/// `InvalidData` quoting the first line that cannot be understood.
pub fn parse(text: &[u8]) -> io::Result<Vec<Mount>> {
    lines(text).map(|line| line.map(|line| line.to_mount(line.own_key()))).collect()
}

/// Appends the line that the kernel would show for this mount, with its newline. Optional fields are left out, and
/// `options` and `super_options` go as they are: they must hold no newline, `options` no blank either.
pub fn write_line(mount: &Mount, text: &mut Vec<u8>) {
    let mut put = |bytes: &[u8]| text.extend_from_slice(bytes);
    put(format!("{} {} {} ", mount.id, mount.parent, mount.device_number).as_bytes());
    put(&escape(mount.root.as_bytes(), BLANKS));
    put(b" ");
    put(&escape(mount.mountpoint.as_os_str().as_bytes(), BLANKS));
    put(b" ");
    put(mount.options.as_bytes());
    put(b" - ");
    put(&escape(mount.fstype.as_bytes(), BLANKS_AND_HASH));
    put(b" ");
    put(&escape(mount.device.as_bytes(), BLANKS_AND_HASH));
    put(b" ");
    put(mount.super_options.as_bytes());
    put(b"\n");
}

/// The lines of a text, the last of which may lack its newline.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = io::Result<Line<'_>>> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let rows = (!text.is_empty()).then(|| text.split(|&b| b == b'\n'));
    rows.into_iter().flatten().map(|row| Line::parse(row).ok_or_else(|| bad_line(row)))
}

/// One line, its names still escaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) id: u32,
    parent: u32,
    device_number: DeviceNumber,
    root: &'a [u8],
    mountpoint: &'a [u8],
    options: &'a [u8],
    fstype: &'a [u8],
    device: &'a [u8],
    /// In two parts, between which a `,mand` was left out.
    super_options: [&'a [u8]; 2],
}

impl<'a> Line<'a> {
    fn parse(row: &'a [u8]) -> Option<Line<'a>> {
        let mut fields = Fields(Some(row));
        let id = number(fields.next()?)?;
        let parent = number(fields.next()?)?;
        let device_number = device_number(fields.next()?)?;
        let root = fields.name()?;
        let mountpoint = fields.name()?;
        let options = fields.name()?;
        while fields.next()? != b"-" {} // shared:N, master:N, …: any number of them, also unknown ones
        let fstype = fields.name()?;
        let device = fields.next()?; // empty for mount("", …)
        // The rest belongs to the file system, and not each of them has always escaped its blanks.
        let super_options = without_mand(fields.0.unwrap_or_default());
        Some(Line { id, parent, device_number, root, mountpoint, options, fstype, device, super_options })
    }

    /// The key where the kernel has no unique ids.
    pub(super) fn own_key(&self) -> MountKey {
        MountKey(u64::from(self.id))
    }

    pub(super) fn to_mount(self, key: MountKey) -> Mount {
        Mount {
            key,
            id: self.id,
            parent: self.parent,
            device_number: self.device_number,
            root: unescape(self.root),
            mountpoint: unescape(self.mountpoint).into(),
            fstype: unescape(self.fstype),
            device: unescape(self.device),
            options: OsStr::from_bytes(self.options).into(),
            super_options: OsString::from_vec(self.super_options.concat()),
        }
    }

    /// Does it say the same as this entry, whose key has been compared already? Allocates nothing.
    pub(super) fn says(&self, mount: &Mount) -> bool {
        self.id == mount.id
            && self.parent == mount.parent
            && self.device_number == mount.device_number
            && unescapes_to(self.mountpoint, mount.mountpoint.as_os_str())
            && unescapes_to(self.root, &mount.root)
            && unescapes_to(self.fstype, &mount.fstype)
            && unescapes_to(self.device, &mount.device)
            && self.options == mount.options.as_bytes()
            && self.says_super_options(mount.super_options.as_bytes())
    }

    fn says_super_options(&self, options: &[u8]) -> bool {
        let [start, end] = self.super_options;
        options.strip_prefix(start) == Some(end)
    }
}

/// Leaves the flag `mand` out: it means nothing since 5.15, but can still be set and shown here, and `statmount`
/// does not tell it. Only the kernel's own flags are looked at, whose order is fixed.
fn without_mand(options: &[u8]) -> [&[u8]; 2] {
    let mut rest = options.get(2..).unwrap_or_default(); // rw or ro
    for flag in [&b",sync"[..], b",dirsync"] {
        rest = after_flag(rest, flag).unwrap_or(rest);
    }
    match after_flag(rest, b",mand") {
        Some(after) => [&options[..options.len() - rest.len()], after],
        None => [options, b""],
    }
}

fn after_flag<'a>(options: &'a [u8], flag: &[u8]) -> Option<&'a [u8]> {
    options.strip_prefix(flag).filter(|rest| rest.first().is_none_or(|&b| b == b','))
}

/// What is left of a line; `None` once its last field is taken.
struct Fields<'a>(Option<&'a [u8]>);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        match rest.iter().position(|&b| b == b' ') {
            Some(blank) => {
                self.0 = Some(&rest[blank + 1..]);
                Some(&rest[..blank])
            }
            None => self.0.take(),
        }
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        self.next().filter(|name| !name.is_empty())
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |sum, &digit| {
        let value = char::from(digit).to_digit(10)?;
        sum.checked_mul(10)?.checked_add(value)
    })
}

fn device_number(field: &[u8]) -> Option<DeviceNumber> {
    let colon = field.iter().position(|&b| b == b':')?;
    Some(DeviceNumber { major: number(&field[..colon])?, minor: number(&field[colon + 1..])? })
}

fn bad_line(row: &[u8]) -> io::Error {
    let (quoted, more) = match row.get(..QUOTED) {
        Some(start) if row.len() > QUOTED => (start, "…"),
        _ => (row, ""),
    };
    let message = format!("cannot understand this line of mountinfo: \"{}{more}\"", quoted.escape_ascii());
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn escape(name: &[u8], special: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len());
    for &byte in name {
        if special.contains(&byte) {
            write!(escaped, "\\{byte:03o}").expect("writing to a Vec cannot fail");
        } else {
            escaped.push(byte);
        }
    }
    escaped
}

pub(super) fn unescape(name: &[u8]) -> OsString {
    if name.contains(&b'\\') {
        OsString::from_vec(Unescape { rest: name, literal: false }.collect())
    } else {
        OsStr::from_bytes(name).into()
    }
}

fn unescapes_to(name: &[u8], plain: &OsStr) -> bool {
    if name.contains(&b'\\') {
        Unescape { rest: name, literal: false }.eq(plain.as_bytes().iter().copied())
    } else {
        name == plain.as_bytes()
    }
}

/// Takes escapes back exactly as the kernel does for `statmount` (`string_unescape()` in `lib/string_helpers.c`),
/// so that both tell the same name even where a file system shows a raw backslash.
struct Unescape<'a> {
    rest: &'a [u8],
    /// The next byte follows a backslash that escaped nothing, and stands for itself.
    literal: bool,
}

impl Iterator for Unescape<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if first != b'\\' || std::mem::take(&mut self.literal) {
            self.literal = false;
            return Some(first);
        }
        match octal(rest) {
            Some((byte, used)) => {
                self.rest = &rest[used..];
                Some(byte)
            }
            None => {
                self.literal = true;
                Some(first)
            }
        }
    }
}

/// One to three octal digits that fit a byte, and how many they were.
fn octal(digits: &[u8]) -> Option<(u8, usize)> {
    let mut value = 0u8;
    let mut used = 0;
    while let Some(digit @ b'0'..=b'7') = digits.get(used)
        && used < 3
        && value < 32
    {
        value = value * 8 + (digit - b'0');
        used += 1;
    }
    (used > 0).then_some((value, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &[u8]) -> Mount {
        let mounts = parse(line).unwrap();
        assert_eq!(mounts.len(), 1);
        mounts.into_iter().next().unwrap()
    }

    #[test]
    fn a_line_with_all_optional_fields_and_unknown_ones() {
        let mount = one(b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:2 new unbindable - ext3 /dev/root rw,errors=continue\n");
        assert_eq!((mount.id, mount.parent, mount.key), (36, 35, MountKey(36)));
        assert_eq!(mount.device_number, DeviceNumber { major: 98, minor: 0 });
        assert_eq!(mount.root, "/mnt1");
        assert_eq!(mount.mountpoint.as_os_str(), "/mnt2");
        assert_eq!(mount.options, "rw,noatime");
        assert_eq!(mount.fstype, "ext3");
        assert_eq!(mount.device, "/dev/root");
        assert_eq!(mount.super_options, "rw,errors=continue");
    }

    #[test]
    fn escapes_become_the_bytes_that_they_stand_for() {
        let mount =
            one(b"1 1 0:1 /\\134 /a\\040b\\011c\\012d\\134e\xff\\ f - fuse.x\\043y \\043dev\\040 rw,a=\\054");
        assert_eq!(mount.root, "/\\");
        assert_eq!(mount.mountpoint.as_os_str().as_bytes(), b"/a b\tc\nd\\e\xff\\");
        assert_eq!(mount.fstype, "fuse.x#y");
        assert_eq!(mount.device, "#dev ");
        assert_eq!(
            mount.super_options, "rw,a=\\054",
            "a comma in a value must stay one that separates nothing"
        );
    }

    #[test]
    fn device_and_super_options_may_be_empty_or_hold_blanks() {
        assert_eq!(one(b"1 1 0:1 / / rw - tmpfs  rw").device, "");
        assert_eq!(one(b"1 1 0:1 / / rw - tmpfs none").super_options, "");
        assert_eq!(one(b"1 1 0:1 / / rw - tmpfs none ").super_options, "");
        assert_eq!(one(b"1 1 0:1 / / rw - old none rw,dir=a b").super_options, "rw,dir=a b");
    }

    #[test]
    fn the_flag_mand_is_left_out_but_no_option_of_that_name() {
        let super_options =
            |text: &[u8]| one(&[b"1 1 0:1 / / rw - tmpfs none ", text].concat()).super_options;
        assert_eq!(super_options(b"rw,sync,dirsync,mand,lazytime,size=1"), "rw,sync,dirsync,lazytime,size=1");
        assert_eq!(super_options(b"ro,mand"), "ro");
        assert_eq!(super_options(b"rw,mandate"), "rw,mandate");
        assert_eq!(super_options(b"rw,a=b,mand"), "rw,a=b,mand");
    }

    #[test]
    fn nothing_is_an_empty_table() {
        assert!(parse(b"").unwrap().is_empty());
        assert!(parse(b"\n").unwrap().is_empty());
    }

    #[test]
    fn nonsense_is_an_error_that_quotes_it() {
        for bad in [
            &b"x"[..],
            b"1 1 0:1 / / rw shared:1 tmpfs none rw",
            b"1 1 0 / / rw - tmpfs none rw",
            b"99999999999 1 0:1 / / rw - tmpfs none rw",
            b"-1 1 0:1 / / rw - tmpfs none rw",
            b"1 1 0:1 /  rw - tmpfs none rw",
            b"1 1 0:1 / / rw - tmpfs",
            b"1 1 0:1 / / rw - tmpfs none rw\n\n2 1 0:1 / / rw - tmpfs none rw",
        ] {
            assert!(parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        let error = parse(&[&b"\x1b[2J"[..], &[b'x'; 500]].concat()).unwrap_err().to_string();
        assert!(error.contains(r#""\x1b[2Jxxx"#) && error.ends_with("…\"") && error.len() < 300, "{error}");
    }

    #[test]
    fn unescaping_is_the_kernels() {
        for (written, plain) in [
            (&b"\\7x"[..], &b"\x07x"[..]),
            (b"\\777", b"?7"),
            (b"\\377", b"\xff"),
            (b"\\9", b"\\9"),
            (b"\\\\040", b"\\\\040"),
            (b"\\", b"\\"),
        ] {
            assert_eq!(unescape(written).as_bytes(), plain);
            assert!(unescapes_to(written, OsStr::from_bytes(plain)));
        }
    }
}
