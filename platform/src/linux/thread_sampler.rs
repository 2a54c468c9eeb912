//! Samples of the threads of this process, from `/proc/self/task/TID`. Reading these files never waits for the thread.

use super::procfs::number_field;
use crate::process::ThreadSample;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

/// `status` has a few kilobytes; more only for a user in thousands of groups.
const MAX_LENGTH: u64 = 1 << 20;

/// Takes samples of threads of this process.
#[derive(Debug)]
pub struct ThreadSampler {
    /// `/proc/self/task`. No path from the root is walked later: the root may hang.
    tasks: Option<OwnedFd>,
}

impl ThreadSampler {
    /// Must be called before another mount namespace is entered, which may have no `/proc` or another one.
    #[must_use]
    pub fn open() -> ThreadSampler {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        ThreadSampler { tasks: open("/proc/self/task", flags, Mode::empty()).ok() }
    }

    /// A sample of the thread with this id; 0 is a thread that does not run yet.
    #[must_use]
    pub fn sample(&self, tid: u32) -> ThreadSample {
        if tid == 0 {
            return ThreadSample::Elsewhere;
        }
        // First the switches: if they are equal in two samples, the thread was in the first one's call all the time.
        let status = match self.read(tid, "status") {
            Ok(status) => status,
            Err(Errno::ENOENT | Errno::ESRCH) => return ThreadSample::Elsewhere,
            Err(_) => return ThreadSample::Unknown,
        };
        // Without rights or support for this file the switches must suffice.
        sample_of(&status, &self.read(tid, "syscall").unwrap_or_default())
    }

    fn read(&self, tid: u32, file: &str) -> Result<Vec<u8>, Errno> {
        let tasks = self.tasks.as_ref().ok_or(Errno::EBADF)?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = File::from(openat(tasks, format!("{tid}/{file}").as_str(), flags, Mode::empty())?);
        let mut text = Vec::new();
        let read = file.take(MAX_LENGTH).read_to_end(&mut text);
        read.map(|_| text).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

/// The sample that these texts of `status` and `syscall` (proc(5)) describe.
fn sample_of(status: &[u8], syscall: &[u8]) -> ThreadSample {
    let is_waiting = |line: &[u8]| {
        let state = line.strip_prefix(b"State:")?.trim_ascii_start().first()?;
        Some(matches!(state, b'S' | b'D'))
    };
    let switches = || {
        let [voluntary, other] =
            ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"].map(|name| number_field(status, name));
        Some(voluntary? + other?)
    };
    let waits = status.split(|&byte| byte == b'\n').find_map(is_waiting);
    match (waits, switches()) {
        (None, _) | (_, None) => ThreadSample::Unknown,
        (Some(false), _) => ThreadSample::Elsewhere,
        _ if syscall.starts_with(b"running") || syscall.starts_with(b"-1 ") => ThreadSample::Elsewhere,
        (Some(true), Some(switches)) => ThreadSample::Waiting { call: syscall.to_vec(), switches },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write as _};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn sample_is_waiting_only_in_a_system_call() {
        let status = |state| {
            format!(
                "Name:\tx\nState:\t{state}\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n"
            )
        };
        let waiting = |call: &str| ThreadSample::Waiting { call: call.into(), switches: 9 };
        for (state, syscall, expected) in [
            ("S (sleeping)", "332 0x1 0x2\n", waiting("332 0x1 0x2\n")),
            ("D (disk sleep)", "137 0x1\n", waiting("137 0x1\n")),
            ("D (disk sleep)", "", waiting("")),
            ("D (disk sleep)", "-1 0x7 0x8\n", ThreadSample::Elsewhere),
            ("S (sleeping)", "running\n", ThreadSample::Elsewhere),
            ("R (running)", "running\n", ThreadSample::Elsewhere),
            ("T (stopped)", "332 0x1 0x2\n", ThreadSample::Elsewhere),
            ("t (tracing stop)", "332 0x1 0x2\n", ThreadSample::Elsewhere),
        ] {
            assert_eq!(
                sample_of(status(state).as_bytes(), syscall.as_bytes()),
                expected,
                "{state} {syscall}"
            );
        }
        assert_eq!(sample_of(b"State:\tS (sleeping)\n", b"1 0x0\n"), ThreadSample::Unknown);
        assert_eq!(sample_of(b"", b""), ThreadSample::Unknown);
    }

    #[test]
    fn thread_that_stays_in_a_call_has_equal_samples() {
        let sampler = ThreadSampler::open();
        let (mut reader, mut writer) = io::pipe().unwrap();
        let (sender, receiver) = mpsc::channel();
        let (_keep, never) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                sender.send(crate::process::thread_id()).unwrap();
                reader.read_exact(&mut [0]).unwrap();
            }
        });
        // On a busy machine the thread may wait for something else first.
        let wait_in_read = || {
            let tid = receiver.recv().unwrap();
            loop {
                let sample = sampler.sample(tid);
                let _ = never.recv_timeout(Duration::from_millis(20));
                if matches!(sample, ThreadSample::Waiting { .. }) && sample == sampler.sample(tid) {
                    return (tid, sample);
                }
            }
        };
        let (tid, first) = wait_in_read();
        assert_eq!(sampler.sample(0), ThreadSample::Elsewhere);
        writer.write_all(b"x").unwrap();
        let (_, second) = wait_in_read();
        assert_ne!(second, first, "the same call, but made again");
        writer.write_all(b"x").unwrap();
        thread.join().unwrap();
        assert_eq!(sampler.sample(tid), ThreadSample::Elsewhere);
    }

    #[test]
    fn thread_of_another_process_is_not_ours() {
        assert_eq!(ThreadSampler::open().sample(1 << 30), ThreadSample::Elsewhere);
        assert_eq!(ThreadSampler { tasks: None }.sample(1), ThreadSample::Unknown);
    }
}
