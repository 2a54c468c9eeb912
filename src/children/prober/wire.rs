//! The messages between the daemon and a prober: a tag, then its fields.

use super::ProbeId;
use crate::children::codec::{
    Decoder, Malformed, decode_messages, encode_bytes, encode_choice, encode_duration, encode_u32, encode_u64,
};
use platform::process::MAX_PACKET;
use platform::{Call, DataKind, DataProbe, Errno, FsKind, MountKey, ProbeOutcome, Target, Usage, User};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// `PATH_MAX` of Linux with its NUL: no system call takes a longer path.
pub(super) const MAX_PATH: usize = 4096;
/// The longest path of a data-path probe, and the longest name of its own file.
const MAX_DATA_PATH: usize = platform::MAX_DATA_PATH;
const MAX_OWN_FILE: usize = 255;
/// Upper bound of a request's size: a probe with the longest paths.
pub(super) const MAX_REQUEST: usize = MAX_PATH + MAX_DATA_PATH + MAX_OWN_FILE + 96;
/// Upper bound of a reply's size.
pub(super) const MAX_REPLY: usize = 128;

const _: () = assert!(MAX_REQUEST < MAX_PACKET && MAX_REPLY < MAX_PACKET);

/// From the daemon. The path is a `P`, for the receiver its place in the packet: no request needs an allocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request<P = Range<usize>> {
    Probe(ProbeId, Target<P>),
    /// Report the state of this probe at once: `Confirming` or `NotStarted`, or nothing if a response was sent. `Stuck`
    /// follows as soon as it is proven.
    Confirm(ProbeId),
    /// Report the thread of this probe: `Located`, or nothing if no thread works on it.
    Locate(ProbeId),
}

/// From a prober.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// The prober is ready.
    Ready,
    Response {
        probe: ProbeId,
        outcome: ProbeOutcome,
        took: Duration,
    },
    /// A thread works on the probe. Whether it is stuck will be known soon.
    Confirming(ProbeId),
    /// This thread works on the probe.
    Located {
        probe: ProbeId,
        tid: u32,
    },
    /// This thread had worked on the probe for `elapsed` when it was asked, and has not left this call since.
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

mod tag {
    pub(super) const PROBE: u8 = 1;
    pub(super) const CONFIRM: u8 = 2;
    pub(super) const LOCATE: u8 = 3;
    pub(super) const READY: u8 = 65;
    pub(super) const ALIVE: u8 = 66;
    pub(super) const FAILED: u8 = 67;
    pub(super) const WRONG_MOUNT: u8 = 68;
    pub(super) const STUCK: u8 = 69;
    pub(super) const NOT_STARTED: u8 = 70;
    pub(super) const THREADS_FAILED: u8 = 71;
    pub(super) const CONFIRMING: u8 = 72;
    pub(super) const LOCATED: u8 = 73;
    pub(super) const DATA_ALIVE: u8 = 74;
}

const FLAGS: [bool; 2] = [false, true];
const DATA_KINDS: [DataKind; 2] = [DataKind::Read, DataKind::Write];
const KINDS: [FsKind; 7] = [
    FsKind::Network,
    FsKind::Fuse,
    FsKind::Autofs,
    FsKind::Local,
    FsKind::Smb,
    FsKind::Cluster,
    FsKind::Uncached,
];

/// The path must be shorter than [`MAX_PATH`].
pub(super) fn encode_probe(packet: &mut Vec<u8>, probe: ProbeId, target: &Target<impl AsRef<OsStr>>) {
    let path = target.path.as_ref().as_bytes();
    debug_assert!(path.len() < MAX_PATH);
    packet.push(tag::PROBE);
    encode_u64(packet, probe.0);
    encode_choice(packet, &KINDS, &target.kind);
    encode_u64(packet, target.key.0);
    encode_u32(packet, target.id);
    encode_choice(packet, &FLAGS, &target.owner.is_some());
    if let Some((uid, gid)) = target.owner {
        encode_u32(packet, uid);
        encode_u32(packet, gid);
    }
    encode_bytes(packet, path);
    encode_choice(packet, &FLAGS, &target.data.is_some());
    if let Some(data) = &target.data {
        encode_data(packet, data);
    }
}

