//! The messages between the daemon and a prober.

use super::ProbeId;
use platform::{Call, Errno, ProbeOutcome, Target};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// `PATH_MAX` of Linux with its NUL: no system call takes a longer path.
pub(super) const MAX_PATH: usize = 4096;
/// Upper bound of a reply's size.
pub(super) const MAX_REPLY: usize = 128;

/// From the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Request<'a> {
    Probe(ProbeId, Cow<'a, Target>),
    /// Report what has become of this probe: `Stuck` or `NotStarted`, or nothing if a response was sent.
    Confirm(ProbeId),
    /// Report the thread of this probe: `Stuck`, or nothing if no thread works on it.
    Locate(ProbeId),
}

/// From a prober.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The prober is ready.
    Ready,
    Response {
        probe: ProbeId,
        outcome: ProbeOutcome,
        took: Duration,
    },
    /// This thread has worked on the probe for `elapsed` and is in this call now.
    Stuck {
        probe: ProbeId,
        call: Call,
        elapsed: Duration,
        tid: u32,
    },
    /// The probe was not started and will not be.
    NotStarted(ProbeId),
    /// No thread can be started; `NotStarted` follows for each rejected probe.
    ThreadsFailed(Errno),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::children::codec::{Malformed, PacketQueue, decode, encode};
    use platform::process::MAX_PACKET;
    use platform::{FsKind, MountKey, Usage};
    use proptest::prelude::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    const CALLS: [Call; 3] = [Call::Identify, Call::Statx, Call::Statfs];
    const KINDS: [FsKind; 4] = [FsKind::Network, FsKind::Fuse, FsKind::Autofs, FsKind::Local];

    fn outcome() -> impl Strategy<Value = ProbeOutcome> {
        let alive = (any::<[u64; 6]>(), any::<bool>()).prop_map(|(n, read_only)| {
            let [block_size, blocks, free, available, files, files_free] = n;
            ProbeOutcome::Alive(Usage { block_size, blocks, free, available, files, files_free, read_only })
        });
        let failed = (prop::sample::select(&CALLS), any::<i32>())
            .prop_map(|(call, errno)| ProbeOutcome::Failed { call, errno: Errno(errno) });
        prop_oneof![alive, failed, Just(ProbeOutcome::WrongMount)]
    }

    fn id() -> impl Strategy<Value = ProbeId> {
        any::<u64>().prop_map(ProbeId)
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let duration = || any::<u64>().prop_map(Duration::from_nanos);
        let stuck = (id(), prop::sample::select(&CALLS), duration(), any::<u32>());
        prop_oneof![
            Just(Reply::Ready),
            (id(), outcome(), duration()).prop_map(|(probe, outcome, took)| Reply::Response {
                probe,
                outcome,
                took
            }),
            stuck.prop_map(|(probe, call, elapsed, tid)| Reply::Stuck { probe, call, elapsed, tid }),
            id().prop_map(Reply::NotStarted),
            any::<i32>().prop_map(|errno| Reply::ThreadsFailed(Errno(errno))),
        ]
    }

    fn target() -> impl Strategy<Value = Target> {
        let path = prop::collection::vec(any::<u8>(), 0..MAX_PATH);
        let kind = prop::sample::select(&KINDS);
        (path, kind, any::<u64>(), any::<u32>(), any::<Option<(u32, u32)>>()).prop_map(
            |(path, kind, key, id, owner)| {
                let path = OsString::from_vec(path).into();
                Target { path, kind, key: MountKey(key), id, owner }
            },
        )
    }

    fn request() -> impl Strategy<Value = Request<'static>> {
        prop_oneof![
            (id(), target()).prop_map(|(id, target)| Request::Probe(id, Cow::Owned(target))),
            id().prop_map(Request::Confirm),
            id().prop_map(Request::Locate),
        ]
    }

    proptest! {
        #[test]
        fn requests_are_decoded_as_encoded(requests in prop::collection::vec(request(), 0..40)) {
            let (mut queue, mut decoded) = (PacketQueue::default(), Vec::new());
            requests.iter().for_each(|request| queue.push(request));
            while let Some(packet) = queue.first() {
                prop_assert!(packet.len() <= MAX_PACKET);
                let messages: Result<Vec<Request>, Malformed> = decode(packet).collect();
                decoded.extend(messages.expect("valid messages"));
                queue.remove_first();
            }
            prop_assert_eq!(decoded, requests);
        }

        #[test]
        fn replies_are_decoded_as_encoded(replies in prop::collection::vec(reply(), 0..32)) {
            let mut packet = Vec::new();
            for reply in &replies {
                let before = packet.len();
                encode(&mut packet, reply);
                prop_assert!(packet.len() - before <= MAX_REPLY);
            }
            let decoded: Result<Vec<Reply>, Malformed> = decode(&packet).collect();
            prop_assert_eq!(decoded, Ok(replies));
        }

        #[test]
        fn any_bytes_are_decoded_or_malformed(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(decode::<Request>(&bytes).count() <= bytes.len());
            prop_assert!(decode::<Reply>(&bytes).count() <= bytes.len());
        }

        #[test]
        fn truncated_packet_is_malformed(reply in reply(), cut in any::<prop::sample::Index>()) {
            let mut packet = Vec::new();
            encode(&mut packet, &reply);
            packet.truncate(cut.index(packet.len()));
            let decoded: Result<Vec<Reply>, Malformed> = decode(&packet).collect();
            prop_assert_eq!(decoded, if packet.is_empty() { Ok(Vec::new()) } else { Err(Malformed) });
        }
    }
}
