//! The tasks that wait for a dead mount. One scan of all tasks serves all suspects.
//!
//! A task counts if it is in state D or sleeps in a function that waits for storage (a FUSE or SMB request can be
//! interrupted, so its state is S), and if it belongs to the mount. It is assigned by the open file that its system
//! call uses, else by its working or root directory, else by its kernel stack if only one mount of that family hangs.
//! Each task is inspected twice, so that a short wait for a healthy mount does not count.

mod file_locator;
mod waits;

use crate::evidence::{BlockedTask, BlockedTasks, Family, MAX_NAMED_TASKS, Observation, ScanLimits, Suspect};
use crate::linux::procfs::{Stat, is_permission_error, number_field, numeric_entries, read};
use file_locator::FileLocator;
pub(super) use file_locator::device_of;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The time between the two inspections: longer than a healthy server takes, a tenth of the shortest usual timeout.
const RECHECK_DELAY: Duration = Duration::from_millis(50);
/// Maximum number of tasks that are inspected twice. More than this many tasks do not wait by coincidence.
const MAX_RECHECKS: usize = 512;
/// The files are shorter, or only their beginning is used.
const MAX_FILE: usize = 2048;
/// The file name of this program, also of its copy in memory, and the beginning of the names of its children's threads.
const PROGRAM: &[u8] = b"mount_status_monitor";
const THREAD_PREFIX: &[u8] = b"msm-";

/// A task that may be blocked.
struct Candidate {
    directory: PathBuf,
    /// The index of its suspect; none if it may wait for any of its family.
    suspect: Option<usize>,
    family: Option<Family>,
    task: BlockedTask,
    /// How often it has gone to sleep, which does not change while it is blocked.
    sleeps: Option<u64>,
    /// It wakes up and sleeps again repeatedly although it is blocked.
    polls: bool,
}

/// The blocked tasks of each suspect, below `proc` (`/proc`). Processes of this program are left out, also those of
/// other daemons: they are probers.
#[must_use]
pub fn blocked_tasks(
    proc: &Path,
    suspects: &[Suspect],
    limits: &ScanLimits,
) -> Vec<Observation<BlockedTasks>> {
    let of_user_only = is_inspection_refused(proc);
    let mut scan = Scan {
        own_program: std::fs::read_link(proc.join("self/exe")).ok(),
        locator: FileLocator::new(suspects, limits.until),
        suspects,
        candidates: Vec::new(),
        buffer: [0; MAX_FILE],
    };
    let started = Instant::now();
    let complete = scan.inspect_all(proc, limits);
    if !scan.candidates.is_empty() {
        let recheck_at = (started + RECHECK_DELAY).min(limits.until);
        // Repeated, because park_timeout may return early.
        while let Some(left) =
            recheck_at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            std::thread::park_timeout(left);
        }
        scan.recheck(limits);
    }
    let mut found: Vec<BlockedTasks> =
        suspects.iter().map(|_| BlockedTasks { complete, of_user_only, ..BlockedTasks::default() }).collect();
    for candidate in scan.candidates {
        match candidate.suspect {
            Some(index) => add_task(&mut found[index], candidate.task),
            None => {
                for (suspect, tasks) in suspects.iter().zip(&mut found) {
                    if Some(suspect.family) == candidate.family {
                        tasks.unassigned = tasks.unassigned.saturating_add(1);
                    }
                }
            }
        }
    }
    let observe = |mut tasks: BlockedTasks| {
        if of_user_only && tasks.count == 0 && tasks.unassigned == 0 {
            return Observation::NeedsRoot;
        }
        tasks.named.sort_by_key(|task| task.pid);
        Observation::Found(tasks)
    };
    found.into_iter().map(observe).collect()
}

/// Counts threads and names processes.
fn add_task(tasks: &mut BlockedTasks, task: BlockedTask) {
    tasks.count = tasks.count.saturating_add(1);
    let is_named = tasks.named.iter().any(|named| named.pid == task.pid);
    if !is_named && tasks.named.len() < MAX_NAMED_TASKS {
        tasks.named.push(task);
    }
}

/// Without permission to trace tasks of other users, their wait channels are empty.
fn is_inspection_refused(proc: &Path) -> bool {
    let mut buffer = [0; MAX_FILE];
    read(&proc.join("1/syscall"), &mut buffer).is_err_and(|error| is_permission_error(&error))
}

struct Scan<'a> {
    own_program: Option<PathBuf>,
    locator: FileLocator,
    suspects: &'a [Suspect],
    candidates: Vec<Candidate>,
    buffer: [u8; MAX_FILE],
}

