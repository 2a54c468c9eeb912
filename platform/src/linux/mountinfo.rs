//! The text of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)): a parser that borrows its input, because the watch reads
//! the table on every change, and a writer that escapes like the kernel, for tests.
//!
//! Names may contain any byte but NUL. The kernel writes blank, tab, newline and backslash as `\ooo`, in types and
//! devices also `#` (`fs/proc_namespace.c`). Each file system writes its own options, so these are kept as written.

use super::long_names::SHORTENED;
use crate::{DeviceNumber, Mount, MountKey, ShortenedNames};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Maximum number of bytes of an invalid line that the error quotes.
const MAX_QUOTED: usize = 160;

/// Escaped in every name.
const BLANKS: &[u8] = b" \t\n\\";
/// Escaped in types and devices: a `#` at the start of a line is a comment of fstab(5).
const BLANKS_AND_HASH: &[u8] = b" \t\n\\#";

/// All entries of a mountinfo text, in order, with the reusable ids (field 1) as keys.
///
/// # Errors
/// `InvalidData`, quoting the first invalid line.
pub fn parse(text: &[u8]) -> io::Result<Vec<Mount>> {
    lines(text).map(|line| line.map(|line| line.to_mount(line.reusable_key()))).collect()
}

/// Appends the line that the kernel would show for this mount, without optional fields. `options` and `super_options`
/// are not escaped: they must contain no newline, `options` no blank either.
pub fn write_line(mount: &Mount, text: &mut Vec<u8>) {
    let mut push = |bytes: &[u8]| text.extend_from_slice(bytes);
    push(format!("{} {} {} ", mount.id, mount.parent, mount.device_number).as_bytes());
    push(&escape(mount.root.as_bytes(), BLANKS));
    push(b" ");
    push(&escape(mount.mountpoint.as_os_str().as_bytes(), BLANKS));
    push(b" ");
    push(mount.options.as_bytes());
    push(b" - ");
    push(&escape(mount.fstype.as_bytes(), BLANKS_AND_HASH));
    push(b" ");
    push(&escape(mount.device.as_bytes(), BLANKS_AND_HASH));
    push(b" ");
    push(mount.super_options.as_bytes());
    push(b"\n");
}

/// The lines of a text; the last may lack its newline.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = io::Result<Line<'_>>> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let rows = (!text.is_empty()).then(|| text.split(|&b| b == b'\n'));
    rows.into_iter().flatten().map(|row| Line::parse(row).ok_or_else(|| bad_line(row)))
}

/// The reusable id and the device number at the start of a line, which may be cut after them.
pub(super) fn id_and_device(start: &[u8]) -> Option<(u32, DeviceNumber)> {
    let mut fields = Fields(Some(start));
    let (id, _) = (number(fields.next()?)?, fields.next()?);
    Some((id, device_number(fields.next()?)?))
}

/// Where a mount is, its names still escaped, and the peer groups that propagate to and from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Placement<'a> {
    pub(super) id: u32,
    pub(super) parent: u32,
    pub(super) device_number: DeviceNumber,
    pub(super) root: &'a [u8],
    pub(super) mountpoint: &'a [u8],
    pub(super) groups: PeerGroups,
}

/// The optional fields of a line.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct PeerGroups {
    /// `shared:N`: the group of the mount.
    pub(super) own: Option<u32>,
    /// `master:N`: the group that it receives from.
    pub(super) master: Option<u32>,
    /// `propagate_from:N`: the nearest group above `master` that the reader of the table can see.
    pub(super) above: Option<u32>,
}

