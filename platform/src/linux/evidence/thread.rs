//! Where one thread is stuck.

use crate::evidence::{Observation, StuckThread};
use crate::linux::procfs::{Stat, not_observed, read, stack_functions};
use std::path::Path;

/// Maximum number of stack functions kept: there are fewer between the system call and the wait.
const MAX_FUNCTIONS: usize = 24;
/// The files are shorter.
const MAX_FILE: usize = 8192;

/// The state, wait channel and kernel stack of a thread, below `proc` (`/proc`).
#[must_use]
pub fn stuck_thread(proc: &Path, pid: u32, tid: u32) -> Observation<StuckThread> {
    let mut buffer = [0; MAX_FILE];
    let directory = proc.join(format!("{pid}/task/{tid}"));
    let stat = match read(&directory.join("stat"), &mut buffer) {
        Ok(stat) => Stat::parse(stat),
        Err(error) => return not_observed(&error),
    };
    let Some(state) = stat.map(|stat| stat.state) else { return Observation::Unknown };
    let stack = match read(&directory.join("stack"), &mut buffer) {
        Ok(stack) => {
            let mut found = stack_functions(stack);
            found.truncate(MAX_FUNCTIONS);
            if found.is_empty() { Observation::Unknown } else { Observation::Found(found) }
        }
        Err(error) => not_observed(&error),
    };
    let wait_channel = read(&directory.join("wchan"), &mut buffer)
        .ok()
        .map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned())
        .filter(|name| !name.is_empty() && name != "0");
    Observation::Found(StuckThread { state, wait_channel, stack })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_thread_is_found_and_missing_one_is_unknown() {
        let proc = Path::new("/proc");
        let us = std::process::id();
        let (sender, receiver) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let waiting = std::thread::spawn(move || {
            sender.send(crate::process::thread_id()).unwrap();
            let _ = stopped.recv();
        });
        let tid = receiver.recv().unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let found = stuck_thread(proc, us, tid);
            let Observation::Found(thread) = &found else { panic!("{found:?}") };
            let waits = thread.wait_channel.as_deref().is_some_and(|name| name.contains("futex"));
            if waits && thread.state == 'S' {
                break;
            }
            assert!(std::time::Instant::now() < end, "{found:?}");
        }
        drop(stop);
        waiting.join().unwrap();
        assert_eq!(stuck_thread(proc, us, u32::MAX), Observation::Unknown);
    }
}
