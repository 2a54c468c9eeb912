//! The messages between the daemon and a collector: JSON values, because evidence is deeply nested and rare.

use super::endpoint::{ServerEndpoint, endpoint_of};
use crate::children::codec::{Malformed, PacketQueue, decode_messages, encode_bytes};
use platform::evidence::{Evidence, Family, Suspect};
use platform::process::MAX_PACKET;
use platform::{DeviceNumber, Mount};
use serde::{Deserialize, Serialize};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

/// Maximum number of mount ids per file system that are searched for. Tasks on further binds are still found by their
/// directories.
const MAX_MOUNT_IDS: usize = 64;
/// `PATH_MAX` of Linux: no mount point or server has a longer name.
const MAX_NAME: usize = 4096;

/// A request for evidence about a dead or suspicious file system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CollectRequest {
    pub(super) suspect: Suspect,
    /// One of its mount points.
    pub(super) mountpoint: Vec<u8>,
    pub(super) device: Vec<u8>,
    /// The server's name as the kernel log shows it.
    pub(super) server_name: Option<Vec<u8>>,
    pub(super) server: Option<ServerEndpoint>,
    /// How long to wait for servers.
    pub(super) timeout: Duration,
}

impl CollectRequest {
    /// `mount_ids` are those of all mounts of this file system; `only_hung` is explained at [`Suspect`].
    #[must_use]
    pub fn new(mount: &Mount, mount_ids: &[u32], only_hung: bool, timeout: Duration) -> CollectRequest {
        let truncated = |name: &[u8]| name[..name.len().min(MAX_NAME)].to_vec();
        CollectRequest {
            suspect: Suspect {
                device_number: mount.device_number,
                mount_ids: mount_ids[..mount_ids.len().min(MAX_MOUNT_IDS)].to_vec(),
                family: Family::from_fstype(mount.fstype.as_bytes()),
                only_hung,
            },
            mountpoint: truncated(mount.mountpoint.as_os_str().as_bytes()),
            device: truncated(mount.device.as_bytes()),
            server_name: crate::monitor::server_name(mount).map(truncated),
            server: endpoint_of(mount),
            timeout,
        }
    }

    /// The kinds of evidence that a collector will send.
    pub(super) fn expected_kinds(&self) -> Vec<EvidenceKind> {
        let mut kinds = vec![EvidenceKind::Local, EvidenceKind::Tasks];
        if self.suspect.family == Family::Fuse {
            kinds.push(EvidenceKind::FuseServer);
        }
        if self.server.is_some() {
            kinds.push(EvidenceKind::Server);
        }
        kinds
    }
}

/// From the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Collect(CollectRequest),
    /// Inspect this thread, which is stuck in a probe of this file system.
    InspectThread {
        device: DeviceNumber,
        pid: u32,
        tid: u32,
    },
}

/// Evidence that a collector sends together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum EvidenceKind {
    /// Evidence that can be read at once.
    Local,
    Tasks,
    FuseServer,
    Server,
    /// The state of a stuck thread; no request waits for it.
    Thread,
}

/// From a collector.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) device: DeviceNumber,
    pub(super) kind: EvidenceKind,
    pub(super) evidence: Evidence,
}

/// Queues a message. One that exceeds a packet is dropped; all are much shorter.
pub(super) fn encode<T: Serialize>(packets: &mut PacketQueue, message: &T) {
    let json = serde_json::to_vec(message).expect("numbers, strings and lists are valid JSON");
    let size = size_of::<u32>() + json.len();
    if size <= MAX_PACKET {
        encode_bytes(packets.packet_with_room(size), &json);
    }
}

/// The messages of a packet.
pub(super) fn decode<T: for<'a> Deserialize<'a>>(packet: &[u8]) -> Result<Vec<T>, Malformed> {
    decode_messages(packet, |decoder| serde_json::from_slice(decoder.bytes()?).map_err(|_| Malformed))
        .collect()
}

/// The messages of a packet, each encoded again; `None` if it is malformed. For fuzz tests.
#[doc(hidden)]
#[must_use]
pub fn recode_requests(packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    recode::<Request>(packet)
}

/// Same as [`recode_requests`], for replies.
#[doc(hidden)]
#[must_use]
pub fn recode_replies(packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    recode::<Reply>(packet)
}

fn recode<T: Serialize + for<'a> Deserialize<'a>>(packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let encoded = |message: &T| {
        let mut packets = PacketQueue::default();
        encode(&mut packets, message);
        packets.first().unwrap_or_default().to_vec()
    };
    decode(packet).ok().map(|messages| messages.iter().map(encoded).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;

    #[test]
    fn requests_are_decoded_as_encoded_and_share_packets() {
        let requests: Vec<Request> = (0..300)
            .map(|n| {
                let mut mount = mount(n, &format!("/mnt/{n}/\u{e9}{}", "x".repeat(200)));
                (mount.fstype, mount.device) = ("nfs4".into(), "server:/export".into());
                mount.super_options = "rw,vers=4.2,addr=10.0.0.5".into();
                Request::Collect(CollectRequest::new(&mount, &[1, 2], true, Duration::from_secs(1)))
            })
            .collect();
        let mut queue = PacketQueue::default();
        requests.iter().for_each(|request| encode(&mut queue, request));
        let (mut packets, mut decoded) = (0, Vec::new());
        while let Some(packet) = queue.first() {
            assert!(packet.len() <= MAX_PACKET);
            decoded.extend(decode::<Request>(packet).unwrap());
            queue.remove_first();
            packets += 1;
        }
        assert!(packets < 10, "{packets} packets");
        assert_eq!(decoded, requests);
    }

    #[test]
    fn invalid_json_is_malformed() {
        for json in [&b"x"[..], b"{}", b"{\"Collect\":{}}", b"\xff\xfe", b"[[[[[[["] {
            let mut packet = Vec::new();
            encode_bytes(&mut packet, json);
            assert_eq!(decode::<Request>(&packet), Err(Malformed), "{json:?}");
        }
        assert_eq!(decode::<Request>(b"x"), Err(Malformed));
        assert_eq!(decode::<Request>(b""), Ok(Vec::new()));
    }
}