impl<'a> Placement<'a> {
    /// Of the start of a line, which may be cut after the optional fields.
    pub(super) fn parse(start: &'a [u8]) -> Option<Placement<'a>> {
        let mut fields = Fields(Some(start));
        let (id, parent) = (number(fields.next()?)?, number(fields.next()?)?);
        let device_number = device_number(fields.next()?)?;
        let (root, mountpoint, _) = (fields.name()?, fields.name()?, fields.name()?);
        let mut groups = PeerGroups::default();
        loop {
            let field = fields.next()?;
            let group = |name: &[u8]| field.strip_prefix(name).and_then(number);
            match field {
                b"-" => break,
                _ if field.starts_with(b"shared:") => groups.own = group(b"shared:"),
                _ if field.starts_with(b"master:") => groups.master = group(b"master:"),
                _ if field.starts_with(b"propagate_from:") => groups.above = group(b"propagate_from:"),
                _ => {}
            }
        }
        Some(Placement { id, parent, device_number, root, mountpoint, groups })
    }
}

/// One line, its names still escaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) id: u32,
    parent: u32,
    pub(super) device_number: DeviceNumber,
    root: &'a [u8],
    mountpoint: &'a [u8],
    options: &'a [u8],
    fstype: &'a [u8],
    device: &'a [u8],
    /// The parts before and after the flag `mand`.
    super_options: [&'a [u8]; 2],
    shortened: ShortenedNames,
}

impl<'a> Line<'a> {
    fn parse(row: &'a [u8]) -> Option<Line<'a>> {
        let mut fields = Fields(Some(row));
        let id = number(fields.next()?)?;
        let parent = number(fields.next()?)?;
        let device_number = device_number(fields.next()?)?;
        let mut shortened = ShortenedNames::default();
        let root = without_mark(fields.name()?, &mut shortened.root);
        let mountpoint = without_mark(fields.name()?, &mut shortened.mountpoint);
        let options = fields.name()?;
        while fields.next()? != b"-" {} // any number of optional fields: shared:N, master:N, …
        let fstype = fields.name()?;
        let device = fields.next()?; // empty for mount("", …)
        // Written by the file system, and some do not escape blanks.
        let super_options =
            without_mand(without_mark(fields.0.unwrap_or_default(), &mut shortened.super_options));
        Some(Line {
            id,
            parent,
            device_number,
            root,
            mountpoint,
            options,
            fstype,
            device,
            super_options,
            shortened,
        })
    }

    /// The key if the kernel has no unique ids.
    pub(super) fn reusable_key(&self) -> MountKey {
        MountKey(u64::from(self.id))
    }

    pub(super) fn to_mount(self, key: MountKey) -> Mount {
        Mount {
            key,
            id: self.id,
            parent: self.parent,
            device_number: self.device_number,
            root: (&*unescape(self.root)).into(),
            mountpoint: (&*unescape(self.mountpoint)).into(),
            fstype: (&*unescape(self.fstype)).into(),
            device: (&*unescape(self.device)).into(),
            options: OsStr::from_bytes(self.options).into(),
            super_options: OsStr::from_bytes(&self.super_options.concat()).into(),
            connection_owner: None,
            shortened: self.shortened,
        }
    }

    /// Whether the line equals this entry, apart from the key. Allocates nothing.
    pub(super) fn matches(&self, mount: &Mount) -> bool {
        self.id == mount.id
            && self.parent == mount.parent
            && self.device_number == mount.device_number
            && self.shortened == mount.shortened
            && unescapes_to(self.mountpoint, mount.mountpoint.as_os_str())
            && unescapes_to(self.root, &mount.root)
            && unescapes_to(self.fstype, &mount.fstype)
            && unescapes_to(self.device, &mount.device)
            && self.options == mount.options.as_bytes()
            && self.super_options_match(mount.super_options.as_bytes())
    }

    fn super_options_match(&self, options: &[u8]) -> bool {
        let [start, end] = self.super_options;
        options.strip_prefix(start) == Some(end)
    }
}

/// A name without the mark of [`super::long_names`], which is recorded.
fn without_mark<'a>(name: &'a [u8], is_shortened: &mut bool) -> &'a [u8] {
    let rest = name.strip_prefix(&[SHORTENED]);
    *is_shortened = rest.is_some();
    rest.unwrap_or(name)
}

/// Omits the flag `mand`: it has had no meaning since 5.15 but can still be set, and `statmount` does not return it.
/// Only the kernel's own flags are searched; their order is fixed.
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

/// The rest of a line; `None` after its last field.
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

pub(super) fn device_number(field: &[u8]) -> Option<DeviceNumber> {
    let colon = field.iter().position(|&b| b == b':')?;
    Some(DeviceNumber { major: number(&field[..colon])?, minor: number(&field[colon + 1..])? })
}