impl Scan<'_> {
    /// Inspects all tasks within the limits, and returns whether all were inspected. The main threads of all processes
    /// come first, so that only large pools of idle threads remain if the time runs out.
    fn inspect_all(&mut self, proc: &Path, limits: &ScanLimits) -> bool {
        let mut remaining = limits.tasks;
        let mut inspect = |process: &Path, pid, tid| {
            if remaining == 0 || limits.is_over() {
                return false;
            }
            remaining -= 1;
            let candidate = self.inspect(process, pid, tid);
            self.candidates.extend(candidate);
            true
        };
        let mut with_threads = Vec::new();
        for pid in numeric_entries(proc) {
            let process = proc.join(pid.to_string());
            if !inspect(&process, pid, pid) {
                return false;
            }
            // A directory has one link for itself, one for its name, and one for each directory in it.
            let tasks = process.join("task");
            if file_locator::link_count(&tasks).is_some_and(|links| links != 3) {
                with_threads.push((pid, process, tasks));
            }
        }
        for (pid, process, tasks) in with_threads {
            for tid in numeric_entries(&tasks).filter(|&tid| tid != pid) {
                if !inspect(&process, pid, tid) {
                    return false;
                }
            }
        }
        true
    }

    fn inspect(&mut self, process: &Path, pid: u32, tid: u32) -> Option<Candidate> {
        let directory = process.join(format!("task/{tid}"));
        // The wait channel is the cheapest file, and excludes most tasks.
        let channel = self.text(&directory, "wchan").unwrap_or_default();
        if waits::is_idle(&channel) {
            return None;
        }
        let stat = Stat::parse(read(&directory.join("stat"), &mut self.buffer).ok()?)?;
        let is_waiting = stat.state == 'D' || waits::family_of(&channel).is_some();
        if !is_waiting || stat.is_kernel_thread || self.is_ours(process, &directory, &stat.name) {
            return None;
        }
        let (suspect, family) = self.find_suspect(process, &directory, &channel)?;
        let sleeps = self.sleeps(&directory);
        let polls = waits::is_polling(&channel);
        let task = BlockedTask { pid, name: stat.name, started: stat.started, seen_for: Duration::ZERO };
        Some(Candidate { directory, suspect, family, task, sleeps, polls })
    }

    /// Whether a task runs this program. Its own name proves nothing, because a task can choose it; it counts only where
    /// the kernel does not tell the program.
    fn is_ours(&mut self, process: &Path, directory: &Path, name: &[u8]) -> bool {
        if let Ok(program) = std::fs::read_link(directory.join("exe")) {
            let file = program.file_name().map_or(&b""[..], |name| name.as_bytes());
            let file = file.strip_suffix(b" (deleted)").unwrap_or(file);
            let file = file.strip_prefix(b"memfd:").unwrap_or(file);
            return file == PROGRAM || file.starts_with(THREAD_PREFIX) || Some(program) == self.own_program;
        }
        let is_child = |name: &[u8]| name.starts_with(THREAD_PREFIX);
        is_child(name)
            || read(&process.join("stat"), &mut self.buffer)
                .is_ok_and(|text| Stat::parse(text).is_some_and(|main| is_child(&main.name)))
    }

    /// The suspect that a task waits for, or only its family; `None` if it waits for something else.
    fn find_suspect(
        &mut self,
        process: &Path,
        directory: &Path,
        channel: &str,
    ) -> Option<(Option<usize>, Option<Family>)> {
        let call = self.text(directory, "syscall").unwrap_or_default();
        if let Some(device) = waits::file_of(&call).and_then(|fd| self.locator.device_of_file(process, fd)) {
            // The system call uses this file, so the task waits for no other file system.
            let index = self.suspect_with(device)?;
            return Some((Some(index), Some(self.suspects[index].family)));
        }
        let stack = self.text(directory, "stack");
        let family = waits::family_of(channel).or_else(|| waits::family_of_stack(stack.as_deref()?));
        let by_directory =
            ["cwd", "root"].into_iter().find_map(|link| self.suspect_with(device_of(&process.join(link))?));
        match (by_directory, family) {
            (Some(index), family) if family.is_none_or(|family| family == self.suspects[index].family) => {
                Some((Some(index), family))
            }
            (_, Some(family)) => self.find_by_family(directory, family).map(|index| (index, Some(family))),
            (_, None) => None,
        }
    }

    /// The suspect that a task waits for that only uses a path. In another mount namespace the path can lead to a file
    /// system that is not known here, so such a task is never assigned to one; and it does not count at all if none of
    /// the suspects is mounted there.
    fn find_by_family(&mut self, directory: &Path, family: Family) -> Option<Option<usize>> {
        let namespace = self.locator.namespace_of(directory);
        let same_family = || self.suspects.iter().enumerate().filter(|(_, s)| s.family == family);
        let mut reachable = same_family().filter(|(_, s)| namespace.devices.contains(&s.device_number));
        reachable.next()?;
        let mut only_hung = same_family().filter(|(_, s)| s.only_hung).map(|(index, _)| index);
        let first = only_hung.next();
        Some(first.filter(|_| namespace.is_watched && only_hung.next().is_none()))
    }

    fn suspect_with(&self, device: crate::DeviceNumber) -> Option<usize> {
        self.suspects.iter().position(|suspect| suspect.device_number == device)
    }

    /// Removes the candidates that have run in the meantime.
    fn recheck(&mut self, limits: &ScanLimits) {
        let mut candidates = std::mem::take(&mut self.candidates);
        let mut checked = 0;
        candidates.retain(|candidate| {
            checked += 1;
            if checked > MAX_RECHECKS || limits.is_over() {
                return true;
            }
            match self.sleeps(&candidate.directory) {
                None => candidate.sleeps.is_none() && candidate.directory.exists(),
                sleeps => candidate.polls || sleeps == candidate.sleeps,
            }
        });
        self.candidates = candidates;
    }

    fn sleeps(&mut self, directory: &Path) -> Option<u64> {
        number_field(read(&directory.join("status"), &mut self.buffer).ok()?, "voluntary_ctxt_switches")
    }

    fn text(&mut self, directory: &Path, file: &str) -> Option<String> {
        let bytes = read(&directory.join(file), &mut self.buffer).ok()?;
        Some(String::from_utf8_lossy(bytes).trim().to_owned())
    }
}

#[cfg(test)]
mod tests;
