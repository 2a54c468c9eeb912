//! The calls of a prober.

/// The calls that probe one file system.
pub mod probe {
    use super::super::fsid;
    use crate::bsd::record::{MNT_RDONLY, text};
    use crate::bsd::table::key_of;
    use crate::portable::probe::{Calls, FsStats, lstat, probe_mount as probe_by};
    use crate::{Call, Errno, ProbeOutcome, Target, Usage};
    use std::ffi::{CStr, OsStr};
    use std::mem::MaybeUninit;

    pub use crate::portable::probe::{READS_AND_WRITES, may_search_every_directory, needs_own_thread};

    /// Probes the mount; may never return. `on_call` is called right before each call.
    pub fn probe_mount(target: &Target<impl AsRef<OsStr>>, on_call: impl Fn(Call)) -> ProbeOutcome {
        probe_by(&Kernel, target, on_call)
    }

    /// Same as [`probe_mount`]: no call changes the identity of a single thread, so the mount refuses the probe.
    pub fn probe_in_own_thread(target: &Target<impl AsRef<OsStr>>, on_call: impl Fn(Call)) -> ProbeOutcome {
        probe_mount(target, on_call)
    }

    struct Kernel;

    impl Calls for Kernel {
        fn lstat(&self, path: &CStr) -> Result<(), Errno> {
            lstat(path)
        }

        #[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // these fields differ between the systems
        fn statfs(&self, path: &CStr) -> Result<FsStats, Errno> {
            let mut found = MaybeUninit::<libc::statfs>::uninit();
            // SAFETY: the path is NUL-terminated and the buffer has the type that the call fills.
            if unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
                return Err(Errno(nix::errno::Errno::last_raw()));
            }
            // SAFETY: the call succeeded, so it has filled the buffer.
            let found = unsafe { found.assume_init() };
            let usage = Usage {
                block_size: found.f_bsize as u64,
                blocks: found.f_blocks as u64,
                free: found.f_bfree as u64,
                // Negative on FreeBSD if the reserve for root is in use.
                available: u64::try_from(found.f_bavail).unwrap_or(0),
                files: found.f_files as u64,
                files_free: u64::try_from(found.f_ffree).unwrap_or(0),
                read_only: found.f_flags as u64 & MNT_RDONLY != 0,
            };
            Ok(FsStats { usage, mount: Some(key_of(fsid(&found), &text(&found.f_mntonname))) })
        }
    }
}
