//! The protocols of the prober and of the collector. The input is a conversation of frames, each a letter and a number of
//! 16 bits (little-endian):
//!
//! * `P`, `C`: the prober, or the collector, sends the packet of this length that follows
//! * `T`: this many hundredths of a second pass
//! * `p`, `c`: the prober, or the collector, ends
//!
//! Both children are simulated; the rest is the daemon's code: codec, pool, collector handle, monitor and renderers.

use super::machine::{mounts, table};
use super::{at, monitor, rendering};
use mio::{Poll, Token};
use mount_status_monitor::children::collector::{self, CollectRequest, CollectorEvent, CollectorHandle};
use mount_status_monitor::children::prober::{self, Pool, PoolEvent};
use mount_status_monitor::monitor::{Effect, Input, Monitor, ProbeId, Time};
use mount_status_monitor::render::notices;
use platform::{DeviceNumber, TableUpdate, User};
use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

/// Longer packets are not cut at every byte, which takes quadratic time.
const MAX_CUT: usize = 512;
/// Frames beyond this are ignored: they are not needed for any state of the daemon.
const MAX_FRAMES: usize = 64;
/// Rounds of one turn of the event loop: each has effects or ends it.
const MAX_ROUNDS: usize = 1000;
/// How long a probe may wait for a prober.
const START_TIMEOUT: Duration = Duration::from_secs(1);
const FIRST_PROBER: usize = 4;
const COLLECTOR: Token = Token(1 << 20);

pub fn prober_protocol(input: &[u8]) {
    check_packet(input);
    let mut conversation = Conversation::new();
    let mut rest = input;
    for _ in 0..MAX_FRAMES {
        let Some((&[kind, low, high], tail)) = rest.split_first_chunk() else { break };
        let number = u16::from_le_bytes([low, high]);
        let (packet, tail) = match kind {
            b'P' | b'C' => tail.split_at(tail.len().min(usize::from(number))),
            _ => (&[][..], tail),
        };
        check_packet(packet);
        conversation.frame(kind, number, packet);
        rest = tail;
    }
    conversation.end();
}

/// A packet is decoded as it was encoded, or is malformed.
fn check_packet(packet: &[u8]) {
    for recode in [prober::recode_requests, prober::recode_replies] {
        let Some(messages) = recode(packet) else { continue };
        assert_eq!(messages.concat(), packet, "there is one encoding");
        assert!(messages.iter().all(|message| !message.is_empty()));
        if packet.len() <= MAX_CUT {
            check_cuts(packet, &messages, recode);
        }
    }
    for recode in [collector::recode_requests, collector::recode_replies] {
        // JSON may be spaced or ordered differently.
        let Some(messages) = recode(packet) else { continue };
        assert_eq!(recode(&messages.concat()), Some(messages), "the same messages");
    }
}

/// A packet that is cut within a message is malformed, and so is one with bytes of no message at its end.
fn check_cuts(packet: &[u8], messages: &[Vec<u8>], recode: impl Fn(&[u8]) -> Option<Vec<Vec<u8>>>) {
    let mut whole = 0;
    for (count, message) in messages.iter().enumerate() {
        assert_eq!(recode(&packet[..whole]).as_deref(), Some(&messages[..count]));
        for end in whole + 1..whole + message.len() {
            assert_eq!(recode(&packet[..end]), None, "cut after {end} bytes");
        }
        whole += message.len();
    }
    assert_eq!(recode(&[packet, &[0]].concat()), None, "no message starts with 0");
}

/// The daemon and its children.
struct Conversation {
    now: Time,
    ms: u64,
    monitor: Monitor,
    pool: Pool,
    collector: CollectorHandle,
    /// The ends of the probers, the latest last.
    probers: Vec<UnixDatagram>,
    /// The end of the collector.
    collector_end: Option<UnixDatagram>,
    /// Whether each started probe has ended.
    probes: HashMap<ProbeId, bool>,
    /// The users whose mounts were probed.
    users: BTreeSet<User>,
    locating: HashMap<ProbeId, DeviceNumber>,
    _poll: Poll,
}

