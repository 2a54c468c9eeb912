//! The collector process.
//!
//! Its main thread reads what is available at once, one thread scans all tasks for all requests together, and each
//! server is contacted in its own thread. Everything is bounded; if something still gets stuck, the daemon abandons the
//! whole process.

use super::server_checks::ServerChecks;
use super::wire::{self, CollectRequest, EvidenceKind, Reply, Request};
use crate::children::codec::PacketQueue;
use crate::children::daemon_channel::{self, DaemonChannel, exit_with_error};
use platform::DeviceNumber;
use platform::collect::{
    blocked_tasks, connection, fuse_server, fuse_waiting, last_log_lines, stuck_thread, traffic,
};
use platform::evidence::{Evidence, Family, ScanLimits, Suspect};
use platform::process::ChildRole;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const PROC: &str = "/proc";
const CONNECTIONS: &str = "/sys/fs/fuse/connections";
const MOUNTSTATS: &str = "/proc/self/mountstats";
/// Maximum number of tasks that one scan inspects. Linux allows four million; a machine with more than this limit has
/// other problems.
const MAX_TASKS: usize = 200_000;
/// Time limit of a scan of all tasks, and of a scan of the files of all processes: enough for tens of thousands of
/// tasks.
const MAX_SCAN_TIME: Duration = Duration::from_secs(2);
/// A scan may take this long even if the mount is reported sooner: its results are shown later.
const MIN_SCAN_TIME: Duration = Duration::from_millis(300);

/// Runs the collector until the daemon closes its end of the channel.
pub(in crate::children) fn run() -> ! {
    let mut channel = DaemonChannel::init(ChildRole::Collector);
    let servers = ServerChecks::new(|devices, check| {
        let evidence = Evidence { server: Some(check), ..Evidence::default() };
        send_replies(devices.iter().map(|&device| reply(device, EvidenceKind::Server, evidence.clone())));
    });
    let (sender, receiver) = mpsc::channel();
    if thread::Builder::new().name("tasks".into()).spawn(move || scan_tasks(&receiver)).is_err() {
        exit_with_error();
    }
    loop {
        let mut requests = Vec::new();
        channel.wait(None);
        while let Some(packet) = channel.receive() {
            match wire::decode(packet) {
                Ok(messages) => messages.into_iter().for_each(|message| match message {
                    Request::Collect(request) => requests.push(request),
                    Request::InspectThread { device, pid, tid } => inspect_thread(device, pid, tid),
                }),
                Err(_) => exit_with_error(),
            }
        }
        for request in &requests {
            if let Some(endpoint) = request.server {
                servers.request(request.suspect.device_number, endpoint, request.timeout);
            }
        }
        send_replies(read_local(&requests));
        if !requests.is_empty() && sender.send(requests).is_err() {
            exit_with_error();
        }
    }
}

fn reply(device: DeviceNumber, kind: EvidenceKind, evidence: Evidence) -> Reply {
    Reply { device, kind, evidence }
}

fn send_replies(replies: impl IntoIterator<Item = Reply>) {
    let mut packets = PacketQueue::default();
    replies.into_iter().for_each(|reply| wire::encode(&mut packets, &reply));
    while let Some(packet) = packets.first() {
        daemon_channel::send(packet);
        packets.remove_first();
    }
}

fn inspect_thread(device: DeviceNumber, pid: u32, tid: u32) {
    let probe = Some(stuck_thread(Path::new(PROC), pid, tid));
    send_replies([reply(device, EvidenceKind::Thread, Evidence { probe, ..Evidence::default() })]);
}

/// Reads what is available at once.
fn read_local(requests: &[CollectRequest]) -> Vec<Reply> {
    let mut servers: Vec<&[u8]> =
        requests.iter().filter_map(|request| request.server_name.as_deref()).collect();
    servers.sort_unstable();
    servers.dedup();
    let log_lines = if servers.is_empty() { Vec::new() } else { last_log_lines(&servers) };
    let nfs_mounts: Vec<(&OsStr, &Path)> = requests
        .iter()
        .filter(|request| request.suspect.family == Family::Nfs)
        .map(|nfs| (OsStr::from_bytes(&nfs.device), Path::new(OsStr::from_bytes(&nfs.mountpoint))))
        .collect();
    let counts = if nfs_mounts.is_empty() { Vec::new() } else { traffic(Path::new(MOUNTSTATS), &nfs_mounts) };
    let mut counts = counts.into_iter();
    let local = |request: &CollectRequest| {
        let device = request.suspect.device_number;
        let mut evidence = Evidence::default();
        match request.suspect.family {
            Family::Fuse => {
                evidence.fuse_waiting = Some(fuse_waiting(Path::new(CONNECTIONS), connection(device)));
            }
            Family::Nfs => evidence.traffic = counts.next(),
            Family::Smb | Family::Other => {}
        }
        if let Some(name) = request.server_name.as_deref() {
            let index = servers.binary_search(&name).ok();
            evidence.kernel_log = index.and_then(|index| log_lines.get(index).cloned());
        }
        reply(device, EvidenceKind::Local, evidence)
    };
    requests.iter().map(local).collect()
}

fn scan_tasks(receiver: &mpsc::Receiver<Vec<CollectRequest>>) {
    while let Ok(mut requests) = receiver.recv() {
        // Requests that arrived during the last scan share the next one.
        requests.extend(receiver.try_iter().flatten());
        let scan_time = requests.iter().map(|request| request.timeout).min().unwrap_or(MAX_SCAN_TIME);
        let limits = || {
            let until = Instant::now() + scan_time.clamp(MIN_SCAN_TIME, MAX_SCAN_TIME);
            ScanLimits { tasks: MAX_TASKS, until }
        };
        let suspects: Vec<Suspect> = requests.into_iter().map(|request| request.suspect).collect();
        let found = blocked_tasks(Path::new(PROC), &suspects, &limits());
        send_replies(suspects.iter().zip(found).map(|(suspect, tasks)| {
            let evidence = Evidence { tasks: Some(tasks), ..Evidence::default() };
            reply(suspect.device_number, EvidenceKind::Tasks, evidence)
        }));
        let devices: Vec<DeviceNumber> = suspects
            .iter()
            .filter(|suspect| suspect.family == Family::Fuse)
            .map(|suspect| suspect.device_number)
            .collect();
        if devices.is_empty() {
            continue;
        }
        let connections: Vec<u32> = devices.iter().map(|&device| connection(device)).collect();
        let found = fuse_server(Path::new(PROC), &connections, &limits());
        send_replies(devices.into_iter().zip(found).map(|(device, server)| {
            let evidence = Evidence { fuse_server: Some(server), ..Evidence::default() };
            reply(device, EvidenceKind::FuseServer, evidence)
        }));
    }
}
