//! What the mount table, fstab and the units of systemd tell about a mount, for a plan.

use crate::commands::surroundings;
use crate::config::Config;
use crate::monitor::remedy::{
    Ancestor, Below, BelowKind, Kernel, Machine, Origin, RemedyFacts, Sibling, SiblingHealth,
};
use crate::monitor::server_name;
use platform::{FsKind, Mount, MountTable};
use std::path::Path;
use std::sync::Arc;

/// Unique ids of mounts are larger than this.
const MAX_REUSED_ID: u64 = 1 << 31;

/// What the mount table and the files tell, and what they do not.
pub(in crate::commands) fn facts_of_table(
    config: &Config,
    mount: &Arc<Mount>,
    table: &MountTable,
) -> (RemedyFacts, Option<String>) {
    let path = &*mount.mountpoint;
    let others = || table.iter().filter(|other| other.key != mount.key);
    let is_below = |other: &&Arc<Mount>| other.mountpoint.starts_with(path) && *other.mountpoint != *path;
    let is_above = |other: &&Arc<Mount>| path.starts_with(&*other.mountpoint) && *other.mountpoint != *path;
    let is_same = |other: &&Arc<Mount>| other.device_number == mount.device_number;
    let below = |other: &Arc<Mount>| Below {
        mountpoint: other.mountpoint.to_path_buf(),
        kind: match other.kind() {
            FsKind::Autofs => BelowKind::AutofsTrigger,
            _ if other.parent == mount.id
                && server_name(other).is_some_and(|it| Some(it) == server_name(mount)) =>
            {
                BelowKind::SameServer
            }
            _ => BelowKind::Other,
        },
    };
    let above = |other: &Arc<Mount>| Ancestor { mountpoint: other.mountpoint.to_path_buf(), is_dead: false };
    let sibling = |other: &Arc<Mount>| Sibling {
        mountpoint: other.mountpoint.to_path_buf(),
        health: SiblingHealth::Dead, // as this one is supposed to be
    };
    let (origin, doubt) = match (&config.mount_namespace, surroundings::origin(config, mount, table)) {
        (Some(_), _) => (Origin::Unknown, None),
        (None, Ok(origin)) => (origin, None),
        (None, Err(error)) => (Origin::Unknown, Some(error.to_string())),
    };
    let facts = RemedyFacts::of(Arc::clone(mount));
    let machine = Machine {
        has_systemd: Path::new("/run/systemd/system").is_dir(), // sd_booted(3)
        is_foreign_namespace: config.mount_namespace.is_some(),
        ..facts.machine.clone()
    };
    let has_unique_ids = mount.key.0 > MAX_REUSED_ID;
    let facts = RemedyFacts {
        below: others().filter(is_below).map(below).collect(),
        ancestors: others().filter(is_above).map(above).collect(),
        siblings: others().filter(is_same).map(sibling).collect(),
        origin,
        machine,
        kernel: Kernel {
            has_unique_ids,
            moves_beneath: platform::remedy::moves_beneath(),
            shuts_down_one_superblock: false,
        },
        ..facts
    };
    (facts, doubt)
}
