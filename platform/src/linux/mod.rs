//! Linux: `/proc/self/mountinfo`, `listmount`/`statmount`, `statx`/`statfs`.

pub mod evidence;
mod files;
mod fstype;
pub mod mountinfo;
mod namespace;
mod own;
pub mod probe;
pub(crate) mod process;
mod statmount;
mod watch;

pub use files::FileWatch;
pub(crate) use fstype::kind_of;
pub use namespace::{FoundNamespace, MountNamespace};
pub use own::process_stats;
pub use watch::{MountWatch, OWN_MOUNT_TABLE};

/// What an operator could look after when the mount table cannot be read.
pub const MOUNT_TABLE_HINT: &str = "is /proc mounted?";
/// Where the configuration file is looked for unless the daemon is told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/mount_status_monitor/config.toml";
/// Where the daemon has its socket unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/mount_status_monitor.sock";
/// The call that asks for attributes.
pub(crate) const ATTRIBUTES_CALL: &str = "statx";

/// Is it there for the system alone, so that its coming and going is nothing to tell people of? On Linux nobody says so.
pub(crate) fn is_system_internal(_: &crate::Mount) -> bool {
    false
}
