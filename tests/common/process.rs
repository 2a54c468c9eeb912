//! What `/proc` says of processes. Nothing here asks for what can block while a process is stuck (`cmdline`).

use std::fs;

/// One process, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    pub(crate) fn alive(self) -> bool {
        self.state().is_some_and(|state| state != 'Z')
    }

    pub(crate) fn state(self) -> Option<char> {
        stat(self.0)?.1.chars().next()
    }

    pub(crate) fn is_collector(self) -> bool {
        fs::read_to_string(format!("/proc/{}/comm", self.0)).is_ok_and(|name| name.trim() == "msm-collector")
    }

    pub(crate) fn descriptors(self) -> usize {
        entries(&format!("/proc/{}/fd", self.0)).len()
    }

    pub(crate) fn threads(self) -> usize {
        entries(&format!("/proc/{}/task", self.0)).len()
    }

    pub(crate) fn rss_kib(self) -> u64 {
        self.status("VmRSS:")
    }

    /// How often its threads have gone to sleep, which is how often they were awake.
    pub(crate) fn wakeups(self) -> u64 {
        let counts = entries(&format!("/proc/{}/task", self.0));
        counts
            .iter()
            .map(|task| number(&format!("/proc/{}/task/{task}/status", self.0), "voluntary_ctxt"))
            .sum()
    }

    pub(crate) fn children(self) -> Vec<Process> {
        all().filter(|&pid| stat(pid).is_some_and(|(parent, _)| parent == self.0)).map(Process).collect()
    }

    pub(crate) fn descendants(self) -> Vec<Process> {
        descendants(self.0).into_iter().map(Process).collect()
    }

    fn status(self, key: &str) -> u64 {
        number(&format!("/proc/{}/status", self.0), key)
    }
}

/// How many threads of these processes wait for an answer of a FUSE server.
pub(crate) fn stuck_in_fuse(processes: &[Process]) -> usize {
    let waits = |pid: u32, task: &String| {
        let wchan = fs::read_to_string(format!("/proc/{pid}/task/{task}/wchan")).unwrap_or_default();
        wchan.contains("request_wait_answer")
    };
    let stuck =
        |p: &Process| entries(&format!("/proc/{}/task", p.0)).iter().filter(|task| waits(p.0, task)).count();
    processes.iter().map(stuck).sum()
}

/// All processes below this one, children before their own children.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all().filter_map(|pid| Some((pid, stat(pid)?.0))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn all() -> impl Iterator<Item = u32> {
    entries("/proc").into_iter().filter_map(|name| name.parse().ok())
}

/// The parent and the state. The name before them can hold anything, parentheses too.
fn stat(pid: u32) -> Option<(u32, String)> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.to_owned();
    Some((fields.next()?.parse().ok()?, state))
}

fn number(file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn entries(directory: &str) -> Vec<String> {
    let listed = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    listed.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
