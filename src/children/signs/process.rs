//! The process that reads signs. It sends nothing while there is none.

use super::tracker::{SUSPICION_INTERVAL, WaitTracker};
use super::wire::{self, Reply, Request};
use crate::children::codec::PacketQueue;
use crate::children::daemon_channel::{self, DaemonChannel, exit_with_error};
use platform::DeviceNumber;
use platform::process::ChildRole;
use platform::signs::SignReader;
use std::time::{Duration, Instant};

/// Samples of all file systems take at most 1/400 of a core, and so do those of file systems with waits.
const COST_FACTOR: u32 = 400;

/// Reads signs until the daemon closes its end of the channel.
pub(in crate::children) fn run() -> ! {
    let mut channel = DaemonChannel::init(ChildRole::Signs);
    let mut sampler = Sampler::new();
    loop {
        let mut packets = PacketQueue::default();
        let found = sampler.sample_if_due(Instant::now());
        found.into_iter().for_each(|sign| wire::encode_reply(&mut packets, &Reply::Found(sign)));
        send_all(packets);
        channel.wait(sampler.due.map(|at| at.saturating_duration_since(Instant::now())));
        while let Some(packet) = channel.receive() {
            match wire::decode_requests(packet) {
                Ok(requests) => requests.into_iter().for_each(|request| sampler.handle(request)),
                Err(_) => exit_with_error(),
            }
        }
        sampler.apply();
    }
}

fn send_all(mut packets: PacketQueue) {
    while let Some(packet) = packets.first() {
        daemon_channel::send(packet);
        packets.remove_first();
    }
}

struct Sampler {
    reader: SignReader,
    tracker: WaitTracker,
    interval: Duration,
    servers: bool,
    fuse: Vec<DeviceNumber>,
    /// The next sample of all file systems; before it, only those with waits are sampled.
    next_full: Option<Instant>,
    has_changed: bool,
    must_answer: bool,
    /// The next sample; none before the first request.
    due: Option<Instant>,
}

impl Sampler {
    fn new() -> Sampler {
        Sampler {
            reader: SignReader::new(),
            tracker: WaitTracker::default(),
            interval: Duration::MAX,
            servers: false,
            fuse: Vec::new(),
            next_full: None,
            has_changed: false,
            must_answer: false,
            due: None,
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Watch { interval, servers } => {
                (self.interval, self.servers, self.has_changed) = (interval, servers, true);
                self.fuse.clear();
                self.must_answer = true;
            }
            Request::Fuse(device) => {
                self.fuse.push(device);
                self.has_changed = true;
            }
            Request::Ping => self.must_answer = true,
        }
    }

    /// Called after all requests that have arrived.
    fn apply(&mut self) {
        if std::mem::take(&mut self.has_changed) {
            let latest = Instant::now().checked_add(self.interval);
            self.next_full = self.next_full.min(latest).or(latest);
            self.due = self.due.min(latest).or(latest);
        }
        if std::mem::take(&mut self.must_answer) {
            let mut packets = PacketQueue::default();
            wire::encode_reply(&mut packets, &Reply::Alive);
            send_all(packets);
        }
    }

    fn sample_if_due(&mut self, now: Instant) -> Vec<platform::signs::Sign> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let is_full = self.next_full.is_none_or(|at| at <= now);
        let before = SignReader::cpu_time();
        let sample = if is_full {
            self.reader.sample(self.servers, &self.fuse)
        } else {
            self.reader.sample(self.servers, &self.tracker.fuse())
        };
        let signs = self.tracker.observe(now, sample);
        let cost = SignReader::cpu_time().saturating_sub(before).saturating_mul(COST_FACTOR);
        if is_full {
            self.next_full = now.checked_add(self.interval.max(cost));
        }
        // A look at few file systems follows one at all of them after the usual time, whatever that cost.
        let pause = if is_full { SUSPICION_INTERVAL } else { SUSPICION_INTERVAL.max(cost) };
        let again = now.checked_add(pause).filter(|_| self.tracker.has_suspicion());
        self.due = self.next_full.into_iter().chain(again).min();
        signs
    }
}
