//! What the daemon and a collector say to each other: JSON, a packet at a time. Both ends are the same program, so
//! there is no version; what cannot be understood ends the relation.

use platform::evidence::{Evidence, Family, Service, Suspect};
use platform::process::MAX_PACKET;
use platform::{DeviceNumber, Mount};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

/// Ids of one file system's mounts that are looked for: who works on one of more binds is found by its directory.
const MAX_MOUNT_IDS: usize = 64;
/// `PATH_MAX`: a longer name is no mount point and no server.
const MAX_NAME: usize = 4096;

/// A dead or suspicious file system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CollectRequest {
    /// Whose tasks are looked for.
    pub(super) suspect: Suspect,
    /// One of its mount points, as bytes.
    pub(super) mountpoint: Vec<u8>,
    /// What is mounted there, as bytes.
    pub(super) device: Vec<u8>,
    /// What the kernel log calls its server.
    pub(super) server_name: Option<Vec<u8>>,
    /// Where its server is.
    pub(super) address: Option<(Service, SocketAddr, bool)>,
    /// For how long servers may be waited for.
    pub(super) patience: Duration,
}

impl CollectRequest {
    /// What is to be known of this mount. Others of its file system have `mount_ids`.
    #[must_use]
    pub fn new(mount: &Mount, mount_ids: &[u32], alone: bool, patience: Duration) -> CollectRequest {
        let mut mount_ids = mount_ids.to_vec();
        mount_ids.truncate(MAX_MOUNT_IDS);
        let family = Family::from_fstype(mount.fstype.as_bytes());
        let suspect = Suspect { device_number: mount.device_number, mount_ids, family, alone };
        let place = super::endpoint::of(mount);
        CollectRequest {
            suspect,
            mountpoint: bounded(mount.mountpoint.as_os_str().as_bytes()),
            device: bounded(mount.device.as_bytes()),
            server_name: super::endpoint::name(mount).map(bounded),
            address: place.map(|place| (place.service, place.address, place.is_udp)),
            patience,
        }
    }

    /// The parts that a collector will tell.
    pub(super) fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::Local, Part::Tasks];
        if self.suspect.family == Family::Fuse {
            parts.push(Part::FuseServer);
        }
        if self.address.is_some() {
            parts.push(Part::Server);
        }
        parts
    }
}

fn bounded(name: &[u8]) -> Vec<u8> {
    name[..name.len().min(MAX_NAME)].to_vec()
}

/// What the daemon says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Collect.
    Collect(CollectRequest),
    /// Look at the thread that is stuck there.
    Thread { device: DeviceNumber, pid: u32, tid: u32 },
}

/// What a collector tells together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Part {
    /// What is read at once.
    Local,
    /// The blocked tasks.
    Tasks,
    /// The process behind a FUSE mount.
    FuseServer,
    /// The server's answer.
    Server,
    /// The stuck thread; not one of those that are waited for.
    Thread,
}

/// What a collector says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) device: DeviceNumber,
    pub(super) part: Part,
    pub(super) evidence: Evidence,
}

/// Packets with all of these messages, in order. One that fits into no packet is left out: none is nearly so long.
pub(super) fn packets<T: Serialize>(messages: &[T]) -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for message in messages {
        let mut text = serde_json::to_vec(message).expect("numbers, strings and lists make JSON");
        text.push(b'\n');
        if text.len() > MAX_PACKET {
            continue;
        }
        match packets.last_mut().filter(|last| last.len() + text.len() <= MAX_PACKET) {
            Some(last) => last.extend(text),
            None => packets.push(text),
        }
    }
    packets
}

/// The messages of a packet.
pub(super) fn messages<'a, T: Deserialize<'a>>(packet: &'a [u8]) -> Result<Vec<T>, serde_json::Error> {
    let lines = packet.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(serde_json::from_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;

    #[test]
    fn subjects_travel_in_few_packets() {
        let subjects: Vec<Request> = (0..300)
            .map(|n| {
                let mut mount = mount(n, &format!("/mnt/{n}/\u{e9}{}", "x".repeat(200)));
                (mount.fstype, mount.device) = ("nfs4".into(), "server:/export".into());
                mount.super_options = "rw,vers=4.2,addr=10.0.0.5".into();
                Request::Collect(CollectRequest::new(&mount, &[1, 2], true, Duration::from_secs(1)))
            })
            .collect();
        let packets = packets(&subjects);
        assert!(packets.len() < 10 && packets.iter().all(|packet| packet.len() <= MAX_PACKET));
        let back: Vec<Request> =
            packets.iter().flat_map(|packet| messages::<Request>(packet).unwrap()).collect();
        assert_eq!(back, subjects);
    }

    #[test]
    fn garbage_is_refused() {
        for packet in [&b"x"[..], b"{}", b"{\"Collect\":{}}", b"\xff\xfe", b"[[[[[[["] {
            assert!(messages::<Request>(packet).is_err(), "{packet:?}");
        }
        assert_eq!(messages::<Request>(b"\n\n").unwrap(), []);
    }
}
