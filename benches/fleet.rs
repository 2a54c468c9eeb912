//! The load that 5,000 machines cause on the server that they mount, in a simulation of pure monitors without system
//! calls. All machines start at the same moment (the power is back, or one command started them all); the server fails
//! and recovers five minutes later. Counts the probes that start in each second, with and without a seed for each
//! machine.

use mount_status_monitor::monitor::testing::mount;
use mount_status_monitor::monitor::{
    Effect, Event, Input, Monitor, MonitorConfig, ProbeId, ProbeSettings, Time,
};
use platform::{Call, Mount, MountTable, ProbeOutcome, TableUpdate, Usage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const MACHINES: u64 = 5_000;
const OUTAGE: Duration = Duration::from_secs(300);
/// Simulated time before and after the outage.
const MARGIN: Duration = Duration::from_secs(180);
const INTERVAL: Duration = Duration::from_secs(60);
/// The response time: the same for all machines, which is the worst case.
const RESPONSE_TIME: Duration = Duration::from_millis(1);
/// Seconds in one row of the output.
const ROW: usize = 20;

/// The server does not respond between these times.
#[derive(Clone, Copy)]
struct Outage {
    from: Time,
    to: Time,
}

impl Outage {
    fn contains(self, now: Time) -> bool {
        self.from <= now && now < self.to
    }
}

/// Probes that started in each second, and how long it took until every machine had noticed the recovery.
struct Load {
    seconds: Vec<u32>,
    recovery_noticed: Duration,
}

fn main() {
    println!(
        "\n{MACHINES} machines with one NFS mount each, started at the same moment; interval 60 s, timeout 3 s\n\
         Probes per second at the server: mean and peak of each {ROW} s"
    );
    let before = Time::after_start(MARGIN);
    show("The server fails after 3 minutes, for 5 minutes", Outage { from: before, to: before + OUTAGE });
    let start = Time::default();
    show(
        "The server is dead when the machines start, for 5 minutes",
        Outage { from: start, to: start + OUTAGE },
    );
}

fn show(title: &str, outage: Outage) {
    let together = load(outage, |_| 0);
    // Any different numbers serve as seeds.
    let apart = load(outage, |machine| machine + 1);
    println!("\n{title}\n{:>12}  {:>16}   {:>16}", "", "without seeds", "with seeds");
    for (row, (a, b)) in together.seconds.chunks(ROW).zip(apart.seconds.chunks(ROW)).enumerate() {
        let at = Duration::from_secs((row * ROW) as u64);
        let state = if outage.contains(Time::after_start(at)) { "dead" } else { "" };
        println!("{:>6} s {state:<4}  {}   {}", at.as_secs(), columns(a), columns(b));
    }
    let recovery = usize::try_from(outage.to.since_start().as_secs()).expect("minutes");
    let peak = |load: &Load, from: usize| load.seconds[from..].iter().max().copied().unwrap_or(0);
    println!(
        "worst second after the first: {} / {}; after the recovery: {} / {}; all noticed the recovery after {:.0} s / {:.0} s",
        peak(&together, 1),
        peak(&apart, 1),
        peak(&together, recovery),
        peak(&apart, recovery),
        together.recovery_noticed.as_secs_f64(),
        apart.recovery_noticed.as_secs_f64(),
    );
    assert!(peak(&apart, recovery) * 10 < peak(&together, recovery), "seeds do not spread the load");
    // No machine may notice it later than the longest pause allows.
    assert!(apart.recovery_noticed <= INTERVAL, "seeds delay the recovery");
}

fn columns(seconds: &[u32]) -> String {
    let mean = f64::from(seconds.iter().sum::<u32>()) / seconds.len() as f64;
    format!("{mean:>7.0} {:>8}", seconds.iter().max().copied().unwrap_or(0))
}

fn load(outage: Outage, seed: impl Fn(u64) -> u64) -> Load {
    let end = outage.to + MARGIN;
    let seconds = usize::try_from(end.since_start().as_secs()).expect("minutes");
    let mut load = Load { seconds: vec![0; seconds], recovery_noticed: Duration::ZERO };
    for machine in 0..MACHINES {
        Machine::new(seed(machine), outage).run(end, &mut load);
    }
    load
}

/// A monitor and its scheduled inputs.
struct Machine {
    monitor: Monitor,
    outage: Outage,
    scheduled: BTreeMap<(Time, u64), Input>,
    sent: u64,
    /// When each unanswered probe started.
    waiting: BTreeMap<ProbeId, Time>,
}

impl Machine {
    fn new(seed: u64, outage: Outage) -> Machine {
        let settings = ProbeSettings { poll_interval: INTERVAL, ..ProbeSettings::default() };
        let policy = Box::new(move |_: &Mount| Some(settings));
        let config = MonitorConfig {
            poll_interval: INTERVAL,
            policy,
            expected: Vec::new(),
            expected_options: None,
            data_paths: None,
            searches_every_directory: true,
        };
        let monitor = Monitor::new(config, seed);
        let mut machine =
            Machine { monitor, outage, scheduled: BTreeMap::new(), sent: 0, waiting: BTreeMap::new() };
        machine.schedule(Time::default(), Input::TableUpdate(TableUpdate::Whole(table())));
        machine
    }

    fn schedule(&mut self, at: Time, input: Input) {
        self.sent += 1;
        self.scheduled.insert((at, self.sent), input);
    }

    fn run(mut self, end: Time, load: &mut Load) {
        loop {
            let input = self.scheduled.keys().next().map(|&(at, _)| at);
            let Some(now) =
                input.into_iter().chain(self.monitor.next_deadline()).min().filter(|&at| at < end)
            else {
                return;
            };
            while let Some(entry) = self.scheduled.first_entry().filter(|entry| entry.key().0 <= now) {
                let input = entry.remove();
                if let Input::ProbeResponded { probe, .. } | Input::ProbeFreed { probe } = input
                    && self.waiting.remove(&probe).is_none()
                {
                    continue; // freed before its response
                }
                self.monitor.handle(now, input);
            }
            self.monitor.settle(now);
            while let Some(effect) = self.monitor.next_effect() {
                self.execute(now, effect, load);
            }
        }
    }

    fn execute(&mut self, now: Time, effect: Effect, load: &mut Load) {
        match effect {
            Effect::StartProbe { probe, .. } => {
                let second = usize::try_from(now.since_start().as_secs()).expect("minutes");
                load.seconds[second] += 1;
                self.waiting.insert(probe, now);
                let responded_at =
                    if self.outage.contains(now) { self.outage.to } else { now } + RESPONSE_TIME;
                let outcome = ProbeOutcome::Alive(Usage::default());
                self.schedule(
                    responded_at,
                    Input::ProbeResponded { probe, outcome, took: responded_at - now },
                );
            }
            Effect::ConfirmHang { probe } => {
                let elapsed = now - self.waiting.get(&probe).copied().unwrap_or(now);
                self.schedule(now + RESPONSE_TIME, Input::ProbeStuck { probe, call: Call::Statfs, elapsed });
            }
            Effect::AbandonProbe { probe } => self.schedule(now + RESPONSE_TIME, Input::ProbeFreed { probe }),
            Effect::Report(Event::Recovered { .. }) => {
                load.recovery_noticed = load.recovery_noticed.max(now - self.outage.to);
            }
            Effect::Report(_) | Effect::Notify(_) | Effect::CollectEvidence { .. } => {}
        }
    }
}

fn table() -> MountTable {
    let nfs = Mount { fstype: "nfs4".into(), device: "server:/home".into(), ..mount(1, "/home") };
    MountTable::new(vec![Arc::new(nfs)])
}