impl Conversation {
    fn new() -> Conversation {
        let poll = Poll::new().expect("there are descriptors");
        let registry = || poll.registry().try_clone().expect("there are descriptors");
        // Only if the simulated prober is gone at a bad moment; it ends at once.
        let program = || Some(PathBuf::from("/bin/true"));
        let mut conversation = Conversation {
            now: at(0),
            ms: 0,
            monitor: monitor(),
            pool: Pool::new(registry(), FIRST_PROBER, program()).expect("there are descriptors"),
            collector: CollectorHandle::new(registry(), COLLECTOR, program()).expect("there are descriptors"),
            probers: Vec::new(),
            collector_end: None,
            probes: HashMap::new(),
            users: BTreeSet::new(),
            locating: HashMap::new(),
            _poll: poll,
        };
        conversation.monitor.handle(at(0), Input::TableUpdate(TableUpdate::Whole(table(mounts()))));
        conversation.turn();
        conversation
    }

    fn frame(&mut self, kind: u8, number: u16, packet: &[u8]) {
        match kind {
            b'P' => send(self.probers.last(), packet),
            b'C' => send(self.collector_end.as_ref(), packet),
            b'T' => {
                self.ms += u64::from(number) * 10;
                self.now = at(self.ms);
            }
            b'p' => drop(self.probers.pop()),
            b'c' => drop(self.collector_end.take()),
            _ => return,
        }
        self.turn();
    }

    /// One turn of the event loop, as `daemon` does it.
    fn turn(&mut self) {
        let now = self.now;
        for token in self.pool.tokens() {
            self.pool.handle_ready(now, Token(token));
        }
        self.collector.handle_ready(now);
        self.pool.handle_deadline(now);
        self.collector.handle_deadline(now);
        for round in 0.. {
            assert!(round < MAX_ROUNDS, "the turn does not end");
            self.drain_pool();
            self.drain_collector();
            self.monitor.settle(now);
            let mut has_acted = false;
            while let Some(effect) = self.monitor.next_effect() {
                has_acted = true;
                self.execute(effect);
            }
            self.start_children();
            self.pool.flush(now);
            self.collector.flush(now);
            self.receive();
            if !has_acted && !self.pool.has_events() && !self.collector.has_events() {
                break;
            }
        }
        let deadlines =
            [self.monitor.next_deadline(), self.pool.next_deadline(), self.collector.next_deadline()];
        assert!(
            deadlines.iter().flatten().all(|at| *at > now),
            "not in the future: {deadlines:?} at {now:?}"
        );
    }

    fn drain_pool(&mut self) {
        let events: Vec<PoolEvent> = self.pool.drain_events().collect();
        for event in events {
            self.check_pool_event(&event);
            let input = match event {
                PoolEvent::Responded { probe, outcome, took } => {
                    Input::ProbeResponded { probe, outcome, took }
                }
                PoolEvent::Stuck { probe, call, elapsed } => Input::ProbeStuck { probe, call, elapsed },
                PoolEvent::Located { probe, pid, tid } => {
                    if let Some(device) = self.locating.remove(&probe) {
                        self.collector.inspect_thread(device, pid, tid);
                    }
                    continue;
                }
                PoolEvent::Aborted { probe } => Input::ProbeAborted { probe },
                PoolEvent::Freed { probe } => Input::ProbeFreed { probe },
                PoolEvent::Stranded { .. } | PoolEvent::Notice(..) => continue,
            };
            self.monitor.handle(self.now, input);
        }
    }

