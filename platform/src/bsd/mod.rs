//! macOS and FreeBSD: `getfsstat` and kqueue's `EVFILT_FS`, `lstat` and `statfs`.
//!
//! Only `system` makes calls that other systems lack. It is kept small, because it can be compiled anywhere but run only
//! on these systems. All decisions are in the other modules, which are compiled for tests on every system.

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
