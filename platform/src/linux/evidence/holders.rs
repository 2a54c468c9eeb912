//! The mount namespaces other than one that have a file system mounted, from `/proc/PID/mountinfo`. Names in there are
//! those of that namespace; nothing is looked up.
//!
//! What an unmount reaches follows from the peer groups: it goes from the parent of the mount to the parent's peers, to
//! the groups that receive from these, and so on, and removes what is at the same place on each.

mod propagation;
#[cfg(test)]
mod tests;

use super::mount_tables::{MAX_NAMESPACES, Placed, Table};
use crate::DeviceNumber;
use crate::evidence::{HeldMount, Holder, Holders, Observation, ScanLimits};
use crate::linux::procfs::{Stat, numeric_entries, read};
use propagation::{Below, Place, Propagation};
use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const MAX_STAT: usize = 2048;
/// Maximum number of mounts of the file system that are named of one namespace.
const MAX_MOUNTS: usize = 64;

/// The namespaces that have the file system of this mount, below `proc`, each named by its first process, except the
/// watched one, which has the mount: this inode number, or that of this process.
#[must_use]
pub fn holders(
    proc: &Path,
    device: DeviceNumber,
    mount_id: u32,
    watched: Option<u64>,
    limits: &ScanLimits,
) -> Observation<Holders> {
    let watched = watched.or_else(|| namespace_of(&proc.join("self")).ok());
    let mut pids: Vec<u32> = numeric_entries(proc).take(limits.tasks).collect();
    pids.sort_unstable(); // the first process of a container is the one to name
    let mut scan = Scan {
        proc,
        device,
        mount_id,
        watched,
        limits,
        found: HashMap::new(),
        propagation: Propagation::default(),
        pinned: HashSet::new(),
        complete: pids.len() < limits.tasks,
        of_user_only: false,
    };
    for pid in pids {
        if limits.is_over() {
            scan.complete = false;
            break;
        }
        scan.inspect(pid);
    }
    let holders = scan.into_holders();
    if holders.namespaces.is_empty() && holders.of_user_only {
        Observation::NeedsRoot
    } else {
        Observation::Found(holders)
    }
}

/// What is known of a namespace.
enum Namespace {
    /// Its processes so far do not see its root.
    Unread,
    Read(Option<FoundHolder>),
}

struct FoundHolder {
    /// Without its mounts.
    holder: Holder,
    mounts: Vec<FoundMount>,
}

struct FoundMount {
    mountpoint: Vec<u8>,
    place: Place,
    below: Below,
}

struct Scan<'a> {
    proc: &'a Path,
    device: DeviceNumber,
    mount_id: u32,
    watched: Option<u64>,
    limits: &'a ScanLimits,
    found: HashMap<u64, Namespace>,
    propagation: Propagation,
    /// Namespaces that files keep, as the tables show them: they may have no process.
    pinned: HashSet<u64>,
    complete: bool,
    of_user_only: bool,
}