    /// Each started probe ends once, whatever the prober sends.
    fn check_pool_event(&mut self, event: &PoolEvent) {
        let (probe, ends) = match event {
            PoolEvent::Responded { probe, .. }
            | PoolEvent::Aborted { probe }
            | PoolEvent::Freed { probe } => (probe, true),
            PoolEvent::Stuck { probe, .. }
            | PoolEvent::Located { probe, .. }
            | PoolEvent::Stranded { probe } => (probe, false),
            PoolEvent::Notice(user, notice) => {
                return rendering::check_notice(&notices::of_prober(*user, notice));
            }
        };
        let ended = self.probes.get_mut(probe).expect("only started probes have events");
        assert!(!*ended, "a probe ends once: {event:?}");
        *ended = ends;
    }

    fn drain_collector(&mut self) {
        let events: Vec<CollectorEvent> = self.collector.drain_events().collect();
        for event in events {
            match Input::try_from(event) {
                Ok(input) => self.monitor.handle(self.now, input),
                Err(notice) => rendering::check_notice(&notices::of_collector(&notice)),
            }
        }
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::StartProbe { probe, target } => {
                assert_eq!(self.probes.insert(probe, false), None, "a probe starts once");
                self.users.insert(target.user);
                self.pool.start(probe, &target);
            }
            Effect::ConfirmHang { probe } => self.pool.confirm(probe),
            Effect::AbandonProbe { probe } => self.pool.abandon(probe),
            Effect::CollectEvidence { mount, mount_ids, probe, only_hung, server_timeout } => {
                let request = CollectRequest::new(&mount, &mount_ids, only_hung, server_timeout);
                self.collector.collect(self.now, request);
                if let Some(probe) = probe {
                    self.locating.insert(probe, mount.device_number);
                    self.pool.locate(probe);
                }
            }
            Effect::Report(event) => rendering::check_event(event),
            Effect::Notify(notice) => rendering::check_notice(&notices::of_user(&notice)),
        }
    }

    fn start_children(&mut self) {
        // An error means that the maximum number of probers exists.
        for user in &self.users {
            if let Ok(Some(end)) = self.pool.simulate_prober(*user) {
                self.probers.push(socket(end));
            }
        }
        if let Some(end) = self.collector.simulate_collector().expect("there are descriptors") {
            self.collector_end = Some(socket(end));
        }
    }

    /// What the daemon sends is well-formed.
    fn receive(&self) {
        let mut buffer = vec![0; 1 << 16];
        for prober in &self.probers {
            while let Ok(length @ 1..) = prober.recv(&mut buffer) {
                let packet = &buffer[..length];
                let requests = prober::recode_requests(packet).expect("the pool sends requests");
                assert_eq!(requests.concat(), packet);
            }
        }
        while let Some(Ok(length @ 1..)) = self.collector_end.as_ref().map(|end| end.recv(&mut buffer)) {
            assert!(collector::recode_requests(&buffer[..length]).is_some(), "the handle sends requests");
        }
    }

    /// All children end: then every probe has ended.
    fn end(mut self) {
        rendering::check_status(self.monitor.status(), self.now);
        self.probers.clear();
        self.collector_end = None;
        for token in self.pool.tokens() {
            self.pool.handle_ready(self.now, Token(token));
        }
        // Probes that wait for a prober, because there are too many, are aborted.
        self.pool.handle_deadline(self.now + START_TIMEOUT);
        self.drain_pool();
        let left: Vec<_> = self.probes.iter().filter(|(_, ended)| !**ended).collect();
        assert!(left.is_empty(), "probes without an end: {left:?}");
        assert_eq!(self.pool.probers(), 0);
    }
}

/// The child's end of a channel. A socket of packets has the calls of a socket of datagrams.
fn socket(end: OwnedFd) -> UnixDatagram {
    let socket = UnixDatagram::from(end);
    socket.set_nonblocking(true).expect("it is a socket");
    socket
}

fn send(to: Option<&UnixDatagram>, packet: &[u8]) {
    if !packet.is_empty()
        && let Some(to) = to
    {
        let _ = to.send(packet); // the daemon may have closed its end
    }
}
