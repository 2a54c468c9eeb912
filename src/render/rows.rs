//! What tables show of a mount: shared by the terminal's table, the status page and metrics.

use crate::monitor::{Health, MountStatus};

/// The order of tables: what needs attention comes first.
pub(super) const fn health_rank(health: &Health) -> u8 {
    match health {
        Health::Dead(_) => 0,
        Health::Slow => 1,
        Health::Denied(_) => 2,
        Health::Pending => 3,
        Health::Ok => 4,
        Health::Hidden => 5,
    }
}

/// By its options, or because the kernel remounted the file system read-only.
pub(super) fn is_read_only(status: &MountStatus) -> bool {
    let usage = status.last_response.and_then(|response| response.usage);
    status.mount.read_only() || usage.is_some_and(|usage| usage.read_only)
}
