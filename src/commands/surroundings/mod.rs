//! What a dead mount has to do with, for `diagnose`: from the mount table, procfs, sysfs, `/etc/fstab` and the units of
//! systemd. All but the mount table is read in children with a deadline; nothing touches a watched file system.

mod mount_again;
mod stacked;

pub(super) use mount_again::{origin, unit_name};
pub(super) use stacked::stacked_on;

use super::mount_namespace;
use crate::children::files::FileWorker;
use crate::config::Config;
use crate::render::{Surroundings, metrics};
use platform::{Mount, MountNamespace, MountTable};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// For each read: an operator waits for them.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Empty if the mount is not in the table.
pub(super) fn find(config: &Config, mountpoint: &Path) -> Surroundings {
    let mut found = Surroundings::default();
    let namespace = match mount_namespace::open(config.mount_namespace.as_deref()) {
        Ok(namespace) => namespace,
        Err(error) => {
            found.add_not_known(format!("other mounts: {error:#}"));
            return found;
        }
    };
    let Ok(table) = mount_namespace::table(namespace.as_ref()) else { return found };
    let Some(mount) = table.iter().rfind(|mount| mount.mountpoint == mountpoint) else { return found };
    add_related(mount, &table, &mut found);
    let inode = namespace.as_ref().map(MountNamespace::inode);
    let worker = FileWorker::new();
    let holders = worker.begin(TIMEOUT).and_then(|mut session| session.holders(mount, inode));
    match holders {
        Ok(holders) => found.set_holders(&holders),
        Err(error) => found.add_not_known(format!("other mount namespaces: {error}")),
    }
    stacked::add_overlays(mount, &table, &mut found);
    // Other paths are those of our own namespace.
    if namespace.is_none() {
        let worker = FileWorker::new();
        match worker.begin(TIMEOUT).and_then(|mut session| session.stacked_files()) {
            Ok(files) => stacked::add_files(mount, &table, files, &mut found),
            Err(error) => found.add_not_known(format!("loop devices, swap files and NFS exports: {error}")),
        }
        mount_again::add(config, mount, &table, &mut found);
    }
    found
}

/// Mounts of the same superblock and of the same server.
fn add_related(mount: &Mount, table: &MountTable, found: &mut Surroundings) {
    let others = || table.iter().filter(|other| other.key != mount.key);
    let same = |other: &&Arc<Mount>| other.device_number == mount.device_number;
    found.set_same_file_system(others().filter(same).map(mount_point));
    if let Some(server) = metrics::server(mount) {
        let is_of_server =
            |other: &&Arc<Mount>| !same(other) && metrics::server(other).is_some_and(|name| name == server);
        found.set_same_server(server, others().filter(is_of_server).map(mount_point));
    }
}

fn mount_point(mount: &Arc<Mount>) -> PathBuf {
    mount.mountpoint.to_path_buf()
}
