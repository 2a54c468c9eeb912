//! The daemon under test.

use super::lines::Line;
use super::{Lines, Process, ms, printed, slack, soon};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::Cell;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Within this, whatever hangs, a daemon that is told to stop has stopped.
const STOP_LIMIT: Duration = Duration::from_secs(1);

pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
    ended: mpsc::Receiver<std::io::Result<ExitStatus>>,
    stopped: bool,
    mark: Cell<usize>,
}

/// A run that ends by itself.
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Daemon {
    /// Started, and done with its first run.
    pub(crate) fn start(command: Command) -> Daemon {
        let daemon = Daemon::spawn(command);
        daemon.told("Checked ", ms(10_000));
        daemon
    }

    pub(crate) fn spawn(mut command: Command) -> Daemon {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the daemon starts");
        let stderr = Lines::of_reader(child.stderr.take().expect("it was asked for"));
        Daemon::of(child, stderr)
    }

    /// With a stderr that is somebody else's.
    pub(crate) fn of(mut child: Child, stderr: Lines) -> Daemon {
        let stdout = child.stdout.take().map_or_else(Lines::default, Lines::of_reader);
        let process = Process(child.id());
        let (tell, ended) = mpsc::channel();
        thread::spawn(move || tell.send(child.wait()));
        Daemon { process, stdout, stderr, ended, stopped: false, mark: Cell::new(0) }
    }

    /// The second run comes at some time within the interval after the first, another on each machine; from then on
    /// there is a whole interval between two. Asked of a daemon that has just started.
    pub(crate) fn past_the_second_run(&self, interval: Duration) {
        self.mark();
        self.told("Checked ", interval);
    }

    /// From here on, only what is told later counts as told.
    pub(crate) fn mark(&self) {
        self.mark.set(self.stderr.len());
    }

    /// It tells this (on stderr) within the limit and the slack of a loaded machine.
    pub(crate) fn told(&self, needle: &str, limit: Duration) -> Line {
        self.stderr
            .wait(self.mark.get(), needle, limit + slack())
            .unwrap_or_else(|| panic!("not told within {limit:?}: {needle}\n{}", self.transcript()))
    }

    pub(crate) fn told_failed(&self, path: &Path, reason: &str, limit: Duration) -> Line {
        self.told(&format!("Mount failed health-check: {} ({reason}:", printed(path)), limit)
    }

    pub(crate) fn told_recovered(&self, path: &Path, limit: Duration) -> Line {
        self.told(&format!("Mount recovered: {} (after ", printed(path)), limit)
    }

    /// It has not told this since the mark.
    pub(crate) fn silent_about(&self, needle: &str) {
        let lines = self.stderr.all();
        let told = lines.iter().skip(self.mark.get()).find(|line| line.text.contains(needle));
        assert!(told.is_none(), "told though it is not so: {told:?}\n{}", self.transcript());
    }

    pub(crate) fn transcript(&self) -> String {
        let lines = self.stderr.all();
        let Some(first) = lines.first().map(|line| line.at) else { return "stderr is empty".into() };
        let shown =
            lines.iter().map(|line| format!("{:9.3} {}\n", (line.at - first).as_secs_f64(), line.text));
        shown.collect()
    }

    /// The newest of its children, which is the prober that new probes go to.
    pub(crate) fn prober(&self) -> Process {
        let mut found = None;
        soon(ms(5000), "the daemon has a prober", || {
            let probers = self.process.children().into_iter().filter(|child| !child.is_collector());
            found = probers.filter(|child| child.alive()).max_by_key(|child| child.0);
            found.is_some()
        });
        found.expect("just seen")
    }

    /// The child that collects evidence, while there is one.
    pub(crate) fn collector(&self) -> Option<Process> {
        self.process.children().into_iter().find(|child| child.alive() && child.is_collector())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Told to stop, it stops in time and says that all is well, whatever hangs.
    pub(crate) fn stop(self) {
        self.stop_by(Signal::SIGTERM);
    }

    pub(crate) fn stop_by(mut self, signal: Signal) {
        let start = Instant::now();
        self.signal(signal);
        let ended = self.ended.recv_timeout(STOP_LIMIT + slack());
        self.stopped = ended.is_ok();
        let status = ended
            .unwrap_or_else(|_| panic!("still there {:?} after it\n{}", start.elapsed(), self.transcript()));
        let status = status.expect("a child can be waited for");
        assert_eq!(status.code(), Some(0), "exit status {status}\n{}", self.transcript());
    }

    /// The exit status, if there is one so soon.
    pub(crate) fn ended_within(mut self, limit: Duration) -> Option<i32> {
        let status = self.ended.recv_timeout(limit).ok()?.ok()?;
        self.stopped = true;
        status.code()
    }

    /// Waits for an end by itself.
    pub(crate) fn finish(mut self, start: Instant, limit: Duration) -> Finished {
        let ended = self.ended.recv_timeout(limit + slack());
        let took = start.elapsed();
        self.stopped = ended.is_ok();
        let status = ended.unwrap_or_else(|_| panic!("still running after {took:?}\n{}", self.transcript()));
        // What was written before the end is still on its way through the pipes.
        let text = |lines: &Lines| {
            soon(ms(2000), "nobody holds the output open", || lines.ended());
            lines.all().into_iter().map(|line| line.text + "\n").collect::<String>()
        };
        let code = status.expect("a child can be waited for").code();
        Finished { code, stdout: text(&self.stdout), stderr: text(&self.stderr), took }
    }
}

impl Finished {
    /// Runs a command that ends by itself, whatever hangs.
    pub(crate) fn run(command: Command, limit: Duration) -> Finished {
        let start = Instant::now();
        Daemon::spawn(command).finish(start, limit)
    }

    pub(crate) fn says(&self, needle: &str) -> &Finished {
        assert!(self.stderr.contains(needle), "{needle} is not in\n{}", self.stderr);
        self
    }
}

impl Process {
    pub(crate) fn signal(self, signal: Signal) {
        kill(Pid::from_raw(self.0.cast_signed()), signal).expect("it lives");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its number is nobody else's as long as its end has not been told.
        if !self.stopped && self.ended.try_recv().is_err() {
            let _ = kill(Pid::from_raw(self.process.0.cast_signed()), Signal::SIGKILL);
        }
    }
}
