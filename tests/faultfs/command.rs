//! Parses the commands on stdin.

use fuser::Errno;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) struct Command {
    pub(crate) mounts: Selection,
    pub(crate) action: Action,
}

pub(crate) enum Selection {
    All,
    Paths(Vec<PathBuf>),
}

pub(crate) enum Action {
    Mount(MountOptions),
    SetBehaviour(Behaviour),
    Release,
    Count,
    Forget,
    Unmount,
    Disconnect,
}

#[derive(Clone, Default)]
pub(crate) struct MountOptions {
    pub(crate) allow_other: bool,
    pub(crate) attr_ttl: Duration,
    pub(crate) fsname: Option<String>,
    pub(crate) subtype: Option<String>,
    /// User and group id of the owner of the mount.
    pub(crate) owner: u32,
    pub(crate) mute: bool,
    /// A directory whose files are served, instead of the usual ones.
    pub(crate) source: Option<PathBuf>,
    /// FUSE_INIT, the first request, is not answered.
    pub(crate) noinit: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Behaviour {
    Reply,
    Mute,
    MuteStatfs,
    /// Reads and writes have no reply.
    MuteData,
    /// Only writes have none.
    MuteWrites,
    FailWrites(Errno),
    Fail(Errno),
    Delay(Duration),
    Soft(Duration, Errno),
}

pub(crate) fn parse(line: &str) -> Result<Command, String> {
    let mut words = line.split(' ');
    let verb = words.next().unwrap_or_default();
    let mounts = selection(words.next().ok_or("missing path")?)?;
    let action = match verb {
        "mount" => Action::Mount(mount_options(&mut words)?),
        "ok" => Action::SetBehaviour(Behaviour::Reply),
        "mute" => Action::SetBehaviour(Behaviour::Mute),
        "statfs_mute" => Action::SetBehaviour(Behaviour::MuteStatfs),
        "data_mute" => Action::SetBehaviour(Behaviour::MuteData),
        "write_mute" => Action::SetBehaviour(Behaviour::MuteWrites),
        "write_errno" => Action::SetBehaviour(Behaviour::FailWrites(errno(words.next())?)),
        "errno" => Action::SetBehaviour(Behaviour::Fail(errno(words.next())?)),
        "delay" => Action::SetBehaviour(Behaviour::Delay(milliseconds(words.next())?)),
        "soft" => Action::SetBehaviour(Behaviour::Soft(milliseconds(words.next())?, errno(words.next())?)),
        "release" => Action::Release,
        "count" => Action::Count,
        "forget" => Action::Forget,
        "unmount" => Action::Unmount,
        "die" => Action::Disconnect,
        _ => return Err("unknown command".into()),
    };
    match words.next() {
        None => Ok(Command { mounts, action }),
        Some(word) => Err(format!("unexpected {word}")),
    }
}

fn mount_options<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<MountOptions, String> {
    let mut options = MountOptions::default();
    for word in words {
        match word.split_once('=') {
            None if word == "allow_other" => options.allow_other = true,
            None if word == "mute" => options.mute = true,
            None if word == "noinit" => options.noinit = true,
            Some(("attr_ttl", n)) => options.attr_ttl = Duration::from_secs(number(n)?),
            Some(("owner", n)) => options.owner = u32::try_from(number(n)?).map_err(|e| e.to_string())?,
            Some(("fsname", name)) => options.fsname = Some(name.to_owned()),
            Some(("subtype", name)) => options.subtype = Some(name.to_owned()),
            Some(("source", path)) => options.source = Some(unescape(path)?),
            _ => return Err(format!("unexpected {word}")),
        }
    }
    Ok(options)
}

fn selection(word: &str) -> Result<Selection, String> {
    if word == "all" {
        return Ok(Selection::All);
    }
    let range = word.rsplit_once('/').and_then(|(parent, name)| {
        let (from, to) = name.split_once("..")?;
        Some((parent, from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
    });
    match range {
        Some((parent, from, to)) => {
            let parent = unescape(parent)?;
            Ok(Selection::Paths((from..to).map(|n| parent.join(n.to_string())).collect()))
        }
        None => Ok(Selection::Paths(vec![unescape(word)?])),
    }
}

fn unescape(text: &str) -> Result<PathBuf, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.get(..3).and_then(|d| std::str::from_utf8(d).ok()).ok_or("incomplete escape")?;
        bytes.push(u8::from_str_radix(digits, 8).map_err(|e| e.to_string())?);
        rest = &rest[3..];
    }
    Ok(OsString::from_vec(bytes).into())
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|e| format!("{word}: {e}"))
}

fn milliseconds(word: Option<&str>) -> Result<Duration, String> {
    Ok(Duration::from_millis(number(word.ok_or("missing milliseconds")?)?))
}

fn errno(word: Option<&str>) -> Result<Errno, String> {
    Ok(match word.ok_or("missing error name")? {
        "EIO" => Errno::EIO,
        "ESTALE" => Errno::ESTALE,
        "ENOTCONN" => Errno::ENOTCONN,
        "ECONNABORTED" => Errno::ECONNABORTED,
        "EHOSTDOWN" => Errno::EHOSTDOWN,
        "EHOSTUNREACH" => Errno::EHOSTUNREACH,
        "ETIMEDOUT" => Errno::ETIMEDOUT,
        "ENODEV" => Errno::ENODEV,
        "EACCES" => Errno::EACCES,
        "ENOENT" => Errno::ENOENT,
        "EDQUOT" => Errno::EDQUOT,
        "ENOSPC" => Errno::ENOSPC,
        "EROFS" => Errno::EROFS,
        "EPROTO" => Errno::EPROTO,
        other => return Err(format!("unknown error name {other}")),
    })
}
