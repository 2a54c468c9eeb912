//! What tells this machine from others.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt;

/// Where systemd and others keep the identity of an installation (machine-id(5)).
pub const MACHINE_ID: &str = "/etc/machine-id";

/// 32 digits and a newline; whatever more is there is none of ours.
const LONGEST: u64 = 64;

/// The content of [`MACHINE_ID`], without blanks; none if there is nothing, or a link to elsewhere.
#[must_use]
pub fn machine_id() -> Option<Vec<u8>> {
    let file =
        File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(MACHINE_ID).ok()?;
    let mut id = Vec::new();
    file.take(LONGEST).read_to_end(&mut id).ok()?;
    let id = id.trim_ascii().to_vec();
    (!id.is_empty()).then_some(id)
}
