//! The resources of this process.

use crate::ProcessStats;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;
use std::time::Duration;

/// `None` if the system does not report them.
#[must_use]
pub fn process_stats() -> Option<ProcessStats> {
    let used = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let (max_fds, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let cpu = duration(used.user_time()) + duration(used.system_time());
    #[allow(clippy::useless_conversion)] // signed on FreeBSD
    let max_fds = u64::try_from(max_fds).ok()?;
    Some(ProcessStats { cpu, max_fds, ..system_stats()? })
}

fn duration(time: TimeVal) -> Duration {
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0)) + Duration::from_micros(micros)
}

/// The values that need calls of this system, with zeros for the rest.
#[cfg(target_os = "macos")]
fn system_stats() -> Option<ProcessStats> {
    use std::ffi::c_int;
    /// The daemon has a few dozen.
    const MAX_FDS: usize = 4096;
    let pid = c_int::try_from(std::process::id()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::proc_taskallinfo>::uninit();
    let size = c_int::try_from(size_of::<libc::proc_taskallinfo>()).ok()?;
    // SAFETY: the buffer has the requested type and this size.
    let written =
        unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTASKALLINFO, 0, found.as_mut_ptr().cast(), size) };
    if written != size {
        return None;
    }
    // SAFETY: all of it was written.
    let found = unsafe { found.assume_init() };
    let mut fds: Vec<libc::proc_fdinfo> = Vec::with_capacity(MAX_FDS);
    let size = c_int::try_from(MAX_FDS * size_of::<libc::proc_fdinfo>()).ok()?;
    // SAFETY: the buffer has room for `size` bytes.
    let written = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDLISTFDS, 0, fds.as_mut_ptr().cast(), size) };
    Some(ProcessStats {
        resident_bytes: found.ptinfo.pti_resident_size,
        virtual_bytes: found.ptinfo.pti_virtual_size,
        threads: u64::try_from(found.ptinfo.pti_threadnum).ok()?,
        open_fds: u64::try_from(written).ok()? / size_of::<libc::proc_fdinfo>() as u64,
        started: Duration::from_secs(found.pbsd.pbi_start_tvsec)
            + Duration::from_micros(found.pbsd.pbi_start_tvusec),
        cpu: Duration::ZERO,
        max_fds: 0,
    })
}

/// The values that need calls of this system, with zeros for the rest.
#[cfg(target_os = "freebsd")]
fn system_stats() -> Option<ProcessStats> {
    let found: libc::kinfo_proc = of_this_process(libc::KERN_PROC_PID)?;
    let fds: std::ffi::c_int = of_this_process(libc::KERN_PROC_NFDS)?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    let started = Duration::from_secs(u64::try_from(found.ki_start.tv_sec).ok()?);
    Some(ProcessStats {
        resident_bytes: u64::try_from(found.ki_rssize).ok()? * u64::try_from(page).ok()?,
        virtual_bytes: u64::try_from(found.ki_size).ok()?,
        threads: u64::try_from(found.ki_numthreads).ok()?,
        open_fds: u64::try_from(fds).ok()?,
        started: started + Duration::from_micros(u64::try_from(found.ki_start.tv_usec).ok()?),
        cpu: Duration::ZERO,
        max_fds: 0,
    })
}

/// A value of sysctl(3) about this process. `T` is its type in the system.
#[cfg(target_os = "freebsd")]
fn of_this_process<T>(what: std::ffi::c_int) -> Option<T> {
    let pid = std::ffi::c_int::try_from(std::process::id()).ok()?;
    let name = [libc::CTL_KERN, libc::KERN_PROC, what, pid];
    let mut found = std::mem::MaybeUninit::<T>::uninit();
    let mut size = size_of::<T>();
    // SAFETY: a name of four integers, and a buffer of this size; nothing is set.
    let result = unsafe {
        libc::sysctl(name.as_ptr(), 4, found.as_mut_ptr().cast(), &raw mut size, std::ptr::null(), 0)
    };
    // SAFETY: all of it was written, and any bits are valid in these types.
    (result == 0 && size == size_of::<T>()).then(|| unsafe { found.assume_init() })
}