impl Scan<'_> {
    fn inspect(&mut self, pid: u32) {
        let process = self.proc.join(pid.to_string());
        let namespace = match namespace_of(&process) {
            Ok(namespace) => namespace,
            // Else it has ended.
            Err(error) => {
                self.of_user_only |= error.kind() == ErrorKind::PermissionDenied;
                return;
            }
        };
        let has_room = self.found.len() < MAX_NAMESPACES;
        match self.found.get_mut(&namespace) {
            Some(Namespace::Read(known)) => {
                if let Some(FoundHolder { holder, .. }) = known {
                    holder.processes += 1;
                    holder.in_container |= is_in_container(self.proc, &process);
                }
                return;
            }
            Some(Namespace::Unread) => {}
            None if has_room => {}
            None => {
                self.complete = false;
                return;
            }
        }
        // A process that ends meanwhile shows nothing; another one of its namespace is asked then.
        match Table::read(&process.join("mountinfo"), self.limits) {
            Ok(table) if table.has_root() => self.add(namespace, pid, &process, &table),
            Ok(_) => drop(self.found.insert(namespace, Namespace::Unread)),
            Err(error) => self.of_user_only |= error.kind() == ErrorKind::PermissionDenied,
        }
    }

    fn add(&mut self, namespace: u64, pid: u32, process: &Path, table: &Table) {
        self.complete &= table.is_whole && self.propagation.add(table);
        self.pinned.extend(table.mounts.iter().filter_map(|mount| namespace_named(&mount.root)));
        if Some(namespace) == self.watched {
            self.propagation.set_watched(table, self.mount_id);
            self.found.insert(namespace, Namespace::Read(None));
            return;
        }
        let is_held = |mount: &&Placed| mount.device == self.device;
        let found = |mount: &Placed| FoundMount {
            mountpoint: mount.mountpoint.clone(),
            place: Place::of(mount, table),
            below: Below::of(mount.id, table),
        };
        let mounts: Vec<FoundMount> =
            table.mounts.iter().filter(is_held).take(MAX_MOUNTS).map(found).collect();
        self.complete &= mounts.len() < MAX_MOUNTS;
        let holder = (!mounts.is_empty()).then(|| {
            let in_container = is_in_container(self.proc, process);
            let name = name(process);
            let holder = Holder { namespace, pid, name, processes: 1, in_container, mounts: Vec::new() };
            FoundHolder { holder, mounts }
        });
        self.found.insert(namespace, Namespace::Read(holder));
    }

    fn into_holders(mut self) -> Holders {
        self.pinned.retain(|namespace| !self.found.contains_key(namespace));
        let is_unread = |namespace: &Namespace| matches!(namespace, Namespace::Unread);
        let complete = self.complete
            && self.pinned.is_empty()
            && self.propagation.has_watched()
            && !self.found.values().any(is_unread);
        let reached = self.propagation.reached();
        let mut namespaces: Vec<Holder> = Vec::new();
        for namespace in self.found.into_values() {
            let Namespace::Read(Some(FoundHolder { mut holder, mounts })) = namespace else { continue };
            holder.mounts = mounts
                .into_iter()
                .map(|mount| HeldMount {
                    is_propagated: self.propagation.reaches(&reached, &mount.place),
                    has_mounts_below: self.propagation.has_more(&mount.below),
                    mountpoint: mount.mountpoint,
                })
                .collect();
            namespaces.push(holder);
        }
        namespaces.sort_unstable_by_key(|holder| holder.pid);
        let peer_group = self.propagation.peer_group;
        Holders { namespaces, peer_group, complete, of_user_only: self.of_user_only }
    }
}

/// The inode number of the mount namespace of a process.
fn namespace_of(process: &Path) -> io::Result<u64> {
    let name = std::fs::read_link(process.join("ns/mnt"))?;
    name.to_str().and_then(|name| namespace_named(name.as_bytes())).ok_or(ErrorKind::InvalidData.into())
}

fn namespace_named(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name.strip_prefix(b"mnt:[")?.strip_suffix(b"]")?).ok()?.parse().ok()
}

/// See [`Holder::in_container`].
fn is_in_container(proc: &Path, process: &Path) -> bool {
    let namespace = |process: PathBuf, kind| std::fs::read_link(process.join("ns").join(kind));
    ["pid", "user"].into_iter().any(|kind| {
        match (namespace(proc.join("1"), kind), namespace(process.to_owned(), kind)) {
            (Ok(first), Ok(other)) => first != other,
            (_, Err(error)) if error.kind() == ErrorKind::NotFound => false, // it has ended
            _ => true,
        }
    })
}

fn name(process: &Path) -> Vec<u8> {
    let mut buffer = [0; MAX_STAT];
    let stat = read(&process.join("stat"), &mut buffer).ok().and_then(Stat::parse);
    stat.map(|stat| stat.name).unwrap_or_default()
}
