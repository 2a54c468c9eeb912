//! Weeks of machines, and what the log says about them. Real are the monitor, the throttle of table reads, and all that
//! makes lines of events: rules, priorities, lines of runs, of changes and of next steps, the sink with its queue and its
//! thread. Simulated are the clock, the mounts, the probers and the collector of evidence.

mod simulation;

use mount_status_monitor::config::Config;
use mount_status_monitor::monitor::{Event, ProbeSettings, Time};
use mount_status_monitor::output::sink::{Delivery, SinkWriter};
use mount_status_monitor::output::{Dispatcher, Report, ReportSettings, Reporter, RunReports, Sink};
use mount_status_monitor::render::{Message, Priority};
use simulation::{FsBehavior, Simulation};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

const MARK: &str = "mark";

struct Journal(Sender<Message>);

impl SinkWriter for Journal {
    fn write(&mut self, message: &Message) -> Delivery {
        self.0.send(message.clone()).map_or(Delivery::Lost, |()| Delivery::Done)
    }
}

/// A machine with a log.
struct Machine {
    simulation: Simulation,
    outputs: Dispatcher,
    reporter: Reporter,
    sink: Sink,
    lines: Receiver<Message>,
    start: Instant,
    deaths: Vec<String>,
}

impl Machine {
    fn new() -> Machine {
        let (sender, lines) = channel();
        let sink = Sink::start("journal", Journal(sender)).expect("a thread");
        let reporter = Reporter::with_sinks(vec![(sink.clone(), Priority::Info)]);
        let report = ReportSettings { report_runs: RunReports::Changed, ..ReportSettings::default() };
        reporter.reconfigure(&report);
        let config = Config { report, ..Config::default() };
        let outputs = Dispatcher::new(config.into(), reporter.clone()).expect("no hooks");
        let mut simulation = Simulation::new(ProbeSettings::default(), 1);
        simulation.reads_changes = true;
        simulation.mount(1, "/", "ext4", 1, 0);
        Machine { simulation, outputs, reporter, sink, lines, start: Instant::now(), deaths: Vec::new() }
    }

    /// Lets time pass, and logs what happens.
    fn run_until(&mut self, until: Duration) {
        self.simulation.run_until(Time::after_start(until));
        self.simulation.log.clear();
        for (at, event) in std::mem::take(&mut self.simulation.events) {
            let now = self.start + at.since_start();
            self.write_held(now);
            if let Event::Failed { mount, .. } = &event {
                self.deaths.push(mount.mountpoint.display().to_string());
            }
            let time = SystemTime::UNIX_EPOCH + at.since_start();
            self.outputs.report(now, time, &Report::Event(event));
        }
        self.write_held(self.start + until);
        while self.sink.queued().0 > 0 {
            std::thread::yield_now();
        }
    }

    fn write_held(&self, now: Instant) {
        while let Some(due) = self.outputs.next_deadline().filter(|due| *due <= now) {
            self.outputs.send_held(due);
        }
    }

    /// Writes a line that [`Machine::end`] divides the others by.
    fn mark(&self) {
        self.reporter.notice(SystemTime::UNIX_EPOCH, Priority::Info, MARK);
    }

    /// All lines between the marks, and the paths of the mounts that died.
    fn end(self) -> (Vec<Vec<Message>>, Vec<String>) {
        assert!(self.reporter.close(MINUTE));
        assert_eq!(self.sink.dropped_total(), 0);
        let lines: Vec<Message> = self.lines.try_iter().collect();
        (lines.split(|line| line.text == MARK).map(<[Message]>::to_vec).collect(), self.deaths)
    }
}

fn texts(lines: &[Message]) -> String {
    let hour = |line: &Message| seconds(line) / 3600.0;
    lines.iter().map(|line| format!("{:.2}h {:?} {}\n", hour(line), line.priority, line.text)).collect()
}

fn seconds(line: &Message) -> f64 {
    line.time.duration_since(SystemTime::UNIX_EPOCH).expect("after the start").as_secs_f64()
}

#[test]
fn quiet_week_of_forty_mounts_has_fewer_than_200_lines() {
    let mut machine = Machine::new();
    for key in 2..=40 {
        machine.simulation.mount(
            key,
            &format!("/srv/data{key}"),
            "nfs4",
            u32::try_from(key).expect("small"),
            1,
        );
    }
    machine.simulation.feed_table();
    machine.run_until(WEEK);
    let (lines, _) = machine.end();
    let [lines] = &lines[..] else { panic!("no mark") };
    println!("{} lines", lines.len());
    assert!(lines.len() < 200 && lines.len() > 7 * 23, "{}", lines.len());
    assert!(lines.iter().all(|line| line.text == "Checked 40 mounts; 0 are dead"), "{}", texts(lines));
}

