//! A program that a bench observes: the lines that it writes, with the moment and the processor time at which each arrives.

#![allow(dead_code, unreachable_pub)] // no bench uses all of it

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

pub const LINE_TIMEOUT: Duration = Duration::from_secs(20);

pub struct Line {
    pub at: Instant,
    /// What the program has used up to now, all its threads together.
    pub cpu: Duration,
    pub text: String,
}

pub struct Program {
    child: Child,
    lines: Receiver<Line>,
}

impl Program {
    /// Starts it and reads its lines from standard error, where a daemon writes, or from standard output.
    pub fn start(command: &mut Command, is_daemon: bool) -> Program {
        let (output, errors) =
            if is_daemon { (Stdio::null(), Stdio::piped()) } else { (Stdio::piped(), Stdio::null()) };
        let mut child = command.stdout(output).stderr(errors).spawn().expect("the program starts");
        let pid = child.id();
        let (sender, lines) = mpsc::channel();
        let errors = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let pipe = errors.or(child.stdout.take().map(|pipe| Box::new(pipe) as _)).expect("a pipe");
        std::thread::spawn(move || {
            for text in BufReader::new(pipe).lines().map_while(Result::ok) {
                let line = Line { cpu: cpu_of(pid), at: Instant::now(), text };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Program { child, lines }
    }

    /// The next line with this text.
    pub fn wait_for(&self, text: &str) -> Line {
        loop {
            let line =
                self.lines.recv_timeout(LINE_TIMEOUT).unwrap_or_else(|_| panic!("no line with {text:?}"));
            if line.text.contains(text) {
                return line;
            }
        }
    }

    /// Processor time of all its threads. Its children are not counted.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// Processor time of all other processes in this pid namespace: of a daemon, its children.
    pub fn cpu_of_children(&self) -> Duration {
        let entries = std::fs::read_dir("/proc").expect("procfs").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| ![self.child.id(), std::process::id()].contains(pid)).map(cpu_of).sum()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon that serves its metrics on a socket in this directory, after its first run.
pub struct Daemon {
    program: Program,
    socket: PathBuf,
}

impl Daemon {
    pub fn start(directory: &Path, arguments: &[&str]) -> Daemon {
        let socket = directory.join("socket");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
        command
            .args([
                "--poll-interval",
                "3600",
                "--timeout",
                "10",
                "--syslog",
                "off",
                "--listen-address",
                "off",
            ])
            .arg("--socket")
            .arg(&socket)
            .args(arguments);
        let program = Program::start(&mut command, true);
        program.wait_for("Checked ");
        pause(Duration::from_secs(1)); // what the start left to do
        Daemon { program, socket }
    }

    /// The value of a metric; the name includes the labels.
    pub fn metric(&self, name: &str) -> u64 {
        let mut stream = UnixStream::connect(&self.socket).expect("the daemon listens");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("send the request");
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name}"))
    }
}

impl std::ops::Deref for Daemon {
    type Target = Program;
    fn deref(&self) -> &Program {
        &self.program
    }
}

/// Processor time of a process; none if it has ended.
fn cpu_of(pid: u32) -> Duration {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()));
    clock.and_then(clock_gettime).map_or(Duration::ZERO, Duration::from)
}

/// Processor time of this thread.
pub fn cpu_of_thread() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the clock of this thread").into()
}

pub fn pause(time: Duration) {
    let (_sender, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}
