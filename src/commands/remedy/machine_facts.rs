//! The facts that procfs, sysfs and systemd tell. All is read in children with a deadline; nothing touches a path of the
//! mount.

mod systemd;

use crate::children::files::{FileSession, FileWorker};
use crate::children::remedy::uptime_in;
use crate::commands::mount_namespace;
use crate::commands::surroundings::{TIMEOUT, stacked_on, unit_name};
use crate::config::Config;
use crate::monitor::remedy::{FuseServer, Known, Machine, MountCopy, Origin, Outcome, RemedyFacts};
use crate::render::escape::{escape, escape_os};
use platform::evidence::{Holder, Holders, Observation, Users};
use platform::{Mount, MountNamespace, MountTable};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;
use std::time::Duration;
use systemd::{UnitState, service_of};

/// The first kernel of which an NFS `shutdown` file ends one superblock (commit 2d3e998a0bc7). Later 6.14 kernels may have
/// it too, which their numbers do not tell.
const SHUTS_DOWN_ONE: (u32, u32) = (6, 15);
const NEEDED_RIGHTS: &str = "without the rights of root over them (CAP_SYS_PTRACE)";
/// Of those who still have a dead superblock: a line for a person.
const MAX_LEFT: usize = 20;
/// What logind and shutdown(8) make; systemd itself is asked first.
const NO_LOGIN: &str = "/run/nologin";

/// Adds the peer group, copies, users, what is stacked and not written, the machine, and what systemd says. The origin
/// stays as it is, unless it is unknown and a service serves the mount.
pub(super) fn add(facts: &mut RemedyFacts, config: &Config, table: &MountTable) {
    let mount = Arc::clone(&facts.mount);
    let namespace = mount_namespace::open(config.mount_namespace.as_deref());
    let is_foreign = !matches!(namespace, Ok(None));
    let holders = namespace.map_err(|error| format!("{error:#}")).and_then(|namespace| {
        let inode = namespace.as_ref().map(MountNamespace::inode);
        in_child(|session| session.holders(&mount, inode))
    });
    if let Ok(Observation::Found(holders)) = &holders {
        facts.peer_group = holders.peer_group.map(u64::from);
    }
    facts.copies = holders.and_then(copies);
    facts.users = users(&mount);
    facts.stacked = stacked_on(&mount, table, is_foreign);
    facts.unwritten = unwritten(&mount);
    facts.kernel.shuts_down_one_superblock =
        in_child(|session| session.read("/proc/sys/kernel/osrelease".as_ref()))
            .is_ok_and(|release| shuts_down_one(&release));
    add_machine(facts);
    add_units(facts, is_foreign);
}

