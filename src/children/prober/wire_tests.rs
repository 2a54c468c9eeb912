use super::*;
use platform::SharedPath;
use proptest::prelude::*;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

fn outcome() -> impl Strategy<Value = ProbeOutcome> {
    let alive = (any::<[u64; 6]>(), any::<bool>()).prop_map(|(n, read_only)| {
        let [block_size, blocks, free, available, files, files_free] = n;
        ProbeOutcome::Alive(Usage { block_size, blocks, free, available, files, files_free, read_only })
    });
    let data_alive = (any::<u64>(), any::<bool>()).prop_map(|(free, past_cache)| {
        let usage = Usage { free, ..Usage::default() };
        ProbeOutcome::DataAlive { usage, past_cache }
    });
    let failed = (prop::sample::select(&Call::ALL), any::<i32>())
        .prop_map(|(call, errno)| ProbeOutcome::Failed { call, errno: Errno(errno) });
    prop_oneof![alive, data_alive, failed, Just(ProbeOutcome::WrongMount)]
}

fn id() -> impl Strategy<Value = ProbeId> {
    any::<u64>().prop_map(ProbeId)
}

fn reply() -> impl Strategy<Value = Reply> {
    let duration = || any::<u64>().prop_map(Duration::from_nanos);
    let stuck = (id(), prop::sample::select(&Call::ALL), duration(), any::<u32>());
    prop_oneof![
        Just(Reply::Ready),
        (id(), outcome(), duration()).prop_map(|(probe, outcome, took)| Reply::Response {
            probe,
            outcome,
            took
        }),
        stuck.prop_map(|(probe, call, elapsed, tid)| Reply::Stuck { probe, call, elapsed, tid }),
        id().prop_map(Reply::Confirming),
        (id(), any::<u32>()).prop_map(|(probe, tid)| Reply::Located { probe, tid }),
        id().prop_map(Reply::NotStarted),
        any::<i32>().prop_map(|errno| Reply::ThreadsFailed(Errno(errno))),
    ]
}

fn data_probe() -> impl Strategy<Value = Box<DataProbe>> {
    let path = prop::collection::vec(any::<u8>(), 0..MAX_DATA_PATH);
    let kind = prop::sample::select(&DATA_KINDS);
    (path, kind, any::<Option<(u32, u32)>>(), "[a-z.]{0,64}").prop_map(|(path, kind, identity, own_file)| {
        Box::new(DataProbe { kind, path: OsString::from_vec(path).into(), identity, own_file })
    })
}

fn target() -> impl Strategy<Value = Target> {
    let path = prop::collection::vec(any::<u8>(), 0..MAX_PATH);
    let kind = prop::sample::select(&KINDS);
    let data = prop::option::of(data_probe());
    (path, kind, any::<u64>(), any::<u32>(), any::<Option<(u32, u32)>>(), data).prop_map(
        |(path, kind, key, id, owner, data)| {
            let path = OsString::from_vec(path).into();
            Target { path, kind, key: MountKey(key), id, owner, user: User::System, data }
        },
    )
}

fn request() -> impl Strategy<Value = Request<SharedPath>> {
    prop_oneof![
        (id(), target()).prop_map(|(id, target)| Request::Probe(id, target)),
        id().prop_map(Request::Confirm),
        id().prop_map(Request::Locate),
    ]
}

proptest! {
    #[test]
    fn requests_are_decoded_as_encoded(requests in prop::collection::vec(request(), 0..8)) {
        let mut packet = Vec::new();
        for request in &requests {
            let before = packet.len();
            match request {
                Request::Probe(id, target) => encode_probe(&mut packet, *id, target),
                Request::Confirm(id) => encode_confirm(&mut packet, *id),
                Request::Locate(id) => encode_locate(&mut packet, *id),
            }
            prop_assert!(packet.len() - before <= MAX_REQUEST);
        }
        let with_path = |request: Request| match request {
            Request::Probe(probe, target) => {
                let path = OsStr::from_bytes(&packet[target.path.clone()]);
                Request::Probe(probe, target.with_path(path.into()))
            }
            Request::Confirm(probe) => Request::Confirm(probe),
            Request::Locate(probe) => Request::Locate(probe),
        };
        let decoded: Result<Vec<_>, Malformed> = decode_requests(&packet).map(|it| it.map(with_path)).collect();
        prop_assert_eq!(decoded, Ok(requests));
    }

    #[test]
    fn replies_are_decoded_as_encoded(replies in prop::collection::vec(reply(), 0..32)) {
        let mut packet = Vec::new();
        for reply in &replies {
            let before = packet.len();
            encode_reply(&mut packet, reply);
            prop_assert!(packet.len() - before <= MAX_REPLY);
        }
        let decoded: Result<Vec<_>, Malformed> = decode_replies(&packet).collect();
        prop_assert_eq!(decoded, Ok(replies));
    }

    #[test]
    fn any_bytes_are_decoded_or_malformed(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(decode_requests(&bytes).count() <= bytes.len());
        prop_assert!(decode_replies(&bytes).count() <= bytes.len());
    }

    #[test]
    fn truncated_packet_is_malformed(reply in reply(), cut in any::<prop::sample::Index>()) {
        let mut packet = Vec::new();
        encode_reply(&mut packet, &reply);
        packet.truncate(cut.index(packet.len()));
        let decoded: Result<Vec<_>, Malformed> = decode_replies(&packet).collect();
        prop_assert_eq!(decoded, if packet.is_empty() { Ok(Vec::new()) } else { Err(Malformed) });
    }
}
