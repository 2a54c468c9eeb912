//! What this process uses of the machine, from `/proc/self`: no other file is asked, for in a container any other
//! part of `/proc` may be somebody's FUSE mount.

use crate::ProcessStats;
use nix::sys::resource::{Resource, getrlimit};
use std::fs;
use std::mem::MaybeUninit;
use std::time::Duration;

/// What this process uses now; none if `/proc` does not tell.
#[must_use]
pub fn process_stats() -> Option<ProcessStats> {
    let stat = fs::read("/proc/self/stat").ok()?;
    let open_fds = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1); // one is the reading's own
    let (max_fds, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let ticks = positive(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK))?;
    let page = positive(nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE))?;
    let stat = Stat::parse(&stat)?;
    let span = |n: u64| Duration::from_secs_f64(n as f64 / ticks as f64);
    Some(ProcessStats {
        cpu: span(stat.cpu_ticks),
        resident_bytes: stat.resident_pages * page,
        virtual_bytes: stat.virtual_bytes,
        threads: stat.threads,
        open_fds: open_fds as u64,
        max_fds,
        started: clock(libc::CLOCK_REALTIME)?.saturating_sub(clock(libc::CLOCK_BOOTTIME)?)
            + span(stat.start_ticks),
    })
}

fn positive(value: nix::Result<Option<i64>>) -> Option<u64> {
    u64::try_from(value.ok()??).ok().filter(|&value| value > 0)
}

fn clock(which: libc::clockid_t) -> Option<Duration> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to a timespec, which the call fills when it succeeds.
    let time = unsafe {
        if libc::clock_gettime(which, time.as_mut_ptr()) != 0 {
            return None;
        }
        time.assume_init()
    };
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// The fields of `proc_pid_stat(5)` that are wanted.
#[derive(PartialEq, Debug)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The name, the second field, can hold anything, parentheses too: what counts comes after its last one.
    fn parse(text: &[u8]) -> Option<Stat> {
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of them is the third in the manual.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_whatever_the_name_is() {
        let text = b"7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 11 22 0 0 20 0 3 0 444 5555 66 18446744073709551615 1 2\n";
        let expected =
            Stat { cpu_ticks: 33, threads: 3, start_ticks: 444, virtual_bytes: 5555, resident_pages: 66 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse(b"7 (a) S 1"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn this_process_uses_something() {
        let used = process_stats().unwrap();
        assert!(used.resident_bytes > 100_000 && used.virtual_bytes >= used.resident_bytes, "{used:?}");
        assert!(used.threads >= 1 && used.open_fds >= 3 && used.max_fds >= used.open_fds, "{used:?}");
        let age = clock(libc::CLOCK_REALTIME).unwrap().saturating_sub(used.started);
        assert!(age < Duration::from_secs(3600), "started {age:?} ago");
    }
}
