//! Linux: `/proc/self/mountinfo`, `listmount`/`statmount`, `statx`/`statfs`.

pub mod command;
pub mod evidence;
mod files;
mod fstype;
pub mod mountinfo;
mod namespace;
mod own;
mod packet;
pub mod probe;
pub mod process;
mod spawn;
mod statmount;
mod watch;

pub use files::FileWatch;
pub(crate) use fstype::kind_of;
pub use namespace::{FoundNamespace, MountNamespace};
pub use own::{OwnUse, own_use};
pub use watch::{MountWatch, OWN_MOUNT_TABLE};
