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
    use crate::children::codec::{Malformed, decode, encode};
    use platform::{FsKind, MountKey, Usage};
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;
    use std::ffi::OsString;
    use std::fmt::Debug;
    use std::os::unix::ffi::OsStringExt;

    fn assert_round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(messages: &[T]) {
        let mut packet = Vec::new();
        messages.iter().for_each(|message| encode(&mut packet, message));
        let decoded: Result<Vec<T>, Malformed> = decode(&packet).collect();
        assert_eq!(decoded.as_deref(), Ok(messages));
    }

    /// The largest values, so that the variable-length format needs the most bytes.
    fn replies() -> [Reply; 6] {
        let (probe, took) = (ProbeId(u64::MAX), Duration::MAX);
        let [block_size, blocks, free, available, files, files_free] = [u64::MAX; 6];
        let usage = Usage { block_size, blocks, free, available, files, files_free, read_only: true };
        let failed = ProbeOutcome::Failed { call: Call::Statfs, errno: Errno(i32::MIN) };
        [
            Reply::Ready,
            Reply::Response { probe, outcome: ProbeOutcome::Alive(usage), took },
            Reply::Response { probe, outcome: failed, took },
            Reply::Stuck { probe, call: Call::Statx, elapsed: took, tid: u32::MAX },
            Reply::NotStarted(probe),
            Reply::ThreadsFailed(Errno::EAGAIN),
        ]
    }

    #[test]
    fn messages_are_decoded_as_encoded_with_any_bytes_in_a_path() {
        let path = OsString::from_vec((0..=255).cycle().take(MAX_PATH - 1).collect()).into();
        let owner = Some((u32::MAX, 0));
        let target = Target { path, kind: FsKind::Fuse, key: MountKey(u64::MAX), id: u32::MAX, owner };
        let probe = Request::Probe(ProbeId(1), Cow::Owned(target));
        assert_round_trip(&[probe, Request::Confirm(ProbeId(2)), Request::Locate(ProbeId(3))]);
        assert_round_trip(&replies());
    }

    #[test]
    fn replies_have_a_bounded_size_and_are_malformed_if_truncated() {
        for reply in replies() {
            let mut packet = Vec::new();
            encode(&mut packet, &reply);
            assert!(packet.len() <= MAX_REPLY, "{reply:?}: {} bytes", packet.len());
            while packet.pop().is_some() && !packet.is_empty() {
                assert_eq!(decode::<Reply>(&packet).collect::<Vec<_>>(), [Err(Malformed)], "{reply:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_malformed(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(decode::<Request>(&bytes).count() <= bytes.len());
            prop_assert!(decode::<Reply>(&bytes).count() <= bytes.len());
        }
    }
}