fn encode_data(packet: &mut Vec<u8>, data: &DataProbe) {
    encode_choice(packet, &DATA_KINDS, &data.kind);
    encode_choice(packet, &FLAGS, &data.identity.is_some());
    if let Some((uid, gid)) = data.identity {
        encode_u32(packet, uid);
        encode_u32(packet, gid);
    }
    encode_bytes(packet, data.path.as_os_str().as_bytes());
    encode_bytes(packet, data.own_file.as_bytes());
}

pub(super) fn encode_confirm(packet: &mut Vec<u8>, probe: ProbeId) {
    packet.push(tag::CONFIRM);
    encode_u64(packet, probe.0);
}

pub(super) fn encode_locate(packet: &mut Vec<u8>, probe: ProbeId) {
    packet.push(tag::LOCATE);
    encode_u64(packet, probe.0);
}

pub(super) fn encode_reply(packet: &mut Vec<u8>, reply: &Reply) {
    match *reply {
        Reply::Ready => packet.push(tag::READY),
        Reply::Response { probe, outcome, took } => {
            packet.push(match outcome {
                ProbeOutcome::Alive(_) => tag::ALIVE,
                ProbeOutcome::DataAlive { .. } => tag::DATA_ALIVE,
                ProbeOutcome::Failed { .. } => tag::FAILED,
                ProbeOutcome::WrongMount => tag::WRONG_MOUNT,
            });
            encode_u64(packet, probe.0);
            encode_duration(packet, took);
            match outcome {
                ProbeOutcome::Alive(usage) => encode_usage(packet, &usage),
                ProbeOutcome::DataAlive { usage, past_cache } => {
                    encode_usage(packet, &usage);
                    encode_choice(packet, &FLAGS, &past_cache);
                }
                ProbeOutcome::Failed { call, errno } => {
                    encode_choice(packet, &Call::ALL, &call);
                    encode_errno(packet, errno);
                }
                ProbeOutcome::WrongMount => {}
            }
        }
        Reply::Confirming(probe) => {
            packet.push(tag::CONFIRMING);
            encode_u64(packet, probe.0);
        }
        Reply::Located { probe, tid } => {
            packet.push(tag::LOCATED);
            encode_u64(packet, probe.0);
            encode_u32(packet, tid);
        }
        Reply::Stuck { probe, call, elapsed, tid } => {
            packet.push(tag::STUCK);
            encode_u64(packet, probe.0);
            encode_choice(packet, &Call::ALL, &call);
            encode_duration(packet, elapsed);
            encode_u32(packet, tid);
        }
        Reply::NotStarted(probe) => {
            packet.push(tag::NOT_STARTED);
            encode_u64(packet, probe.0);
        }
        Reply::ThreadsFailed(errno) => {
            packet.push(tag::THREADS_FAILED);
            encode_errno(packet, errno);
        }
    }
}

fn encode_errno(packet: &mut Vec<u8>, errno: Errno) {
    encode_u32(packet, errno.0.cast_unsigned());
}

fn encode_usage(packet: &mut Vec<u8>, usage: &Usage) {
    let Usage { block_size, blocks, free, available, files, files_free, read_only } = *usage;
    for number in [block_size, blocks, free, available, files, files_free] {
        encode_u64(packet, number);
    }
    encode_choice(packet, &FLAGS, &read_only);
}

pub(super) fn decode_requests(packet: &[u8]) -> impl Iterator<Item = Result<Request, Malformed>> {
    decode_messages(packet, |decoder| decode_request(decoder, packet.len()))
}

pub(super) fn decode_replies(packet: &[u8]) -> impl Iterator<Item = Result<Reply, Malformed>> {
    decode_messages(packet, decode_reply)
}

/// The messages of a packet, each encoded again; `None` if it is malformed. For fuzz tests.
#[doc(hidden)]
#[must_use]
pub fn recode_requests(packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let encoded = |request: Request| {
        let mut recoded = Vec::new();
        match request {
            Request::Probe(probe, target) => {
                let path = OsStr::from_bytes(&packet[target.path.clone()]);
                encode_probe(&mut recoded, probe, &target.with_path(path));
            }
            Request::Confirm(probe) => encode_confirm(&mut recoded, probe),
            Request::Locate(probe) => encode_locate(&mut recoded, probe),
        }
        recoded
    };
    decode_requests(packet).map(|request| request.map(encoded).ok()).collect()
}

/// Same as [`recode_requests`], for replies.
#[doc(hidden)]
#[must_use]
pub fn recode_replies(packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let encoded = |reply: Reply| {
        let mut packet = Vec::new();
        encode_reply(&mut packet, &reply);
        packet
    };
    decode_replies(packet).map(|reply| reply.map(encoded).ok()).collect()
}

