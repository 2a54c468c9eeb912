//! Reads early signs: requests that wait in the FUSE and NFS clients. The files are in memory and no request to a
//! storage is behind them, but some take locks of the kernel, so they are read only in a process that can be abandoned.
//!
//! **Never** read `/proc/fs/cifs/Stats` or `DebugData` here: in several kernels a read while a session ends uses freed
//! memory (CVE-2023-52752, CVE-2024-35867).

mod fuse;
mod mountstats;
mod sunrpc;

use crate::DeviceNumber;
use crate::signs::Waiting;
use mountstats::MountstatsReader;
use nix::time::{ClockId, clock_gettime};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const IS_SUPPORTED: bool = true;

const SYS: &str = "/sys";
const PROC: &str = "/proc";

/// Reads the signs of this network and mount namespace.
#[derive(Debug)]
pub struct SignReader {
    sys: PathBuf,
    mountstats: MountstatsReader,
}

impl Default for SignReader {
    fn default() -> SignReader {
        SignReader::new()
    }
}

impl SignReader {
    /// Makes `/sys` the working directory of the process: a walk from `/` could wait for the root's storage.
    #[must_use]
    pub fn new() -> SignReader {
        let sys = if std::env::set_current_dir(SYS).is_ok() { Path::new(".") } else { Path::new(SYS) };
        SignReader::below(sys, Path::new(PROC))
    }

    /// The same for other directories in place of `/sys` and `/proc`.
    #[doc(hidden)]
    #[must_use]
    pub fn below(sys: &Path, proc: &Path) -> SignReader {
        let mountstats = MountstatsReader::new(proc.join("self/mountstats"));
        SignReader { sys: sys.to_owned(), mountstats }
    }

    /// The requests that wait now in these FUSE file systems, and for NFS servers if `servers`.
    pub fn sample(&mut self, servers: bool, fuse: &[DeviceNumber]) -> Vec<Waiting> {
        let mut waiting = fuse::waiting(&self.sys.join("fs/fuse/connections"), fuse);
        if servers {
            // Since Linux 5.14; without /sys, as in some containers, and on older kernels there is only the text.
            match sunrpc::waiting(&self.sys.join("kernel/sunrpc/xprt-switches")) {
                Ok(found) => waiting.extend(found),
                Err(_) => waiting.extend(self.mountstats.sample()),
            }
        }
        waiting
    }

    /// The processor time that this process has used.
    #[must_use]
    pub fn cpu_time() -> Duration {
        clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
    }
}
