//! What a server gets from 5,000 machines that mount it, in a simulation: pure monitors, a clock that jumps, no system
//! call. All machines start in the same moment (the power is back, or one command started them all), the server dies
//! and comes back five minutes later. Counted are the probes that begin in each second, with and without what keeps
//! machines apart.

use mount_status_monitor::monitor::testing::mount;
use mount_status_monitor::monitor::{
    Effect, Event, Input, Monitor, MonitorConfig, ProbeId, ProbeSettings, Time,
};
use platform::{Call, Mount, MountTable, ProbeOutcome, Usage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const MACHINES: u64 = 5_000;
const OUTAGE: Duration = Duration::from_secs(300);
/// Before and after it.
const CALM: Duration = Duration::from_secs(180);
const INTERVAL: Duration = Duration::from_secs(60);
/// What the network and the kernel take: the same for all machines, which is the worst case.
const QUICK: Duration = Duration::from_millis(1);
/// Seconds that one row of a curve stands for.
const ROW: usize = 20;

/// The server does not answer between these moments.
#[derive(Clone, Copy)]
struct Outage {
    from: Time,
    to: Time,
}

impl Outage {
    fn at(self, now: Time) -> bool {
        self.from <= now && now < self.to
    }
}

/// Probes that began in each second, and when the last machine knew that the server is back.
struct Load {
    seconds: Vec<u32>,
    all_know: Duration,
}

fn main() {
    println!(
        "\n{MACHINES} machines with one NFS mount each, started in the same moment; interval 60 s, timeout 3 s\n\
         Probes in a second at the server: mean and peak of each {ROW} s"
    );
    let before = Time::after_start(CALM);
    show("The server dies after 3 minutes, for 5 minutes", Outage { from: before, to: before + OUTAGE });
    let born = Time::default();
    show(
        "The server is dead when the machines start, for 5 minutes",
        Outage { from: born, to: born + OUTAGE },
    );
}

fn show(title: &str, outage: Outage) {
    let together = load(outage, |_| 0);
    // Any numbers will do: they are mixed before use, as are the digests that real machines take.
    let apart = load(outage, |machine| machine + 1);
    println!("\n{title}\n{:>12}  {:>16}   {:>16}", "", "all at once", "kept apart");
    for (row, (a, b)) in together.seconds.chunks(ROW).zip(apart.seconds.chunks(ROW)).enumerate() {
        let at = Duration::from_secs((row * ROW) as u64);
        let state = if outage.at(Time::after_start(at)) { "dead" } else { "" };
        println!("{:>6} s {state:<4}  {}   {}", at.as_secs(), columns(a), columns(b));
    }
    let back = usize::try_from(outage.to.since_start().as_secs()).expect("minutes");
    let peak = |load: &Load, from: usize| load.seconds[from..].iter().max().copied().unwrap_or(0);
    println!(
        "worst second after the first: {} / {}; after the return: {} / {}; all know of the return after {:.0} s / {:.0} s",
        peak(&together, 1),
        peak(&apart, 1),
        peak(&together, back),
        peak(&apart, back),
        together.all_know.as_secs_f64(),
        apart.all_know.as_secs_f64(),
    );
    assert!(peak(&apart, back) * 10 < peak(&together, back), "machines are not kept apart");
    // All at once they know early or late, by chance; nobody may know later than the longest pause allows.
    assert!(apart.all_know <= INTERVAL, "keeping apart costs time");
}

fn columns(seconds: &[u32]) -> String {
    let mean = f64::from(seconds.iter().sum::<u32>()) / seconds.len() as f64;
    format!("{mean:>7.0} {:>8}", seconds.iter().max().copied().unwrap_or(0))
}

fn load(outage: Outage, seed: impl Fn(u64) -> u64) -> Load {
    let end = outage.to + CALM;
    let seconds = usize::try_from(end.since_start().as_secs()).expect("minutes");
    let mut load = Load { seconds: vec![0; seconds], all_know: Duration::ZERO };
    for machine in 0..MACHINES {
        Machine::new(seed(machine), outage).live(end, &mut load);
    }
    load
}

/// One machine: its monitor and what is on its way to it.
struct Machine {
    monitor: Monitor,
    outage: Outage,
    coming: BTreeMap<(Time, u64), Input>,
    sent: u64,
    /// Unanswered probes and when they began.
    waiting: BTreeMap<ProbeId, Time>,
}

impl Machine {
    fn new(seed: u64, outage: Outage) -> Machine {
        let settings = ProbeSettings { poll_interval: INTERVAL, ..ProbeSettings::default() };
        let policy = Box::new(move |_: &Mount| Some(settings));
        let config = MonitorConfig { poll_interval: INTERVAL, policy, expected: Vec::new() };
        let monitor = Monitor::new(config, seed);
        let mut machine =
            Machine { monitor, outage, coming: BTreeMap::new(), sent: 0, waiting: BTreeMap::new() };
        machine.come(Time::default(), Input::TableUpdate(table()));
        machine
    }

    fn come(&mut self, at: Time, input: Input) {
        self.sent += 1;
        self.coming.insert((at, self.sent), input);
    }

    fn live(mut self, end: Time, load: &mut Load) {
        loop {
            let input = self.coming.keys().next().map(|&(at, _)| at);
            let Some(now) =
                input.into_iter().chain(self.monitor.next_deadline()).min().filter(|&at| at < end)
            else {
                return;
            };
            while let Some(entry) = self.coming.first_entry().filter(|entry| entry.key().0 <= now) {
                let input = entry.remove();
                if let Input::ProbeResponded { probe, .. } | Input::ProbeFreed { probe } = input
                    && self.waiting.remove(&probe).is_none()
                {
                    continue; // freed before it was answered
                }
                self.monitor.handle(now, input);
            }
            self.monitor.settle(now);
            while let Some(action) = self.monitor.next_effect() {
                self.carry_out(now, action, load);
            }
        }
    }

    fn carry_out(&mut self, now: Time, action: Effect, load: &mut Load) {
        match action {
            Effect::StartProbe { probe, .. } => {
                let second = usize::try_from(now.since_start().as_secs()).expect("minutes");
                load.seconds[second] += 1;
                self.waiting.insert(probe, now);
                let answered = if self.outage.at(now) { self.outage.to } else { now } + QUICK;
                let outcome = ProbeOutcome::Alive(Usage::default());
                self.come(answered, Input::ProbeResponded { probe, outcome, took: answered - now });
            }
            Effect::ConfirmHang { probe } => {
                let elapsed = now - self.waiting.get(&probe).copied().unwrap_or(now);
                self.come(now + QUICK, Input::ProbeStuck { probe, call: Call::Statfs, elapsed });
            }
            Effect::AbandonProbe { probe } => self.come(now + QUICK, Input::ProbeFreed { probe }),
            Effect::Report(Event::Recovered { .. }) => {
                load.all_know = load.all_know.max(now - self.outage.to);
            }
            Effect::Report(_) | Effect::CollectEvidence { .. } => {}
        }
    }
}

fn table() -> MountTable {
    let nfs = Mount { fstype: "nfs4".into(), device: "server:/home".into(), ..mount(1, "/home") };
    MountTable::new(vec![Arc::new(nfs)])
}
