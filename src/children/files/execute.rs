//! Executes requests. Everything here may hang.

use super::request::{Reply, Request};
use super::walk::walk;
use super::{config_files, replace, saved_state, socket, trust::TrustCheck, units};
use platform::evidence::ScanLimits;
use platform::{FsKind, MountTable};
use serde::Serialize;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::ToSocketAddrs as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Maximum number of addresses of one name.
const MAX_ADDRESSES: usize = 16;
const PROC: &str = "/proc";
/// Maximum number of processes that are looked at: the kernel's limit by default on a large machine is about as high.
const MAX_PROCESSES: usize = 1 << 17;
/// For looking at them; shorter than the deadline of the caller, so that what was found arrives.
const SCAN_TIMEOUT: Duration = Duration::from_millis(1500);
/// Bytes copied at a time: what a pipe holds.
const COPY_BUFFER: usize = 64 * 1024;

/// Executes everything but [`Request::Watch`].
pub(super) fn execute(request: Request, descriptors: Vec<OwnedFd>) -> io::Result<Reply> {
    match request {
        Request::Replace { path, owner, mode, text } => done(replace::replace(&path, owner, mode, &text)),
        Request::OpenState { path, limit, records } => saved_state::open(&path, limit, records),
        Request::Read { path, limit } => {
            config_files::read_regular(&path, limit).map(|(_, bytes)| Reply::new([bytes]))
        }
        Request::ReadConfig { path, required, checked } => {
            Ok(config_files::read_config(&path, required, checked))
        }
        Request::Fingerprints { path, with_drop_ins: true } => {
            Ok(Reply::new(config_files::fingerprints(&path)))
        }
        Request::Fingerprints { path, .. } => Ok(Reply::new([config_files::fingerprint(&path)])),
        Request::Bind { path, mode, group } => socket::bind(&path, mode, &group),
        Request::Remove { path, identity } => done(socket::remove(&path, &identity)),
        Request::Connect { path, any_kind } => socket::connect(&path, any_kind),
        Request::Resolve { name } => {
            Ok(Reply::new(name.to_socket_addrs()?.take(MAX_ADDRESSES).map(|address| address.to_string())))
        }
        Request::Certificates { file, directory } => certificates(file.as_deref(), directory.as_deref()),
        Request::FollowLinks { paths } => follow_links(&paths),
        Request::CheckPrograms { paths } => {
            let mut trust = TrustCheck::new();
            let found = paths.iter().map(|path| config_files::findings(path, trust.check(path, None)));
            Ok(Reply::new(found.flatten()))
        }
        Request::Holders { device, mount_id, watched } => {
            json(&platform::collect::holders(PROC.as_ref(), device, mount_id, watched, &scan_limits()))
        }
        Request::Users { device, mount_id } => {
            json(&platform::collect::users(PROC.as_ref(), device, mount_id, &scan_limits()))
        }
        Request::ShowUnits { names } => units::show(&names).map(|text| Reply::new([text])),
        Request::StackedFiles => json(&platform::collect::stacked_files(PROC.as_ref(), "/sys".as_ref())),
        Request::Copy => done(copy(descriptors)),
        Request::Watch { .. } => Err(ErrorKind::Unsupported.into()),
    }
}

fn scan_limits() -> ScanLimits {
    ScanLimits { tasks: MAX_PROCESSES, until: Instant::now() + SCAN_TIMEOUT }
}

fn json(observed: &impl Serialize) -> io::Result<Reply> {
    Ok(Reply::new([serde_json::to_vec(observed)?]))
}

fn done(result: io::Result<()>) -> io::Result<Reply> {
    result.map(|()| Reply::default())
}

/// Each certificate, encoded in DER.
fn certificates(file: Option<&Path>, directory: Option<&Path>) -> io::Result<Reply> {
    let loaded = match (file, directory) {
        (None, None) => rustls_native_certs::load_native_certs(),
        _ => rustls_native_certs::load_certs_from_paths(file, directory),
    };
    if loaded.certs.is_empty() {
        let why = loaded.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(io::Error::new(ErrorKind::NotFound, format!("no certificate is trusted{why}")));
    }
    Ok(Reply::new(loaded.certs.iter().map(|certificate| certificate.to_vec())))
}

/// A path that leads to a mount that may hang is followed only up to there: such mounts are touched by probers alone.
fn follow_links(paths: &[PathBuf]) -> io::Result<Reply> {
    let table = MountTable::read()?;
    let may_hang = |path: &Path| {
        let mut there = table.iter().filter(|mount| mount.mountpoint == path);
        there.any(|mount| mount.kind() != FsKind::Local)
    };
    let follow = |path: &PathBuf| walk(path, |part| !may_hang(part), |_, _| {}).unwrap_or(path.clone());
    Ok(Reply::new(paths.iter().map(|path| follow(path).as_os_str().as_bytes().to_vec())))
}

/// Until the end of the first descriptor. What cannot be written, to a full disk for example, is lost.
fn copy(descriptors: Vec<OwnedFd>) -> io::Result<()> {
    let files: Result<[File; 2], _> = descriptors.into_iter().map(File::from).collect::<Vec<_>>().try_into();
    let [mut from, mut to] = files.map_err(|_| ErrorKind::InvalidInput)?;
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => drop(to.write_all(&buffer[..length])),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
