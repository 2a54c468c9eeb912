//! The resources of this process, from `/proc/self` only: in a container any other part of `/proc` may be a FUSE mount
//! of another user.

use super::procfs::Stat;
use crate::ProcessStats;
use nix::sys::resource::{Resource, getrlimit};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::time::Duration;

/// `None` if `/proc` cannot be read.
#[must_use]
pub fn process_stats() -> Option<ProcessStats> {
    let stat = Stat::parse(&fs::read("/proc/self/stat").ok()?)?;
    let open_fds = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1); // without the descriptor of this read
    let (max_fds, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let ticks_per_second = positive(sysconf(SysconfVar::CLK_TCK))?;
    let page_size = positive(sysconf(SysconfVar::PAGE_SIZE))?;
    let duration = |ticks: u64| Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64);
    let clock = |id| clock_gettime(id).map(Duration::from).ok();
    let booted = clock(ClockId::CLOCK_REALTIME)?.saturating_sub(clock(ClockId::CLOCK_BOOTTIME)?);
    Some(ProcessStats {
        cpu: duration(stat.cpu_ticks),
        resident_bytes: stat.resident_pages * page_size,
        virtual_bytes: stat.virtual_bytes,
        threads: stat.threads,
        open_fds: open_fds as u64,
        max_fds,
        started: booted + duration(stat.started),
    })
}

fn positive(value: nix::Result<Option<i64>>) -> Option<u64> {
    u64::try_from(value.ok()??).ok().filter(|&value| value > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_of_this_process_are_plausible() {
        let stats = process_stats().unwrap();
        assert!(stats.resident_bytes > 100_000 && stats.virtual_bytes >= stats.resident_bytes, "{stats:?}");
        assert!(stats.threads >= 1 && stats.open_fds >= 3 && stats.max_fds >= stats.open_fds, "{stats:?}");
        let now = Duration::from(clock_gettime(ClockId::CLOCK_REALTIME).unwrap());
        let age = now.saturating_sub(stats.started);
        assert!(age < Duration::from_secs(3600), "started {age:?} ago");
    }
}
