//! The bytes between the daemon and a prober. A packet is a sequence of messages of one direction, each a tag and
//! its fields in little-endian order; a path is its length and its bytes. Both ends are the same program, so there is
//! no version. Decoding takes any bytes without panicking: what is malformed is an error, and ends the relation.

use super::ProbeId;
use platform::process::MAX_PACKET;
use platform::{Call, Errno, FsKind, MountKey, ProbeOutcome, Target, Usage};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// `PATH_MAX` of Linux with its NUL: no call takes a longer path, so no longer one is sent.
pub(super) const MAX_PATH: usize = 4096;
/// More than any message takes: a probe with the longest path.
pub(super) const MAX_MESSAGE: usize = MAX_PATH + 64;
/// More than any reply takes.
pub(super) const MAX_REPLY: usize = 128;

const _: () = assert!(MAX_MESSAGE < MAX_PACKET && MAX_REPLY < MAX_PACKET);

/// What the daemon says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// Ask this mount.
    Probe(ProbeId, Target),
    /// What has become of this probe? Answered only if it is still unanswered.
    Confirm(ProbeId),
    /// Where is this probe? Answered by `Stuck`, only if a thread is at it; nothing follows from it.
    Locate(ProbeId),
}

/// What a prober says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// It has come up.
    Hello,
    /// The answer of a mount.
    Answer { probe: ProbeId, outcome: ProbeOutcome, took: Duration },
    /// Confirmed: this thread has been in this call, and at this probe for so long.
    Stuck { probe: ProbeId, call: Call, elapsed: Duration, tid: u32 },
    /// Nobody has begun with this probe, and nobody will.
    NotStarted(ProbeId),
    /// No thread can be started; for those that had to be refused, `NotStarted` follows.
    ThreadsFailed(Errno),
}

/// The packet was not made by the other end as we know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

mod tag {
    pub(super) const PROBE: u8 = 1;
    pub(super) const CONFIRM: u8 = 2;
    pub(super) const LOCATE: u8 = 3;
    pub(super) const HELLO: u8 = 65;
    pub(super) const ALIVE: u8 = 66;
    pub(super) const FAILED: u8 = 67;
    pub(super) const ELSEWHERE: u8 = 68;
    pub(super) const STUCK: u8 = 69;
    pub(super) const NOT_STARTED: u8 = 70;
    pub(super) const THREADS_FAILED: u8 = 71;
}

/// A flag is the index of its value.
const FLAG: [bool; 2] = [false, true];
const CALLS: [Call; 3] = [Call::Identify, Call::Statx, Call::Statfs];
const KINDS: [FsKind; 4] = [FsKind::Network, FsKind::Fuse, FsKind::Autofs, FsKind::Local];

/// Appends a question. The path must be shorter than [`MAX_PATH`].
pub(super) fn put_probe(packet: &mut Vec<u8>, probe: ProbeId, target: &Target) {
    let path = target.path.as_os_str().as_bytes();
    debug_assert!(path.len() < MAX_PATH);
    packet.push(tag::PROBE);
    put_u64(packet, probe.0);
    packet.push(index_of(&KINDS, &target.kind));
    put_u64(packet, target.key.0);
    put_u32(packet, target.id);
    packet.push(u8::from(target.owner.is_some()));
    let (uid, gid) = target.owner.unwrap_or_default();
    put_u32(packet, uid);
    put_u32(packet, gid);
    packet.extend_from_slice(&(path.len() as u16).to_le_bytes());
    packet.extend_from_slice(path);
}

/// Appends the question what has become of a probe.
pub(super) fn put_confirm(packet: &mut Vec<u8>, probe: ProbeId) {
    packet.push(tag::CONFIRM);
    put_u64(packet, probe.0);
}

/// Appends the question where a probe is.
pub(super) fn put_locate(packet: &mut Vec<u8>, probe: ProbeId) {
    packet.push(tag::LOCATE);
    put_u64(packet, probe.0);
}

/// Appends a reply.
pub(super) fn put_reply(packet: &mut Vec<u8>, reply: &Reply) {
    match *reply {
        Reply::Hello => packet.push(tag::HELLO),
        Reply::Answer { probe, outcome, took } => {
            let tag = match outcome {
                ProbeOutcome::Alive(_) => tag::ALIVE,
                ProbeOutcome::Failed { .. } => tag::FAILED,
                ProbeOutcome::WrongMount => tag::ELSEWHERE,
            };
            packet.push(tag);
            put_u64(packet, probe.0);
            put_duration(packet, took);
            match outcome {
                ProbeOutcome::Alive(usage) => put_usage(packet, &usage),
                ProbeOutcome::Failed { call, errno } => {
                    packet.push(index_of(&CALLS, &call));
                    put_u32(packet, errno.0.cast_unsigned());
                }
                ProbeOutcome::WrongMount => {}
            }
        }
        Reply::Stuck { probe, call, elapsed, tid } => {
            packet.push(tag::STUCK);
            put_u64(packet, probe.0);
            packet.push(index_of(&CALLS, &call));
            put_duration(packet, elapsed);
            put_u32(packet, tid);
        }
        Reply::NotStarted(probe) => {
            packet.push(tag::NOT_STARTED);
            put_u64(packet, probe.0);
        }
        Reply::ThreadsFailed(errno) => {
            packet.push(tag::THREADS_FAILED);
            put_u32(packet, errno.0.cast_unsigned());
        }
    }
}

