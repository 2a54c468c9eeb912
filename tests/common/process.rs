//! Processes as `/proc` shows them. Reads no file that can block while a process is stuck (such as `cmdline`).

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;

/// A process id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    pub(crate) fn is_alive(self) -> bool {
        self.state().is_some_and(|state| state != 'Z')
    }

    pub(crate) fn state(self) -> Option<char> {
        stat(self.0)?.1.chars().next()
    }

    /// Every thread is stopped.
    pub(crate) fn is_suspended(self) -> bool {
        let tasks = entries(&format!("/proc/{}/task", self.0));
        let mut states = tasks.iter().filter_map(|task| Process(task.parse().ok()?).state());
        states.all(|state| state == 'T')
    }

    /// Whether it is a child of the daemon with this role, the first argument of its command line. Probers inside a
    /// mount namespace have a role of their own.
    pub(crate) fn has_role(self, role: &str) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", self.0)).unwrap_or_default();
        let argument = line.split(|&byte| byte == 0).nth(1).unwrap_or_default();
        argument.strip_prefix(b"namespace-").unwrap_or(argument) == role.as_bytes()
    }

    pub(crate) fn descriptor_count(self) -> usize {
        entries(&format!("/proc/{}/fd", self.0)).len()
    }

    pub(crate) fn thread_count(self) -> usize {
        entries(&format!("/proc/{}/task", self.0)).len()
    }

    pub(crate) fn rss_kib(self) -> u64 {
        status_number(&format!("/proc/{}/status", self.0), "VmRSS:")
    }

    pub(crate) fn anonymous_kib(self) -> u64 {
        status_number(&format!("/proc/{}/status", self.0), "RssAnon:")
    }

    pub(crate) fn peak_rss_kib(self) -> u64 {
        status_number(&format!("/proc/{}/status", self.0), "VmHWM:")
    }

    /// Voluntary context switches of all threads: each is a wake-up that ended.
    pub(crate) fn wakeup_count(self) -> u64 {
        let tasks = entries(&format!("/proc/{}/task", self.0));
        let counts = tasks
            .iter()
            .map(|task| status_number(&format!("/proc/{}/task/{task}/status", self.0), "voluntary_ctxt"));
        counts.sum()
    }

    pub(crate) fn children(self) -> Vec<Process> {
        all_pids().filter(|&pid| stat(pid).is_some_and(|(parent, _)| parent == self.0)).map(Process).collect()
    }

    /// All processes below this one, parents before their children.
    pub(crate) fn descendants(self) -> Vec<Process> {
        let parents: Vec<(u32, u32)> = all_pids().filter_map(|pid| Some((pid, stat(pid)?.0))).collect();
        let mut found = vec![self];
        let mut next = 0;
        while let Some(&Process(pid)) = found.get(next) {
            found.extend(
                parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| Process(*child)),
            );
            next += 1;
        }
        found.split_off(1)
    }

    pub(crate) fn send_signal(self, signal: Signal) {
        self.try_signal(signal).expect("the process exists");
    }

    pub(crate) fn try_signal(self, signal: Signal) -> nix::Result<()> {
        kill(Pid::from_raw(self.0.cast_signed()), signal)
    }
}

/// How many threads of these processes wait for the response of a FUSE server.
pub(crate) fn count_threads_stuck_in_fuse(processes: &[Process]) -> usize {
    let is_stuck = |pid: u32, task: &String| {
        let channel = fs::read_to_string(format!("/proc/{pid}/task/{task}/wchan")).unwrap_or_default();
        channel.contains("request_wait_answer")
    };
    let stuck = |p: &Process| {
        entries(&format!("/proc/{}/task", p.0)).iter().filter(|task| is_stuck(p.0, task)).count()
    };
    processes.iter().map(stuck).sum()
}

fn all_pids() -> impl Iterator<Item = u32> {
    entries("/proc").into_iter().filter_map(|name| name.parse().ok())
}

/// The parent and the state. The command name before them can contain any character, parentheses too.
fn stat(pid: u32) -> Option<(u32, String)> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.to_owned();
    Some((fields.next()?.parse().ok()?, state))
}

fn status_number(file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn entries(directory: &str) -> Vec<String> {
    let listed = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    listed.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
