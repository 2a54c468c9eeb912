//! The identity of this machine.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt;

/// The identity of an installation (machine-id(5)).
pub const MACHINE_ID: &str = "/etc/machine-id";

/// 32 digits and a newline; anything beyond this is ignored.
const MAX_LENGTH: u64 = 64;

/// The content of [`MACHINE_ID`] without surrounding blanks; `None` if it is missing, empty or a symbolic link.
#[must_use]
pub fn machine_id() -> Option<Vec<u8>> {
    let file =
        File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(MACHINE_ID).ok()?;
    let mut id = Vec::new();
    file.take(MAX_LENGTH).read_to_end(&mut id).ok()?;
    let id = id.trim_ascii().to_vec();
    (!id.is_empty()).then_some(id)
}

/// Where Linux has an id of the time since it was booted. The kernel itself answers.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The name of a file of this monitor on storage that other machines may use too: with the number of this machine, and of
/// its boot. Hashes, because other machines need not know the ids.
#[must_use]
pub fn own_file(machine: u64) -> String {
    let mut boot = DefaultHasher::new();
    std::fs::read(BOOT_ID).unwrap_or_default().hash(&mut boot);
    format!(".mount_status_monitor-{machine:016x}-{:016x}", boot.finish())
}
