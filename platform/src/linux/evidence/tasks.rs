//! Who waits for a dead mount. One pass over all tasks serves every mount that is asked about.
//!
//! A task counts when it is in state D, or sleeps in a function that waits for storage (a FUSE or SMB request can be
//! interrupted, so its state is S), and when it belongs to the mount: by the open file that its system call works on,
//! else by its working or root directory, else by its kernel stack if only one mount of that kind is in trouble. It is
//! looked at twice, so that one that waits for a healthy mount for a moment is not accused.

mod place;
mod waits;

use super::procfs::{Stat, numbers, read};
use crate::evidence::{BlockedTask, BlockedTasks, MAX_NAMED_TASKS, Observation, Suspect};
use place::Places;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between the two looks at a task: longer than a healthy server takes, a tenth of the shortest usual timeout.
const SECOND_LOOK: Duration = Duration::from_millis(50);
/// Tasks that are looked at twice. So many do not wait by chance.
const MAX_SECOND_LOOKS: usize = 512;
/// What is read of a small file.
const SMALL: usize = 2048;

/// The name of a prober's threads.
const PROBER_NAME: &[u8] = b"msm-prober";

/// How far a pass may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tasks that are looked at.
    pub tasks: usize,
    /// No new one is looked at after this.
    pub until: Instant,
}

impl Limits {
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// One that may be blocked.
struct Candidate {
    directory: PathBuf,
    /// The place of its file system among the suspects; none if it may be any of `family`.
    suspect: Option<usize>,
    family: Option<crate::evidence::Family>,
    task: BlockedTask,
    /// How often it has gone to sleep: one that is blocked sleeps on.
    sleeps: Option<u64>,
    paces: bool,
}

/// The blocked tasks of each suspect, below `proc`. Children of `daemon` are left out: they are the probers, whose
/// trade is to be stuck.
#[must_use]
pub fn blocked_tasks(
    proc: &Path,
    suspects: &[Suspect],
    daemon: u32,
    limits: &Limits,
) -> Vec<Observation<BlockedTasks>> {
    let of_user_only = is_refused_a_look(proc);
    let mut scan = Scan {
        daemon,
        ourselves: std::process::id(),
        places: Places::new(suspects),
        suspects,
        candidates: Vec::new(),
        buffer: [0; SMALL],
    };
    let begun = Instant::now();
    let complete = scan.all(proc, limits);
    if !scan.candidates.is_empty() {
        let second = (begun + SECOND_LOOK).min(limits.until);
        while let Some(left) = second.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        scan.look_again(limits);
    }
    let mut found: Vec<BlockedTasks> =
        suspects.iter().map(|_| BlockedTasks { complete, of_user_only, ..BlockedTasks::default() }).collect();
    for candidate in scan.candidates {
        match candidate.suspect {
            Some(place) => add(&mut found[place], candidate.task),
            None => {
                let same =
                    suspects.iter().zip(&mut found).filter(|(s, _)| Some(s.family) == candidate.family);
                same.for_each(|(_, tasks)| tasks.unassigned = tasks.unassigned.saturating_add(1));
            }
        }
    }
    for tasks in &mut found {
        tasks.named.sort_by_key(|task| task.pid);
    }
    let nothing_seen = |tasks: &BlockedTasks| of_user_only && tasks.count == 0 && tasks.unassigned == 0;
    found
        .into_iter()
        .map(|tasks| if nothing_seen(&tasks) { Observation::NeedsRoot } else { Observation::Found(tasks) })
        .collect()
}

/// Threads are counted, processes are named.
fn add(tasks: &mut BlockedTasks, task: BlockedTask) {
    tasks.count = tasks.count.saturating_add(1);
    let is_known = tasks.named.iter().any(|known| known.pid == task.pid);
    if !is_known && tasks.named.len() < MAX_NAMED_TASKS {
        tasks.named.push(task);
    }
}

/// Without the right to trace others, their wait channels read as nothing.
fn is_refused_a_look(proc: &Path) -> bool {
    let mut buffer = [0; SMALL];
    read(&proc.join("1/syscall"), &mut buffer).is_err_and(|error| super::procfs::is_refusal(&error))
}

struct Scan<'a> {
    daemon: u32,
    ourselves: u32,
    places: Places,
    suspects: &'a [Suspect],
    candidates: Vec<Candidate>,
    buffer: [u8; SMALL],
}

