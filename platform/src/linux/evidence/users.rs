//! The processes that use a file system: by the mounts of their open files, and their directories.

use super::mount_tables::{MAX_NAMESPACES, Table};
use super::tasks::device_of;
use crate::DeviceNumber;
use crate::evidence::{NamedProcess, Observation, ScanLimits, Users};
use crate::linux::procfs::{is_permission_error, number_field, numeric_entries, read};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const MAX_FDINFO: usize = 512;
/// More names do not help a person.
const MAX_NAMED: usize = 10;
/// A name has at most 15 bytes, and a line end.
const MAX_NAME: usize = 64;

/// The processes below `proc` that use this file system. `mount_id` is the id of a mount of it, which may have been
/// detached.
#[must_use]
pub fn users(proc: &Path, device: DeviceNumber, mount_id: u32, limits: &ScanLimits) -> Observation<Users> {
    let processes: Vec<PathBuf> =
        numeric_entries(proc).take(limits.tasks).map(|pid| proc.join(pid.to_string())).collect();
    let mut scan = Scan {
        device,
        limits,
        // As long as a process uses a detached mount, its id is not used for another.
        ids: HashSet::from([mount_id]),
        users: Users { complete: processes.len() < limits.tasks, ..Users::default() },
    };
    // Files can be open on mounts of any namespace, so all tables come first.
    scan.read_tables(&processes);
    for process in &processes {
        if limits.is_over() {
            scan.users.complete = false;
            break;
        }
        if scan.is_user(process) {
            scan.add(process);
        }
    }
    if scan.users.processes == 0 && scan.users.of_user_only {
        return Observation::NeedsRoot;
    }
    Observation::Found(scan.users)
}

struct Scan<'a> {
    device: DeviceNumber,
    limits: &'a ScanLimits,
    /// The ids of the file system's mounts, which are unique in the whole system.
    ids: HashSet<u32>,
    users: Users,
}

impl Scan<'_> {
    fn read_tables(&mut self, processes: &[PathBuf]) {
        // Whether the root of the namespace was seen.
        let mut namespaces: HashMap<OsString, bool> = HashMap::new();
        for process in processes {
            let Ok(name) = std::fs::read_link(process.join("ns/mnt")) else { continue };
            if namespaces.get(name.as_os_str()) == Some(&true) {
                continue;
            }
            if namespaces.len() >= MAX_NAMESPACES || self.limits.is_over() {
                self.users.complete = false;
                return;
            }
            // A process that ends meanwhile shows nothing; another one of its namespace is asked then.
            let Ok(table) = Table::read(&process.join("mountinfo"), self.limits) else { continue };
            for mount in &table.mounts {
                if mount.device == self.device {
                    self.ids.insert(mount.id);
                } else {
                    self.ids.remove(&mount.id); // nobody used the detached mount
                }
            }
            self.users.complete &= table.is_whole;
            namespaces.insert(name.into_os_string(), table.has_root());
        }
        self.users.complete &= namespaces.into_values().all(|has_root| has_root);
    }

    fn add(&mut self, process: &Path) {
        self.users.processes += 1;
        if self.users.named.len() < MAX_NAMED {
            let pid = process.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or_default();
            let mut buffer = [0; MAX_NAME];
            let name = read(&process.join("comm"), &mut buffer).unwrap_or_default();
            self.users.named.push(NamedProcess { pid, name: name.trim_ascii_end().to_vec() });
        }
    }

    fn is_user(&mut self, process: &Path) -> bool {
        let is_there = |link| device_of(&process.join(link)) == Some(self.device);
        if ["cwd", "root"].into_iter().any(is_there) {
            return true;
        }
        let files = match std::fs::read_dir(process.join("fdinfo")) {
            Ok(files) => files,
            Err(error) => {
                self.users.of_user_only |= is_permission_error(&error);
                return false;
            }
        };
        for file in files.filter_map(Result::ok) {
            if self.limits.is_over() {
                self.users.complete = false;
                return false;
            }
            let mut buffer = [0; MAX_FDINFO];
            let Ok(info) = read(&file.path(), &mut buffer) else { continue };
            let id = number_field(info, "mnt_id").and_then(|id| u32::try_from(id).ok());
            if id.is_some_and(|id| self.ids.contains(&id)) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    #[test]
    fn processes_with_open_files_are_counted_once() {
        let folder = std::env::temp_dir().join(format!("msm-users-{}", std::process::id()));
        let add = |pid: &str, namespace: &str, mountinfo: &str, files: &[u32]| {
            let process = folder.join(pid);
            fs::create_dir_all(process.join("ns")).unwrap();
            fs::create_dir_all(process.join("fdinfo")).unwrap();
            symlink(format!("mnt:[{namespace}]"), process.join("ns/mnt")).unwrap();
            fs::write(process.join("mountinfo"), mountinfo).unwrap();
            fs::write(process.join("comm"), format!("p{pid}\n")).unwrap();
            for (fd, id) in files.iter().enumerate() {
                fs::write(process.join(format!("fdinfo/{fd}")), format!("pos:\t0\nmnt_id:\t{id}\n")).unwrap();
            }
        };
        add("1", "7", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:42 / /a rw - nfs4 s:/e rw\n", &[1, 2, 2]);
        add("3", "7", "", &[1, 9]); // 9 is a mount of the other namespace
        add("4", "8", "8 0 8:1 / / rw - ext4 /dev/sda1 rw\n9 8 0:42 / /b rw - nfs4 s:/e rw\n", &[8]);
        add("5", "8", "", &[]);
        add("6", "8", "", &[40]); // a detached mount
        add("7", "8", "", &[41]);
        let limits = ScanLimits { tasks: 100, until: Instant::now() + Duration::from_secs(60) };
        let device = DeviceNumber { major: 0, minor: 42 };
        let found = |mount_id, limits: &ScanLimits| match users(&folder, device, mount_id, limits) {
            Observation::Found(users) => users,
            other => panic!("{other:?}"),
        };
        let names = |mount_id| {
            let mut named = found(mount_id, &limits).named;
            named.sort_by_key(|process| process.pid);
            named.iter().map(|it| format!("{}[{}]", it.name.escape_ascii(), it.pid)).collect::<Vec<_>>()
        };
        assert_eq!(names(2), ["p1[1]", "p3[3]"]);
        assert_eq!(names(40), ["p1[1]", "p3[3]", "p6[6]"]);
        assert_eq!(names(8), ["p1[1]", "p3[3]"], "another mount has this id now");
        assert!(found(2, &limits).complete);
        assert!(!found(2, &ScanLimits { tasks: 2, ..limits }).complete);
        assert!(!found(2, &ScanLimits { until: Instant::now(), ..limits }).complete);
        fs::remove_dir_all(folder).unwrap();
    }
}
