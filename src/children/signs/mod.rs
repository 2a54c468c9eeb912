//! Early signs of dead mounts, read in a child process, because some files of the kernel take locks and the root's storage
//! may hang. `process` is that child; `tracker` decides which waits last; [`SignsHandle`] is the daemon's side.

mod handle;
pub(super) mod process;
mod tracker;
mod wire;

pub use handle::{SignsEvent, SignsHandle, SignsNotice};
pub use tracker::WaitTracker;
