//! Reads the expected mounts of `/etc/fstab`; see fstab(5).

use crate::monitor::Expected;
use crate::render::escape::escape_os;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub const FSTAB: &str = "/etc/fstab";

const OPTIONAL: &[&str] = &["noauto", "nofail", "x-systemd.automount", "comment=systemd.automount"];

/// The mounts that must exist. Invalid lines are skipped, as mount(8) does.
pub(super) fn expected(path: &Path, text: &[u8]) -> Vec<Expected> {
    let lines = text.split(|&byte| byte == b'\n').zip(1..);
    lines.filter_map(|(text, line)| entry(text, format!("{}:{line}", escape_os(path)))).collect()
}

/// The mount points that are mounted read-only on purpose, each with its line.
pub fn read_only(path: &Path, text: &[u8]) -> Vec<(PathBuf, String)> {
    let lines = text.split(|&byte| byte == b'\n').zip(1..);
    let lines = lines.filter_map(|(text, number): (_, usize)| Some((Line::parse(text)?, number)));
    let read_only = lines.filter(|(line, _)| line.has_option(b"ro"));
    read_only.map(|(line, number)| (line.mountpoint, format!("{}:{number}", escape_os(path)))).collect()
}

/// The line about this mount point, as `TYPE from DEVICE`, and its number. Options may be secret.
pub fn line_about(text: &[u8], mountpoint: &Path) -> Option<(usize, String)> {
    let lines = text.split(|&byte| byte == b'\n').zip(1..);
    lines.filter_map(|(text, number)| Some((number, Line::parse(text)?))).find_map(|(number, line)| {
        (line.mountpoint.as_os_str() == mountpoint.as_os_str()).then(|| (number, line.description()))
    })
}

/// The fields that are used.
struct Line<'a> {
    device: OsString,
    mountpoint: PathBuf,
    fstype: &'a [u8],
    options: &'a [u8],
}

impl Line<'_> {
    /// `None` if it is no mount.
    fn parse(text: &[u8]) -> Option<Line<'_>> {
        let mut fields = text.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let (device, mountpoint, fstype) = (fields.next()?, fields.next()?, fields.next()?);
        let options = fields.next().unwrap_or(b"defaults");
        if device.starts_with(b"#") || !mountpoint.starts_with(b"/") || matches!(fstype, b"swap" | b"ignore")
        {
            return None;
        }
        let mut mountpoint = unescape(mountpoint);
        while mountpoint.len() > 1 && mountpoint.ends_with(b"/") {
            mountpoint.pop();
        }
        let device = OsString::from_vec(unescape(device));
        Some(Line { device, mountpoint: OsString::from_vec(mountpoint).into(), fstype, options })
    }

    fn has_option(&self, name: &[u8]) -> bool {
        self.options.split(|&byte| byte == b',').any(|option| option == name)
    }

    fn description(&self) -> String {
        format!("{} from {}", escape_os(OsStr::from_bytes(self.fstype)), escape_os(&self.device))
    }
}

fn entry(text: &[u8], origin: String) -> Option<Expected> {
    let line = Line::parse(text)?;
    if OPTIONAL.iter().any(|name| line.has_option(name.as_bytes())) {
        return None;
    }
    // Any mount matches: the mount table has other names for types and devices (`auto`, `UUID=`).
    let description = line.description();
    Some(Expected::new(line.mountpoint, description, origin, |_| true))
}

/// Decodes octal escapes such as `\040`.
fn unescape(mut field: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(field.len());
    while let [first, others @ ..] = field {
        let (byte, rest) = match field {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                (((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'), rest)
            }
            _ => (*first, others),
        };
        decoded.push(byte);
        field = rest;
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_without_optional_mounts() {
        let text = b"# / was on /dev/sda1\n\
            UUID=1-2 / ext4 errors=remount-ro 0 1\n\
            \t/dev/sdb1   /data/  xfs\tdefaults,noatime 0 2\n\
            nas:/export /srv/nas nfs4 rw,hard,_netdev\n\
            nas:/old /srv/old nfs noauto,rw 0 0\n\
            nas:/maybe /srv/maybe nfs rw,nofail 0 0\n\
            nas:/lazy /srv/lazy nfs rw,x-systemd.automount 0 0\n\
            nas:/lazy2 /srv/lazy2 nfs rw,comment=systemd.automount 0 0\n\
            /dev/sda2 none swap sw 0 0\n\
            /swapfile swap swap defaults 0 0\n\
            LABEL=with\\040space /mnt/with\\040space\\011tab ext4 defaults 0 0 # a note\n\
            tmpfs /tmp tmpfs\n\
            \n\
            half /a/line\n\
            /dev/sdc1 relative ext4 defaults 0 0\n\
            odd /mnt/odd\\9 nofailing nofailure 0 0\n\
            last /last ext4 defaults 0 0";
        let all = expected(Path::new("/f"), text);
        let found: Vec<_> =
            all.iter().map(|it| (it.origin.as_str(), it.mountpoint.to_str().unwrap())).collect();
        let wanted = [
            ("/f:2", "/"),
            ("/f:3", "/data"),
            ("/f:4", "/srv/nas"),
            ("/f:11", "/mnt/with space\ttab"),
            ("/f:12", "/tmp"),
            ("/f:16", "/mnt/odd\\9"),
            ("/f:17", "/last"),
        ];
        assert_eq!(found, wanted);
        assert_eq!(all[3].what, "ext4 from LABEL=with space");
        let about = |path: &str| line_about(text, Path::new(path));
        assert_eq!(about("/srv/old"), Some((5, "nfs from nas:/old".to_owned())));
        assert_eq!(about("/mnt/with space\ttab"), Some((11, "ext4 from LABEL=with space".to_owned())));
        assert_eq!((about("/srv"), about("none"), about("relative")), (None, None, None));
        let options = b"a /a nfs ro,hard 0 0\nb /b nfs rw,errors=remount-ro 0 0\nc /c/ nfs noauto,ro 0 0";
        let at = |path: &str, line: &str| (PathBuf::from(path), line.to_owned());
        assert_eq!(read_only(Path::new("/f"), options), [at("/a", "/f:1"), at("/c", "/f:3")]);
        assert_eq!(expected(Path::new("/f"), b"\xff\xfe /mnt/\xff ext4 defaults 0 0").len(), 1);
    }
}