fn in_child<T>(ask: impl FnOnce(&mut FileSession<'_>) -> io::Result<T>) -> Known<T> {
    let worker = FileWorker::new();
    worker.begin(TIMEOUT).and_then(|mut session| ask(&mut session)).map_err(|error| error.to_string())
}

fn copies(holders: Observation<Holders>) -> Known<Vec<MountCopy>> {
    match holders {
        Observation::Found(holders) if !holders.of_user_only => {
            if !holders.complete {
                return Err("not all processes and mount namespaces could be looked at".to_owned());
            }
            Ok(holders.namespaces.into_iter().flat_map(copies_in).collect())
        }
        Observation::Found(_) | Observation::NeedsRoot => {
            Err(format!("the mount namespaces of some processes are not shown {NEEDED_RIGHTS}"))
        }
        Observation::Unknown => Err("this system does not show other mount namespaces".to_owned()),
    }
}

fn copies_in(holder: Holder) -> impl Iterator<Item = MountCopy> {
    let Holder { namespace, pid, name, in_container, mounts, .. } = holder;
    let process = format!("{}[{pid}]", escape(&name));
    mounts.into_iter().map(move |mount| MountCopy {
        namespace,
        process: process.clone(),
        mountpoint: OsString::from_vec(mount.mountpoint).into(),
        is_propagated: mount.is_propagated,
        has_mounts_below: mount.has_mounts_below,
        in_container,
    })
}

fn users(mount: &Mount) -> Known<usize> {
    match in_child(|session| session.users(mount))? {
        Observation::Found(users) if users.of_user_only => Err(format!(
            "{} at least; the open files of some processes are not shown {NEEDED_RIGHTS}",
            users.processes
        )),
        Observation::Found(users) if !users.complete => {
            Err(format!("{} at least; not all processes could be looked at", users.processes))
        }
        Observation::Found(users) => Ok(users.processes),
        Observation::NeedsRoot => {
            Err(format!("the open files of some processes are not shown {NEEDED_RIGHTS}"))
        }
        Observation::Unknown => Err("this system does not show open files".to_owned()),
    }
}

/// The kernel counts the pages of each backing device, and shows that in debugfs only. SMB and CephFS number these devices
/// by themselves.
fn unwritten(mount: &Mount) -> Known<u64> {
    let file = format!("/sys/kernel/debug/bdi/{}/stats", mount.device_number);
    in_child(|session| session.read(file.as_ref())).ok().and_then(|text| unwritten_in(&text)).ok_or_else(
        || {
            "the kernel shows it in debugfs only, which is not mounted or has nothing about this mount"
                .to_owned()
        },
    )
}

/// Dirty pages, and those that are being written; the counters are exact to some pages for each processor.
fn unwritten_in(stats: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(stats).ok()?;
    let kib = |name| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    kib("BdiWriteback")?.checked_add(kib("BdiReclaimable")?)?.checked_mul(1024)
}

/// Who still has the superblock of a mount after an attempt that has removed it, one text each.
pub(super) fn left_of(mount: &Mount, outcome: Outcome) -> Vec<String> {
    let is_removed = matches!(outcome, Outcome::Remedied | Outcome::NotMountedAgain);
    // It is the same mount after a step that only made its server go on.
    if !is_removed || MountTable::read().is_ok_and(|table| table.get(mount.key).is_some()) {
        return Vec::new();
    }
    let holders = in_child(|session| session.holders(mount, None));
    let copies = holders.and_then(copies).unwrap_or_default();
    let copies = copies
        .into_iter()
        .map(|copy| format!("{} ({} in another mount namespace)", copy.process, escape_os(&copy.mountpoint)));
    let users = match in_child(|session| session.users(mount)) {
        Ok(Observation::Found(users)) => names_of(&users),
        _ => Vec::new(),
    };
    users.into_iter().chain(copies).take(MAX_LEFT).collect()
}

fn names_of(users: &Users) -> Vec<String> {
    let named = users.named.iter().map(|process| format!("{}[{}]", escape(&process.name), process.pid));
    let more = match users.processes.saturating_sub(users.named.len()) {
        0 => None,
        more => Some(format!("{more} more processes")),
    };
    named.chain(more).collect()
}

fn shuts_down_one(release: &[u8]) -> bool {
    let text = String::from_utf8_lossy(release);
    let mut numbers = text.split('.').map(|number| {
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        number[..end].parse::<u32>().ok()
    });
    let version = (numbers.next().flatten(), numbers.next().flatten());
    matches!(version, (Some(major), Some(minor)) if (major, minor) >= SHUTS_DOWN_ONE) && !text.contains("-rc")
}

/// Without what systemd says.
fn add_machine(facts: &mut RemedyFacts) {
    let uptime = in_child(|session| session.read("/proc/uptime".as_ref())).ok();
    let no_login = in_child(|session| session.read(NO_LOGIN.as_ref()));
    facts.machine = Machine {
        // Not known: as if it had just started.
        uptime: uptime.and_then(|text| uptime_in(&text)).unwrap_or(Duration::ZERO),
        is_shutting_down: no_login.is_ok(),
        ..facts.machine.clone()
    };
}

/// The service of the server, units that are bound to the mount, and whether the machine is being shut down.
fn add_units(facts: &mut RemedyFacts, is_foreign: bool) {
    if !facts.machine.has_systemd {
        facts.bound_units = Ok(Vec::new());
        return;
    }
    let mount_unit = unit_name(&facts.mount.mountpoint, ".mount").display().to_string();
    let server = match &facts.fuse_server {
        Ok(FuseServer::Running { pid } | FuseServer::Stopped { pid }) => Some(*pid),
        _ => None,
    };
    let service = server.and_then(|pid| {
        let text = in_child(|session| session.read(format!("/proc/{pid}/cgroup").as_ref())).ok()?;
        service_of(&text)
    });
    let names = [mount_unit, "shutdown.target".to_owned()].into_iter().chain(service.clone()).collect();
    let states = match show(names) {
        Ok(states) => states,
        Err(why) => {
            facts.bound_units = Err(why);
            return;
        }
    };
    let [unit, shutdown, rest @ ..] = &*states else {
        facts.bound_units = Err("systemd does not know the unit of the mount".to_owned());
        return;
    };
    facts.machine.is_shutting_down = shutdown.is_active || shutdown.has_job;
    // A service that only started the server, such as cron, does not start it again: the main process must be the server.
    let serves = |state: &UnitState| server.is_some() && state.main_pid == server;
    if facts.origin == Origin::Unknown
        && let Some(name) = service
        && rest.first().is_some_and(serves)
    {
        facts.origin = Origin::Service { name };
    }
    facts.bound_units = if is_foreign {
        Err("the mount is in another mount namespace, and so may be its units".to_owned())
    } else if unit.bound_by.is_empty() {
        Ok(Vec::new())
    } else {
        show(unit.bound_by.clone()).map(|states| states.into_iter().map(UnitState::into_unit).collect())
    };
}

fn show(names: Vec<String>) -> Known<Vec<UnitState>> {
    let count = names.len();
    let states = systemd::states(&in_child(|session| session.show_units(names))?);
    if states.len() == count { Ok(states) } else { Err("systemd does not know all units".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_end_one_superblock_are_told_by_their_number() {
        for (release, expected) in [
            ("6.15.0\n", true),
            ("6.18.44-fc-v595\n", true),
            ("7.0.0", true),
            ("6.14.11-stable", false),
            ("6.15.0-rc1", false),
            ("5.19", false),
            ("x", false),
            ("", false),
        ] {
            assert_eq!(shuts_down_one(release.as_bytes()), expected, "{release}");
        }
    }

    #[test]
    fn pages_that_are_not_written_are_counted_in_bytes() {
        let text = b"BdiWriteback:                4 kB\nBdiReclaimable:             20 kB\nBdiDirtyThresh:          1 kB\n";
        assert_eq!(unwritten_in(text), Some(24 << 10));
        assert_eq!(unwritten_in(b"BdiWriteback:                4 kB\n"), None);
        assert_eq!(unwritten_in(b""), None);
    }

    /// For every user, and on every machine.
    #[test]
    fn all_facts_are_looked_at() {
        let table = MountTable::read().unwrap();
        let mut facts = RemedyFacts::of(Arc::clone(table.iter().next().unwrap()));
        let before = facts.clone();
        add(&mut facts, &Config::default(), &table);
        assert!(facts.machine.uptime > Duration::ZERO);
        assert_ne!(facts.copies, before.copies);
        assert_ne!(facts.users, before.users);
        assert_ne!(facts.stacked, before.stacked);
        assert_ne!(facts.unwritten, before.unwritten);
        assert_ne!(facts.bound_units, before.bound_units);
        assert_eq!(facts.origin, before.origin);
    }

    #[test]
    fn uptime_is_read() {
        assert_eq!(uptime_in(b"350735.47 234388.90\n"), Some(Duration::from_secs_f64(350_735.47)));
        assert_eq!(uptime_in(b"-1 2\n"), None);
        assert_eq!(uptime_in(b""), None);
    }
}
