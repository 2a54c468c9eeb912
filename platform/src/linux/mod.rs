//! Linux: `/proc/self/mountinfo`, `listmount`/`statmount`, `statx`/`statfs`.

mod autofs;
mod data_probe;
pub mod evidence;
mod file_watch;
mod fstype;
mod fuse_connections;
pub(crate) mod launcher;
mod listeners;
mod long_names;
mod mount_events;
mod mount_identity;
pub mod mountinfo;
mod names;
mod namespace;
pub mod probe;
pub(crate) mod process;
mod process_stats;
mod procfs;
pub(crate) mod remedy;
mod residency;
pub(crate) mod signs;
mod statmount;
mod table_text;
mod thread_identity;
mod thread_sampler;
mod unique_ids;
mod watch;

pub use file_watch::FileWatch;
pub(crate) use fstype::kind_of;
pub use listeners::{adopt_listener, hang_up_listener, listener_owners};
pub use namespace::MountNamespace;
pub use process_stats::process_stats;
pub use watch::{MountWatch, OWN_MOUNT_TABLE};

/// What to check when the mount table cannot be read.
pub const MOUNT_TABLE_HINT: &str = "is /proc mounted?";
pub const DEFAULT_CONFIG: &str = "/etc/mount_status_monitor/config.toml";
pub const DEFAULT_SOCKET: &str = "/run/mount_status_monitor/socket";
/// Where a daemon listens that was configured for earlier versions.
pub const EARLIER_SOCKET: &str = "/run/mount_status_monitor.sock";
pub(crate) const ATTRIBUTES_CALL: &str = "statx";

/// Linux does not mark such mounts.
pub(crate) fn is_system_internal(_: &crate::Mount) -> bool {
    false
}