fn bad_line(row: &[u8]) -> io::Error {
    let (quoted, more) = match row.get(..MAX_QUOTED) {
        Some(start) if row.len() > MAX_QUOTED => (start, "…"),
        _ => (row, ""),
    };
    let message = format!("invalid line of mountinfo: \"{}{more}\"", quoted.escape_ascii());
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

/// Appends a path as the kernel writes it.
pub(super) fn write_escaped(path: &OsStr, text: &mut Vec<u8>) {
    text.extend_from_slice(&escape(path.as_bytes(), BLANKS));
}

pub(super) fn unescape(name: &[u8]) -> Cow<'_, OsStr> {
    if name.contains(&b'\\') {
        Cow::Owned(OsString::from_vec(Unescape { rest: name, literal: false }.collect()))
    } else {
        Cow::Borrowed(OsStr::from_bytes(name))
    }
}

fn unescapes_to(name: &[u8], plain: &OsStr) -> bool {
    if name.contains(&b'\\') {
        Unescape { rest: name, literal: false }.eq(plain.as_bytes().iter().copied())
    } else {
        name == plain.as_bytes()
    }
}

/// Unescapes exactly as the kernel does for `statmount` (`string_unescape()` in `lib/string_helpers.c`), so that both
/// show the same name even if a file system writes a raw backslash.
struct Unescape<'a> {
    rest: &'a [u8],
    /// The next byte follows a backslash that escapes nothing.
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

/// The byte of one to three octal digits, and the number of digits.
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

    fn parse_one(line: &[u8]) -> Mount {
        let mounts = parse(line).unwrap();
        assert_eq!(mounts.len(), 1);
        mounts.into_iter().next().unwrap()
    }

    #[test]
    fn optional_and_unknown_fields_are_skipped() {
        let mount = parse_one(b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:2 new unbindable - ext3 /dev/root rw,errors=continue\n");
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
    fn names_are_unescaped_and_options_are_not() {
        let mount = parse_one(
            b"1 1 0:1 /\\134 /a\\040b\\011c\\012d\\134e\xff\\ f - fuse.x\\043y \\043dev\\040 rw,a=\\054",
        );
        assert_eq!(mount.root, "/\\");
        assert_eq!(mount.mountpoint.as_os_str().as_bytes(), b"/a b\tc\nd\\e\xff\\");
        assert_eq!(mount.fstype, "fuse.x#y");
        assert_eq!(mount.device, "#dev ");
        assert_eq!(mount.super_options, "rw,a=\\054", "an escaped comma in a value must stay escaped");
    }

    #[test]
    fn device_and_super_options_may_be_empty_or_contain_blanks() {
        assert_eq!(parse_one(b"1 1 0:1 / / rw - tmpfs  rw").device, "");
        assert_eq!(parse_one(b"1 1 0:1 / / rw - tmpfs none").super_options, "");
        assert_eq!(parse_one(b"1 1 0:1 / / rw - tmpfs none ").super_options, "");
        assert_eq!(parse_one(b"1 1 0:1 / / rw - old none rw,dir=a b").super_options, "rw,dir=a b");
    }

    #[test]
    fn flag_mand_is_left_out_but_not_an_option_of_that_name() {
        let super_options =
            |text: &[u8]| parse_one(&[b"1 1 0:1 / / rw - tmpfs none ", text].concat()).super_options;
        assert_eq!(super_options(b"rw,sync,dirsync,mand,lazytime,size=1"), "rw,sync,dirsync,lazytime,size=1");
        assert_eq!(super_options(b"ro,mand"), "ro");
        assert_eq!(super_options(b"rw,mandate"), "rw,mandate");
        assert_eq!(super_options(b"rw,a=b,mand"), "rw,a=b,mand");
    }

    #[test]
    fn empty_text_is_an_empty_table() {
        assert!(parse(b"").unwrap().is_empty());
        assert!(parse(b"\n").unwrap().is_empty());
    }

    #[test]
    fn invalid_line_is_an_error_that_quotes_it() {
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
    fn names_are_unescaped_like_the_kernel_does() {
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