/// `length`: of the packet.
fn decode_request(decoder: &mut Decoder<'_>, length: usize) -> Result<Request, Malformed> {
    match decoder.u8()? {
        tag::PROBE => {
            let probe = decode_id(decoder)?;
            let kind = decoder.choice(&KINDS)?;
            let key = MountKey(decoder.u64()?);
            let id = decoder.u32()?;
            let has_owner = decoder.choice(&FLAGS)?;
            let owner = if has_owner { Some((decoder.u32()?, decoder.u32()?)) } else { None };
            let path_length = decoder.bytes()?.len();
            if path_length >= MAX_PATH {
                return Err(Malformed);
            }
            let end = length - decoder.remaining();
            let path = end - path_length..end;
            let has_data = decoder.choice(&FLAGS)?;
            let data = if has_data { Some(Box::new(decode_data(decoder)?)) } else { None };
            Ok(Request::Probe(probe, Target { path, kind, key, id, owner, user: User::System, data }))
        }
        tag::CONFIRM => decode_id(decoder).map(Request::Confirm),
        tag::LOCATE => decode_id(decoder).map(Request::Locate),
        _ => Err(Malformed),
    }
}

fn decode_data(decoder: &mut Decoder<'_>) -> Result<DataProbe, Malformed> {
    let kind = decoder.choice(&DATA_KINDS)?;
    let has_identity = decoder.choice(&FLAGS)?;
    let identity = if has_identity { Some((decoder.u32()?, decoder.u32()?)) } else { None };
    let (path, own_file) = (decoder.bytes()?, decoder.bytes()?);
    if path.len() >= MAX_DATA_PATH || own_file.len() > MAX_OWN_FILE {
        return Err(Malformed);
    }
    let own_file = std::str::from_utf8(own_file).map_err(|_| Malformed)?.to_owned();
    Ok(DataProbe { kind, path: Path::new(OsStr::from_bytes(path)).to_owned(), identity, own_file })
}

fn decode_reply(decoder: &mut Decoder<'_>) -> Result<Reply, Malformed> {
    match decoder.u8()? {
        tag::READY => Ok(Reply::Ready),
        tag @ (tag::ALIVE | tag::DATA_ALIVE | tag::FAILED | tag::WRONG_MOUNT) => {
            let probe = decode_id(decoder)?;
            let took = decoder.duration()?;
            let outcome = match tag {
                tag::ALIVE => ProbeOutcome::Alive(decode_usage(decoder)?),
                tag::DATA_ALIVE => {
                    let usage = decode_usage(decoder)?;
                    ProbeOutcome::DataAlive { usage, past_cache: decoder.choice(&FLAGS)? }
                }
                tag::FAILED => {
                    ProbeOutcome::Failed { call: decoder.choice(&Call::ALL)?, errno: decode_errno(decoder)? }
                }
                _ => ProbeOutcome::WrongMount,
            };
            Ok(Reply::Response { probe, outcome, took })
        }
        tag::CONFIRMING => decode_id(decoder).map(Reply::Confirming),
        tag::LOCATED => Ok(Reply::Located { probe: decode_id(decoder)?, tid: decoder.u32()? }),
        tag::STUCK => Ok(Reply::Stuck {
            probe: decode_id(decoder)?,
            call: decoder.choice(&Call::ALL)?,
            elapsed: decoder.duration()?,
            tid: decoder.u32()?,
        }),
        tag::NOT_STARTED => decode_id(decoder).map(Reply::NotStarted),
        tag::THREADS_FAILED => decode_errno(decoder).map(Reply::ThreadsFailed),
        _ => Err(Malformed),
    }
}

fn decode_id(decoder: &mut Decoder<'_>) -> Result<ProbeId, Malformed> {
    decoder.u64().map(ProbeId)
}

fn decode_errno(decoder: &mut Decoder<'_>) -> Result<Errno, Malformed> {
    decoder.u32().map(|number| Errno(number.cast_signed()))
}

fn decode_usage(decoder: &mut Decoder<'_>) -> Result<Usage, Malformed> {
    Ok(Usage {
        block_size: decoder.u64()?,
        blocks: decoder.u64()?,
        free: decoder.u64()?,
        available: decoder.u64()?,
        files: decoder.u64()?,
        files_free: decoder.u64()?,
        read_only: decoder.choice(&FLAGS)?,
    })
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
