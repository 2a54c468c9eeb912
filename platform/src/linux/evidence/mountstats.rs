//! The counters of NFS clients: `/proc/self/mountstats`. Reading it never blocks.

use crate::evidence::{Observation, Traffic};
use crate::linux::mountinfo::unescape;
use crate::linux::procfs::{not_observed, read_up_to};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

/// The file has about 10 KiB for each NFS mount; the rest of a longer one is not read.
const MAX_MOUNTSTATS: u64 = 8 << 20;

/// The device and the mount point.
type Mounted = (OsString, OsString);

/// The counters of the mounts with these devices and mount points, in their order. In another namespace the same path
/// may belong to another mount, so both are compared.
#[must_use]
pub fn traffic(file: &Path, mounts: &[(&OsStr, &Path)]) -> Vec<Observation<Traffic>> {
    match read_up_to(file, MAX_MOUNTSTATS) {
        Ok(text) => {
            let all = parse(&text);
            let found = |(device, path): &(&OsStr, &Path)| {
                let mounted = ((*device).to_owned(), path.as_os_str().to_owned());
                all.get(&mounted).map_or(Observation::Unknown, |traffic| Observation::Found(*traffic))
            };
            mounts.iter().map(found).collect()
        }
        Err(error) => mounts.iter().map(|_| not_observed(&error)).collect(),
    }
}

/// The counters of all NFS mounts. Of several mounts with the same device and mount point, the last one is on top; its
/// counters are returned.
fn parse(text: &[u8]) -> HashMap<Mounted, Traffic> {
    let mut found = HashMap::new();
    let mut here = None;
    for line in text.split(|&byte| byte == b'\n') {
        if let Some(rest) = line.strip_prefix(b"device ") {
            here = mounted_on(rest)
                .map(|(device, path)| (unescape(device).into_owned(), unescape(path).into_owned()));
            if let Some(here) = &here {
                found.remove(here);
            }
        } else if let Some(here) = &here
            && let Some(one) = std::str::from_utf8(line).ok().and_then(transport)
        {
            let start = || Traffic { idle: one.idle, ..Traffic::default() };
            let sum: &mut Traffic = found.entry(here.clone()).or_insert_with(start);
            sum.sent += one.sent;
            sum.received += one.received;
            sum.idle = sum.idle.min(one.idle);
        }
    }
    found
}

/// `server:/export mounted on /mnt with fstype nfs4 statvers=1.1`; blanks in names are escaped.
fn mounted_on(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = line.split(|&byte| byte == b' ');
    Some((fields.next()?, fields.nth(2)?))
}

/// `xprt: tcp PORT BINDS CONNECTS CONNECT_TIME IDLE SENDS RECEIVES …`; UDP has no times.
pub(in crate::linux) fn transport(line: &str) -> Option<Traffic> {
    let mut fields = line.trim().strip_prefix("xprt:")?.split_ascii_whitespace();
    let kind = fields.next()?;
    // Printed as signed numbers: an unknown idle time may be negative.
    let number = |field: &str| Some(u64::try_from(field.parse::<i64>().ok()?).unwrap_or(0));
    let numbers: Vec<u64> = fields.map_while(number).collect();
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
    fn counters_of_all_connections_are_summed() {
        let traffic =
            |sent, received, idle| Some(Traffic { sent, received, idle: Duration::from_secs(idle) });
        let all = parse(STATS);
        let of = |device: &str, path: &str| all.get(&(device.into(), path.into())).copied();
        assert_eq!(of("10.0.0.5:/a", "/mnt/a b"), traffic(110, 99, 9));
        assert_eq!(of("10.0.0.5:/u", "/mnt/u"), traffic(7, 3, 0));
        for (device, path) in
            [("tmpfs", "/t"), ("rootfs", "/"), ("10.0.0.5:/a", "/mnt/a"), ("10.0.0.5:/b", "/mnt/u")]
        {
            assert_eq!(of(device, path), None, "{path}");
        }
    }

    #[test]
    fn invalid_text_has_no_counters() {
        for text in [&b""[..], b"device", b"device x mounted on", b"device x mounted on /x\nxprt: tcp 1 2 3"]
        {
            assert!(parse(text).is_empty());
        }
    }

    #[test]
    fn real_file_is_readable() {
        let found = traffic(Path::new("/proc/self/mountstats"), &[(OsStr::new("x"), Path::new("/"))]);
        assert_eq!(found, [Observation::Unknown], "the root of a test machine is not NFS");
    }
}
