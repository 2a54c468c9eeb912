//! macOS and FreeBSD: `getfsstat` and kqueue's `EVFILT_FS`, `lstat` and `statfs`.
//!
//! Only `system` makes calls that other systems lack, and it is kept small: it can be compiled for these systems
//! anywhere, but run only there. All that is decided lies above it and is compiled for tests on every system.

mod events;
mod fstype;
mod record;
#[cfg(test)]
mod samples;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
mod system;
mod table;
mod watch;

pub(crate) use fstype::kind_of;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
pub use system::*;
