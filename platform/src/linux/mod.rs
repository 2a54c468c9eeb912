//! Linux: `/proc/self/mountinfo`, `listmount`/`statmount`, `statx`/`statfs`.

mod fstype;
mod mountinfo;
mod packet;
pub mod probe;
pub mod process;
mod watch;

pub(crate) use fstype::kind_of;
pub use watch::MountWatch;
