//! The daemon under test, and commands that exit by themselves.

use super::lines::Line;
use super::{Lines, Process, display_path, ms, slack, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::cell::Cell;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The daemon stops within this time after a signal, whatever hangs.
const STOP_LIMIT: Duration = Duration::from_secs(1);

pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
    exit: mpsc::Receiver<std::io::Result<ExitStatus>>,
    is_reaped: bool,
    /// Lines of stderr before this index are ignored.
    first_line: Cell<usize>,
}

/// A command that has ended.
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl Daemon {
    /// Starts the daemon and waits for its first run.
    pub(crate) fn start(command: Command) -> Daemon {
        let daemon = Daemon::spawn(command);
        daemon.wait_for_line("Checked ", ms(10_000));
        daemon
    }

    pub(crate) fn spawn(mut command: Command) -> Daemon {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program starts");
        let stderr = Lines::from_reader(child.stderr.take().expect("stderr is piped"));
        Daemon::with_stderr(child, stderr)
    }

    /// For a child whose stderr the test handles itself.
    pub(crate) fn with_stderr(mut child: Child, stderr: Lines) -> Daemon {
        let stdout = child.stdout.take().map_or_else(Lines::default, Lines::from_reader);
        let process = Process(child.id());
        let (sender, exit) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait()));
        Daemon { process, stdout, stderr, exit, is_reaped: false, first_line: Cell::new(0) }
    }

    /// The second run follows the first after a part of the interval that depends on the machine; later runs are a
    /// whole interval apart. Call it on a daemon that has just started.
    pub(crate) fn wait_for_second_run(&self, interval: Duration) {
        self.skip_earlier_lines();
        self.wait_for_line("Checked ", interval);
    }

    /// From now on, `wait_for_…` and `assert_no_line` see only later lines.
    pub(crate) fn skip_earlier_lines(&self) {
        self.first_line.set(self.stderr.len());
    }

    /// Waits for a line on stderr that contains the text. The limit is extended by [`slack`].
    pub(crate) fn wait_for_line(&self, needle: &str, limit: Duration) -> Line {
        self.stderr
            .wait_for(self.first_line.get(), needle, limit)
            .unwrap_or_else(|| panic!("not logged within {limit:?}: {needle}\n{}", self.transcript()))
    }

    pub(crate) fn wait_for_failure(&self, path: &Path, reason: &str, limit: Duration) -> Line {
        self.wait_for_line(&format!("Mount failed health-check: {} ({reason}:", display_path(path)), limit)
    }

    pub(crate) fn wait_for_recovery(&self, path: &Path, limit: Duration) -> Line {
        self.wait_for_mount_line("Mount recovered", path, limit)
    }

    /// Waits for `EVENT: PATH (`.
    pub(crate) fn wait_for_mount_line(&self, event: &str, path: &Path, limit: Duration) -> Line {
        self.wait_for_line(&format!("{event}: {} (", display_path(path)), limit)
    }

    pub(crate) fn assert_no_line(&self, needle: &str) {
        let lines = self.stderr.all();
        let found = lines.iter().skip(self.first_line.get()).find(|line| line.text.contains(needle));
        assert!(found.is_none(), "unexpected: {found:?}\n{}", self.transcript());
    }

    pub(crate) fn transcript(&self) -> String {
        let lines = self.stderr.all();
        let Some(first) = lines.first().map(|line| line.at) else { return "stderr is empty".into() };
        let text =
            lines.iter().map(|line| format!("{:9.3} {}\n", (line.at - first).as_secs_f64(), line.text));
        text.collect()
    }

    /// The newest prober, which gets the new probes.
    pub(crate) fn prober(&self) -> Process {
        let mut found = None;
        wait_until(ms(5000), "the daemon has a prober", || {
            found = self.children_of_role("prober").max_by_key(|child| child.0);
            found.is_some()
        });
        found.expect("the loop found one")
    }

    /// The evidence collector, if it runs.
    pub(crate) fn collector(&self) -> Option<Process> {
        self.children_of_role("collector").next()
    }

    /// The processes that start the others: the first is the one in use.
    pub(crate) fn launchers(&self) -> Vec<Process> {
        self.children_of_role("launcher").collect()
    }

    /// The same when both run.
    pub(crate) fn both_launchers(&self) -> [Process; 2] {
        let mut found = Vec::new();
        wait_until(ms(5000), "two launchers run", || {
            found = self.launchers();
            found.len() == 2
        });
        [found[0], found[1]]
    }

    fn children_of_role(&self, role: &str) -> impl Iterator<Item = Process> {
        let children = self.process.children().into_iter();
        children.filter(move |child| child.is_alive() && child.has_role(role))
    }

    pub(crate) fn send_signal(&self, signal: Signal) {
        self.process.send_signal(signal);
    }

    /// Checks that SIGTERM ends the daemon in time with exit status 0.
    pub(crate) fn stop(self) {
        self.stop_with(Signal::SIGTERM);
    }

    pub(crate) fn stop_with(mut self, signal: Signal) {
        let start = Instant::now();
        self.send_signal(signal);
        let status = self.reap(start, STOP_LIMIT + slack());
        assert_eq!(status.code(), Some(0), "exit status {status}\n{}", self.transcript());
    }

    /// The exit code, or `None` if the process still runs after the limit.
    pub(crate) fn exit_code_within(mut self, limit: Duration) -> Option<i32> {
        let status = self.exit.recv_timeout(limit).ok()?.ok()?;
        self.is_reaped = true;
        status.code()
    }

    /// Waits until the process ends by itself.
    pub(crate) fn wait_for_exit(mut self, start: Instant, limit: Duration) -> CommandOutput {
        let code = self.reap(start, limit + slack()).code();
        let elapsed = start.elapsed();
        // The last lines may still be in the pipes.
        let text = |lines: &Lines| {
            wait_until(ms(2000), "no process keeps the output open", || lines.ended());
            lines.all().into_iter().map(|line| line.text + "\n").collect::<String>()
        };
        CommandOutput { code, stdout: text(&self.stdout), stderr: text(&self.stderr), elapsed }
    }

    fn reap(&mut self, start: Instant, limit: Duration) -> ExitStatus {
        let exit = self.exit.recv_timeout(limit);
        self.is_reaped = exit.is_ok();
        let status = exit
            .unwrap_or_else(|_| panic!("still running after {:?}\n{}", start.elapsed(), self.transcript()));
        status.expect("a child can be waited for")
    }
}

impl CommandOutput {
    /// Runs a command that ends by itself within the limit.
    pub(crate) fn run(command: Command, limit: Duration) -> CommandOutput {
        let start = Instant::now();
        Daemon::spawn(command).wait_for_exit(start, limit)
    }

    pub(crate) fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
    }

    pub(crate) fn assert_stdout_contains(&self, needle: &str) {
        assert!(self.stdout.contains(needle), "{needle} is not in\n{}", self.stdout);
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {}", self.stdout))
    }

    pub(crate) fn assert_stderr_contains(&self, needle: &str) -> &CommandOutput {
        assert!(self.stderr.contains(needle), "{needle} is not in\n{}", self.stderr);
        self
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The process id cannot be reused until the waiting thread has reaped the process.
        if !self.is_reaped && self.exit.try_recv().is_err() {
            let _ = self.process.try_signal(Signal::SIGKILL);
        }
    }
}
