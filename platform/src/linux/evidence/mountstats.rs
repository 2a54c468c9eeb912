//! What NFS clients count: `/proc/self/mountstats`. Reading it waits for nobody.

use super::procfs::{nothing, read_up_to};
use crate::evidence::{Finding, Traffic};
use crate::linux::mountinfo::unescape;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

/// The file has about 10 KiB for each NFS mount: what lies beyond is not looked at.
pub const MAX_MOUNTSTATS: u64 = 8 << 20;

/// The counts of the mounts of these devices on these mount points, in their order. In another namespace the same path
/// may be somebody else's.
#[must_use]
pub fn traffic(file: &Path, mounts: &[(&OsStr, &Path)]) -> Vec<Finding<Traffic>> {
    match read_up_to(file, MAX_MOUNTSTATS) {
        Ok(text) => mounts
            .iter()
            .map(|(device, path)| parse(&text, device, path).map_or(Finding::Unknown, Finding::Found))
            .collect(),
        Err(error) => mounts.iter().map(|_| nothing(&error)).collect(),
    }
}

/// The counts of the last such mount, which is the one on top.
#[must_use]
pub fn parse(text: &[u8], device: &OsStr, mountpoint: &Path) -> Option<Traffic> {
    let mut found = None;
    let mut ours = false;
    for line in text.split(|&byte| byte == b'\n') {
        if let Some(rest) = line.strip_prefix(b"device ") {
            ours = mounted_on(rest).is_some_and(|(what, path)| {
                unescape(what) == device && unescape(path) == mountpoint.as_os_str()
            });
            if ours {
                found = None;
            }
        } else if ours && let Some(one) = std::str::from_utf8(line).ok().and_then(transport) {
            let sum: &mut Traffic = found.get_or_insert(Traffic { idle: one.idle, ..Traffic::default() });
            sum.sent += one.sent;
            sum.received += one.received;
            sum.idle = sum.idle.min(one.idle);
        }
    }
    found
}

/// `server:/export mounted on /mnt with fstype nfs4 statvers=1.1`; blanks within names are escaped.
fn mounted_on(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut words = line.split(|&byte| byte == b' ');
    Some((words.next()?, words.nth(2)?))
}

/// `xprt: tcp PORT BINDS CONNECTS CONNECT_TIME IDLE SENDS RECEIVES …`; UDP has neither times nor idleness.
fn transport(line: &str) -> Option<Traffic> {
    let mut words = line.trim().strip_prefix("xprt:")?.split_ascii_whitespace();
    let kind = words.next()?;
    // Signed in print: an idleness that the kernel could not tell may come out below nothing.
    let number = |word: &str| Some(u64::try_from(word.parse::<i64>().ok()?).unwrap_or(0));
    let numbers: Vec<u64> = words.map_while(number).collect();
    let (idle, sent, received) = match kind {
        "tcp" | "rdma" | "local" => (*numbers.get(4)?, *numbers.get(5)?, *numbers.get(6)?),
        "udp" => (0, *numbers.get(2)?, *numbers.get(3)?),
        _ => return None,
    };
    Some(Traffic { sent, received, idle: Duration::from_secs(idle) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &[u8] = b"device rootfs mounted on / with fstype rootfs
device 10.0.0.5:/a mounted on /mnt/a\\040b with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2
\tage:\t600
\txprt:\ttcp 0 0 2 0 17 100 90 0 5 0 2 0 0
\txprt:\ttcp 0 0 2 0 9 10 9 0 5 0 2 0 0
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
device 10.0.0.5:/u mounted on /mnt/u with fstype nfs statvers=1.1
\txprt:\tudp 0 1 7 3 0 1 1
device tmpfs mounted on /t with fstype tmpfs
";

    #[test]
    fn connections_of_a_mount_are_summed() {
        let traffic =
            |sent, received, idle| Some(Traffic { sent, received, idle: Duration::from_secs(idle) });
        let of = |device: &str, path: &str| parse(STATS, OsStr::new(device), Path::new(path));
        assert_eq!(of("10.0.0.5:/a", "/mnt/a b"), traffic(110, 99, 9));
        assert_eq!(of("10.0.0.5:/u", "/mnt/u"), traffic(7, 3, 0));
        for (device, path) in
            [("tmpfs", "/t"), ("rootfs", "/"), ("10.0.0.5:/a", "/mnt/a"), ("10.0.0.5:/b", "/mnt/u")]
        {
            assert_eq!(of(device, path), None, "{path}");
        }
    }

    #[test]
    fn garbage_is_nothing() {
        for text in [&b""[..], b"device", b"device x mounted on", b"device x mounted on /x\nxprt: tcp 1 2 3"]
        {
            assert_eq!(parse(text, OsStr::new("x"), Path::new("/x")), None);
        }
    }

    #[test]
    fn the_real_file_can_be_read() {
        let found = traffic(Path::new("/proc/self/mountstats"), &[(OsStr::new("x"), Path::new("/"))]);
        assert_eq!(found, [Finding::Unknown], "the root of a test machine is no NFS");
    }
}