/// The requests of a packet, up to the first that is malformed.
pub(super) fn requests(packet: &[u8]) -> impl Iterator<Item = Result<Request, Malformed>> {
    messages(packet, request)
}

/// The replies of a packet, up to the first that is malformed.
pub(super) fn replies(packet: &[u8]) -> impl Iterator<Item = Result<Reply, Malformed>> {
    messages(packet, reply)
}

fn messages<T>(
    mut rest: &[u8],
    message: impl Fn(&mut Fields<'_>) -> Result<T, Malformed>,
) -> impl Iterator<Item = Result<T, Malformed>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut fields = Fields(rest);
        let message = message(&mut fields);
        rest = if message.is_ok() { fields.0 } else { &[] };
        Some(message)
    })
}

fn request(fields: &mut Fields<'_>) -> Result<Request, Malformed> {
    match fields.u8()? {
        tag::PROBE => {
            let probe = ProbeId(fields.u64()?);
            let kind = fields.one_of(&KINDS)?;
            let key = MountKey(fields.u64()?);
            let id = fields.u32()?;
            let owned = fields.one_of(&FLAG)?;
            let owner = (fields.u32()?, fields.u32()?);
            let length = u16::from_le_bytes(fields.array()?);
            let path = fields.bytes(usize::from(length))?;
            let path = Path::new(OsStr::from_bytes(path)).to_path_buf();
            Ok(Request::Probe(probe, Target { path, kind, key, id, owner: owned.then_some(owner) }))
        }
        tag::CONFIRM => Ok(Request::Confirm(ProbeId(fields.u64()?))),
        tag::LOCATE => Ok(Request::Locate(ProbeId(fields.u64()?))),
        _ => Err(Malformed),
    }
}

fn reply(fields: &mut Fields<'_>) -> Result<Reply, Malformed> {
    let answer = |fields: &mut Fields<'_>,
                  outcome: fn(&mut Fields<'_>) -> Result<ProbeOutcome, Malformed>| {
        let probe = ProbeId(fields.u64()?);
        let took = fields.duration()?;
        Ok(Reply::Answer { probe, outcome: outcome(fields)?, took })
    };
    match fields.u8()? {
        tag::HELLO => Ok(Reply::Hello),
        tag::ALIVE => answer(fields, |fields| Ok(ProbeOutcome::Alive(fields.usage()?))),
        tag::FAILED => answer(fields, |fields| {
            Ok(ProbeOutcome::Failed { call: fields.one_of(&CALLS)?, errno: fields.errno()? })
        }),
        tag::ELSEWHERE => answer(fields, |_| Ok(ProbeOutcome::WrongMount)),
        tag::STUCK => Ok(Reply::Stuck {
            probe: ProbeId(fields.u64()?),
            call: fields.one_of(&CALLS)?,
            elapsed: fields.duration()?,
            tid: fields.u32()?,
        }),
        tag::NOT_STARTED => Ok(Reply::NotStarted(ProbeId(fields.u64()?))),
        tag::THREADS_FAILED => Ok(Reply::ThreadsFailed(fields.errno()?)),
        _ => Err(Malformed),
    }
}

fn put_u32(packet: &mut Vec<u8>, value: u32) {
    packet.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(packet: &mut Vec<u8>, value: u64) {
    packet.extend_from_slice(&value.to_le_bytes());
}

/// In nanoseconds: enough for 584 years.
fn put_duration(packet: &mut Vec<u8>, value: Duration) {
    put_u64(packet, u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
}

fn put_usage(packet: &mut Vec<u8>, usage: &Usage) {
    let Usage { block_size, blocks, free, available, files, files_free, read_only } = *usage;
    for number in [block_size, blocks, free, available, files, files_free] {
        put_u64(packet, number);
    }
    packet.push(u8::from(read_only));
}

fn index_of<T: PartialEq>(all: &[T], value: &T) -> u8 {
    all.iter().position(|each| each == value).map_or(u8::MAX, |index| index as u8)
}

/// What is left of a packet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn duration(&mut self) -> Result<Duration, Malformed> {
        self.u64().map(Duration::from_nanos)
    }

    fn errno(&mut self) -> Result<Errno, Malformed> {
        self.array().map(|bytes| Errno(i32::from_le_bytes(bytes)))
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Result<T, Malformed> {
        all.get(usize::from(self.u8()?)).copied().ok_or(Malformed)
    }

    fn usage(&mut self) -> Result<Usage, Malformed> {
        Ok(Usage {
            block_size: self.u64()?,
            blocks: self.u64()?,
            free: self.u64()?,
            available: self.u64()?,
            files: self.u64()?,
            files_free: self.u64()?,
            read_only: self.one_of(&FLAG)?,
        })
    }
}