/// The server is lost for eight hours of a week.
#[test]
fn lost_server_with_twelve_mounts_is_a_screenful_with_the_next_steps() {
    const SCREEN: usize = 24;
    let mut machine = Machine::new();
    for key in 2..=40 {
        let (fstype, minor) =
            if key <= 13 { ("nfs4", 2) } else { ("ext4", u32::try_from(key).expect("small")) };
        machine.simulation.mount(key, &format!("/srv/data{key}"), fstype, minor, 1);
    }
    machine.simulation.feed_table();
    let lost = 3 * DAY + MINUTE / 2;
    machine.run_until(lost);
    machine.mark();
    machine.simulation.set_fs(2, FsBehavior::Hangs);
    machine.run_until(lost + 8 * HOUR);
    machine.mark();
    machine.simulation.set_fs(2, FsBehavior::Responds(simulation::QUICK));
    machine.run_until(WEEK);
    let (lines, _) = machine.end();
    let [before, during, after] = &lines[..] else { panic!("two marks") };
    println!("{} before, {} after; during:\n{}", before.len(), after.len(), texts(during));
    assert!(before.len() + after.len() < 200, "{} {}", before.len(), after.len());
    // Each dead mount by name with its reason and server, at once.
    let failed = |line: &&Message| line.text.starts_with("Mount failed health-check: /srv/data");
    let failed: Vec<_> = during.iter().take(13).filter(failed).collect();
    assert!(failed.len() == 12 && failed.iter().all(|line| line.text.contains("from server2:/export")));
    let command = "(server server2: 12); next steps: mount_status_monitor diagnose /srv/data2, and so for";
    let has_steps = |lines: &[Message]| lines.iter().any(|line| line.text.contains(command));
    assert!(has_steps(&during[..SCREEN.min(during.len())]), "{}", texts(during));
    let of_first_hour = during.iter().filter(|line| seconds(line) < (lost + HOUR).as_secs_f64()).count();
    assert!(of_first_hour <= SCREEN, "{of_first_hour} lines: {}", texts(during));
    // An operator who looks later sees them too: the last lines have them.
    assert!(has_steps(&during[during.len() - SCREEN..]), "{}", texts(during));
    let recovered = after.iter().filter(|line| line.text.starts_with("Mount recovered: /srv/data")).count();
    assert_eq!(recovered, 12);
}

/// One pod a minute with five volumes, which lives for six minutes. Some volumes die.
#[test]
fn week_of_pods_has_a_line_a_minute_and_all_deaths() {
    const LIFE: u64 = 6;
    let mut machine = Machine::new();
    let mut dead = Vec::new();
    machine.simulation.feed_table();
    let minutes = WEEK.as_secs() / 60;
    for minute in 0..minutes {
        let first = 10 + minute * 5;
        for key in first..first + 5 {
            let path = format!("/pods/{minute}/pvc-{key}");
            machine.simulation.mount(key, &path, "nfs4", u32::try_from(key).expect("small"), 1);
            // Some respond again before they are unmounted.
            let ends = minute % 400 == 7;
            if minute % 200 == 7 && key == first {
                dead.push((minute, key, path, ends));
            }
        }
        if minute >= LIFE {
            (first - LIFE * 5..first - LIFE * 5 + 5)
                .for_each(|key| drop(machine.simulation.mounts.remove(&key)));
        }
        for (since, key, _, ends) in &dead {
            let minor = u32::try_from(*key).expect("small");
            match minute - since {
                1 => machine.simulation.set_fs(minor, FsBehavior::Hangs),
                5 if *ends => machine.simulation.set_fs(minor, FsBehavior::Responds(simulation::QUICK)),
                _ => {}
            }
        }
        machine.simulation.announce();
        machine.run_until(MINUTE * u32::try_from(minute + 1).expect("small"));
    }
    let (lines, deaths) = machine.end();
    let lines = lines.concat();
    let is_routine = |line: &&Message| line.priority == Priority::Info;
    let routine: Vec<_> = lines.iter().filter(is_routine).collect();
    let others: Vec<_> = lines.iter().filter(|line| !is_routine(line)).cloned().collect();
    let mut of_hours = vec![0; (WEEK.as_secs() / 3600) as usize];
    routine.iter().for_each(|line| of_hours[(seconds(line) / 3600.0) as usize] += 1);
    println!("{} routine lines, {of_hours:?} an hour; {} others", routine.len(), others.len());
    println!("{}", texts(&others[..others.len().min(20)]));
    assert!(routine.len() as u64 <= minutes, "{}", routine.len());
    assert!(of_hours[12..].iter().all(|&lines| lines <= 60), "{of_hours:?}");
    assert_eq!(dead.len(), deaths.len());
    for (_, _, path, ends) in &dead {
        let count = |prefix: &str| {
            others.iter().filter(|line| line.text.starts_with(&format!("{prefix}: {path} ("))).count()
        };
        assert_eq!(count("Mount failed health-check"), 1, "{path}");
        assert_eq!(
            (count("Mount recovered"), count("Mount disappeared")),
            if *ends { (1, 0) } else { (0, 1) },
            "{path}"
        );
    }
    let concerns_dead = |line: &Message| dead.iter().any(|(_, _, path, _)| line.text.contains(path.as_str()));
    let unexplained: Vec<_> = others.into_iter().filter(|line| !concerns_dead(line)).collect();
    assert!(unexplained.is_empty(), "{}", texts(&unexplained));
}