impl Scan<'_> {
    /// Was every task looked at? The first threads of all processes come first: should the time run out, it does so
    /// in the large pools of threads that idle in servers.
    fn all(&mut self, proc: &Path, limits: &Limits) -> bool {
        let mut left = limits.tasks;
        let mut look = |process: &Path, pid, tid| {
            if left == 0 || limits.is_over() {
                return false;
            }
            left -= 1;
            let candidate = self.look(process, pid, tid);
            self.candidates.extend(candidate);
            true
        };
        let mut with_more = Vec::new();
        for pid in numbers(proc) {
            let process = proc.join(pid.to_string());
            if !look(&process, pid, pid) {
                return false;
            }
            // A directory has a link for itself, one for its name, and one from each directory in it.
            let tasks = process.join("task");
            if place::links_of(&tasks).is_some_and(|links| links != 3) {
                with_more.push((pid, process, tasks));
            }
        }
        for (pid, process, tasks) in with_more {
            for tid in numbers(&tasks).filter(|&tid| tid != pid) {
                if !look(&process, pid, tid) {
                    return false;
                }
            }
        }
        true
    }

    fn look(&mut self, process: &Path, pid: u32, tid: u32) -> Option<Candidate> {
        if pid == self.ourselves {
            return None;
        }
        let directory = process.join(format!("task/{tid}"));
        // The wait channel is the cheapest file of all, and rules nearly everybody out.
        let channel = self.text(&directory, "wchan").unwrap_or_default();
        if waits::is_idle(&channel) {
            return None;
        }
        let stat = Stat::parse(read(&directory.join("stat"), &mut self.buffer).ok()?)?;
        let waits = stat.state == 'D' || waits::family_of(&channel).is_some();
        // A prober that an earlier daemon left behind has another parent by now, but not another name.
        let is_ours = stat.parent == self.daemon || pid == self.daemon || stat.name == PROBER_NAME;
        if !waits || stat.is_kernel_thread || is_ours {
            return None;
        }
        let (suspect, family) = self.belongs(process, &directory, &channel)?;
        let sleeps = self.sleeps(&directory);
        let paces = waits::is_paced(&channel);
        let task = BlockedTask { pid, name: stat.name, started: stat.started, seen_for: Duration::ZERO };
        Some(Candidate { directory, suspect, family, task, sleeps, paces })
    }

    /// Whose task it is: one suspect's, or that of some suspect of a family; none if it waits for something else.
    fn belongs(
        &mut self,
        process: &Path,
        directory: &Path,
        channel: &str,
    ) -> Option<(Option<usize>, Option<crate::evidence::Family>)> {
        let call = self.text(directory, "syscall").unwrap_or_default();
        if let Some(device) = waits::file_of(&call).and_then(|file| self.places.of_file(process, file)) {
            // It works on that file: if that is none of the suspects', it waits for something else.
            let place = self.place_of(device)?;
            return Some((Some(place), Some(self.suspects[place].family)));
        }
        let stack = self.text(directory, "stack");
        let waited_for = waits::family_of(channel).or_else(|| waits::family_of_stack(stack.as_deref()?));
        let inside = ["cwd", "root"].into_iter().find_map(|link| {
            let device = place::device_of(&process.join(link))?;
            self.place_of(device)
        });
        match (inside, waited_for) {
            (Some(place), family) if family.is_none_or(|family| family == self.suspects[place].family) => {
                Some((Some(place), family))
            }
            (_, Some(family)) => {
                let same = || self.suspects.iter().enumerate().filter(|(_, s)| s.family == family);
                same().next()?;
                let mut alone = same().filter(|(_, s)| s.alone).map(|(place, _)| place);
                let first = alone.next();
                Some((first.filter(|_| alone.next().is_none()), Some(family)))
            }
            (_, None) => None,
        }
    }

    fn place_of(&self, device: crate::DeviceNumber) -> Option<usize> {
        self.suspects.iter().position(|suspect| suspect.device_number == device)
    }

    /// Those that have moved meanwhile are not blocked.
    fn look_again(&mut self, limits: &Limits) {
        let mut candidates = std::mem::take(&mut self.candidates);
        let mut looks = 0;
        candidates.retain(|candidate| {
            looks += 1;
            if looks > MAX_SECOND_LOOKS || limits.is_over() {
                return true;
            }
            match self.sleeps(&candidate.directory) {
                None => candidate.sleeps.is_none() && candidate.directory.exists(),
                now => candidate.paces || now == candidate.sleeps,
            }
        });
        self.candidates = candidates;
    }

    fn sleeps(&mut self, directory: &Path) -> Option<u64> {
        let text = self.text(directory, "status")?;
        text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())
    }

    fn text(&mut self, directory: &Path, file: &str) -> Option<String> {
        let bytes = read(&directory.join(file), &mut self.buffer).ok()?;
        Some(String::from_utf8_lossy(bytes).trim().to_owned())
    }
}

#[cfg(test)]
mod tests;
