//! Whatever is said arrives as it was said; whatever else arrives is refused, never a panic.

use super::ProbeId;
use super::wire::{self, Malformed, Reply, Request};
use platform::{Call, Errno, FsKind, MountKey, ProbeOutcome, Target, Usage};
use proptest::prelude::*;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![Just(Call::Identify), Just(Call::Statx), Just(Call::Statfs)]
}

fn outcome() -> impl Strategy<Value = ProbeOutcome> {
    let alive = (any::<[u64; 6]>(), any::<bool>()).prop_map(|(n, read_only)| {
        let [block_size, blocks, free, available, files, files_free] = n;
        ProbeOutcome::Alive(Usage { block_size, blocks, free, available, files, files_free, read_only })
    });
    let failed =
        (call(), any::<i32>()).prop_map(|(call, errno)| ProbeOutcome::Failed { call, errno: Errno(errno) });
    prop_oneof![alive, failed, Just(ProbeOutcome::WrongMount)]
}

fn reply() -> impl Strategy<Value = Reply> {
    let id = || any::<u64>().prop_map(ProbeId);
    let span = || any::<u64>().prop_map(Duration::from_nanos);
    prop_oneof![
        Just(Reply::Hello),
        (id(), outcome(), span()).prop_map(|(probe, outcome, took)| Reply::Answer { probe, outcome, took }),
        (id(), call(), span(), any::<u32>()).prop_map(|(probe, call, elapsed, tid)| Reply::Stuck {
            probe,
            call,
            elapsed,
            tid
        }),
        id().prop_map(Reply::NotStarted),
        any::<i32>().prop_map(|errno| Reply::ThreadsFailed(Errno(errno))),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    let kind =
        prop_oneof![Just(FsKind::Network), Just(FsKind::Fuse), Just(FsKind::Autofs), Just(FsKind::Local)];
    let path = prop::collection::vec(any::<u8>(), 0..wire::MAX_PATH);
    (path, kind, any::<u64>(), any::<u32>(), any::<Option<(u32, u32)>>()).prop_map(
        |(path, kind, key, id, owner)| Target {
            path: OsString::from_vec(path).into(),
            kind,
            key: MountKey(key),
            id,
            owner,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any::<u64>(), target()).prop_map(|(id, target)| Request::Probe(ProbeId(id), target)),
        any::<u64>().prop_map(|id| Request::Confirm(ProbeId(id))),
        any::<u64>().prop_map(|id| Request::Locate(ProbeId(id))),
    ]
}

proptest! {
    #[test]
    fn requests_arrive_as_they_were_made(said in prop::collection::vec(request(), 0..8)) {
        let mut packet = Vec::new();
        for request in &said {
            let before = packet.len();
            match request {
                Request::Probe(id, target) => wire::put_probe(&mut packet, *id, target),
                Request::Confirm(id) => wire::put_confirm(&mut packet, *id),
                Request::Locate(id) => wire::put_locate(&mut packet, *id),
            }
            prop_assert!(packet.len() - before <= wire::MAX_MESSAGE);
        }
        let heard: Result<Vec<_>, Malformed> = wire::requests(&packet).collect();
        prop_assert_eq!(heard, Ok(said));
    }

    #[test]
    fn replies_arrive_as_they_were_made(said in prop::collection::vec(reply(), 0..32)) {
        let mut packet = Vec::new();
        for reply in &said {
            let before = packet.len();
            wire::put_reply(&mut packet, reply);
            prop_assert!(packet.len() - before <= wire::MAX_REPLY);
        }
        let heard: Result<Vec<_>, Malformed> = wire::replies(&packet).collect();
        prop_assert_eq!(heard, Ok(said));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(wire::requests(&bytes).count() <= bytes.len());
        prop_assert!(wire::replies(&bytes).count() <= bytes.len());
    }

    #[test]
    fn a_packet_cut_short_is_refused(said in reply(), cut in any::<prop::sample::Index>()) {
        let mut packet = Vec::new();
        wire::put_reply(&mut packet, &said);
        packet.truncate(cut.index(packet.len()));
        let heard: Result<Vec<_>, Malformed> = wire::replies(&packet).collect();
        prop_assert_eq!(heard, if packet.is_empty() { Ok(Vec::new()) } else { Err(Malformed) });
    }
}
