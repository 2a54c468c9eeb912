//! The collector: the process that looks for evidence. `main` calls [`run`] instead of anything else when its first
//! argument is `collector`.
//!
//! Its main thread reads what is there at once; one thread goes through all tasks, for all mounts that wait for it
//! together; each server is asked in a thread of its own. All of it is bounded, and should something get stuck all
//! the same, the daemon leaves the whole process behind.

use super::servers::Servers;
use super::wire::{self, CollectRequest, Part, Reply, Request};
use platform::collect::{
    Limits, blocked_tasks, connection, fuse_server, fuse_waiting, last_log_lines, stuck_thread, traffic,
};
use platform::evidence::{Evidence, Family, Suspect};
use platform::process::{self, Channel, MAX_PACKET};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const PROC: &str = "/proc";
const CONNECTIONS: &str = "/sys/fs/fuse/connections";
const MOUNTSTATS: &str = "/proc/self/mountstats";
/// Tasks that one pass looks at; Linux has no more than four million, and a machine with so many in use has other
/// worries.
const MAX_TASKS: usize = 200_000;
/// How long a pass over all tasks may take, and that over the files of all processes: enough for some ten thousand
/// tasks on a machine that has little else to do.
const MAX_PASS: Duration = Duration::from_secs(2);
/// A pass is allowed this much even if the verdict is nearer: what it finds is shown later.
const LEAST_PASS: Duration = Duration::from_millis(300);
/// Exit status when the daemon says something that it never says, or when we have a bug.
const BROKEN: i32 = 70; // EX_SOFTWARE of sysexits.h

/// Runs the collector until the daemon closes its end of the socket that is our descriptor 0.
pub fn run() -> ! {
    process::become_collector();
    // A thread that panics would take its work with it, silently; the end of the process tells the daemon.
    std::panic::set_hook(Box::new(|_| process::exit_now(BROKEN)));
    let servers = Servers::new(|devices, check| {
        let evidence = Evidence { server: Some(check), ..Evidence::default() };
        let reply = |&device| Reply { device, part: Part::Server, evidence: evidence.clone() };
        tell(&devices.iter().map(reply).collect::<Vec<_>>());
    });
    let (give, given) = mpsc::channel();
    let daemon = process::parent_id();
    if thread::Builder::new().name("tasks".into()).spawn(move || go_through_tasks(daemon, &given)).is_err() {
        process::exit_now(BROKEN);
    }
    let Ok(mut channel) = process::prober_channel() else { process::exit_now(BROKEN) };
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        let mut subjects = Vec::new();
        // The first packet is waited for, and those that came with it are taken with it.
        let mut wait = true;
        while let Some(length) = receive(&mut channel, &mut buffer, wait) {
            wait = false;
            match wire::messages(&buffer[..length]) {
                Ok(requests) => requests.into_iter().for_each(|request| match request {
                    Request::Collect(subject) => subjects.push(subject),
                    Request::Thread { device, pid, tid } => look_at_thread(device, pid, tid),
                }),
                Err(_) => process::exit_now(BROKEN),
            }
        }
        for subject in &subjects {
            if let Some(key) = subject.address {
                servers.ask(subject.suspect.device_number, key, subject.patience);
            }
        }
        tell(&local(&subjects));
        if !subjects.is_empty() && give.send(subjects).is_err() {
            process::exit_now(BROKEN);
        }
    }
}

fn receive(channel: &mut Channel, buffer: &mut [u8], wait: bool) -> Option<usize> {
    if wait && channel.wait_readable(None).is_err() {
        process::exit_now(BROKEN);
    }
    match channel.receive(buffer) {
        Ok(0) => process::exit_now(0), // the daemon ended, or has no use for us any more
        Ok(length) => Some(length),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(_) => process::exit_now(BROKEN),
    }
}

fn tell(replies: &[Reply]) {
    for packet in wire::packets(replies) {
        if process::answer(&packet).is_err() {
            process::exit_now(0); // nobody wants to know any more
        }
    }
}

fn look_at_thread(device: platform::DeviceNumber, pid: u32, tid: u32) {
    let probe = Some(stuck_thread(Path::new(PROC), pid, tid));
    tell(&[Reply { device, part: Part::Thread, evidence: Evidence { probe, ..Evidence::default() } }]);
}

/// What is read at once.
fn local(subjects: &[CollectRequest]) -> Vec<Reply> {
    let of_servers: Vec<&CollectRequest> =
        subjects.iter().filter(|subject| subject.server_name.is_some()).collect();
    let names: Vec<&[u8]> =
        of_servers.iter().map(|subject| subject.server_name.as_deref().unwrap_or_default()).collect();
    let words = if names.is_empty() { Vec::new() } else { last_log_lines(&distinct(&names)) };
    let of_nfs = subjects.iter().filter(|subject| subject.suspect.family == Family::Nfs);
    let mounts: Vec<(&OsStr, &Path)> = of_nfs
        .map(|it| (OsStr::from_bytes(&it.device), Path::new(OsStr::from_bytes(&it.mountpoint))))
        .collect();
    let mut counts =
        if mounts.is_empty() { Vec::new() } else { traffic(Path::new(MOUNTSTATS), &mounts) }.into_iter();
    let reply = |subject: &CollectRequest| {
        let device = subject.suspect.device_number;
        let mut evidence = Evidence::default();
        if subject.suspect.family == Family::Fuse {
            evidence.fuse_waiting = Some(fuse_waiting(Path::new(CONNECTIONS), connection(device)));
        }
        if subject.suspect.family == Family::Nfs {
            evidence.traffic = counts.next();
        }
        if let Some(name) = subject.server_name.as_deref() {
            let place = distinct(&names).iter().position(|known| *known == name);
            evidence.kernel_log = place.and_then(|place| words.get(place).cloned());
        }
        Reply { device, part: Part::Local, evidence }
    };
    subjects.iter().map(reply).collect()
}

/// Each name once, in an order that does not change.
fn distinct<'a>(names: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    names
}

fn go_through_tasks(daemon: u32, given: &mpsc::Receiver<Vec<CollectRequest>>) {
    while let Ok(mut subjects) = given.recv() {
        // Whoever came while the last pass was under way shares the next.
        subjects.extend(given.try_iter().flatten());
        let suspects: Vec<Suspect> = subjects.iter().map(|subject| subject.suspect.clone()).collect();
        let patience = subjects.iter().map(|subject| subject.patience).min().unwrap_or(MAX_PASS);
        let limits = || {
            let until = Instant::now() + patience.clamp(LEAST_PASS, MAX_PASS);
            Limits { tasks: MAX_TASKS, until }
        };
        let found = blocked_tasks(Path::new(PROC), &suspects, daemon, &limits());
        let replies = suspects.iter().zip(found).map(|(suspect, tasks)| Reply {
            device: suspect.device_number,
            part: Part::Tasks,
            evidence: Evidence { tasks: Some(tasks), ..Evidence::default() },
        });
        tell(&replies.collect::<Vec<_>>());

        let served: Vec<&Suspect> = suspects.iter().filter(|s| s.family == Family::Fuse).collect();
        if served.is_empty() {
            continue;
        }
        let connections: Vec<u32> = served.iter().map(|s| connection(s.device_number)).collect();
        let found = fuse_server(Path::new(PROC), &connections, &limits());
        let replies = served.iter().zip(found).map(|(suspect, server)| Reply {
            device: suspect.device_number,
            part: Part::FuseServer,
            evidence: Evidence { fuse_server: Some(server), ..Evidence::default() },
        });
        tell(&replies.collect::<Vec<_>>());
    }
}
