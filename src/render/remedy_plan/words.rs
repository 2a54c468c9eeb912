//! The words for steps, what they break, and what forbids them. One sentence each, with escaped names.

use crate::monitor::remedy::{FuseServer, NoRemount, Situation};
use crate::monitor::remedy::{Guard, Harm, MountAgain, MountCopy, Plan, StepKind};
use crate::render::HumanDuration;
use crate::render::escape::{escape_os, one_line};
use platform::DeviceNumber;
use std::fmt::Display;
use std::path::PathBuf;

/// Maximum number of names in one sentence; JSON has all.
const MAX_NAMES: usize = 10;

/// The system call, or the command that makes it.
pub(super) fn call(kind: StepKind, plan: &Plan) -> String {
    let path = escape_os(&plan.mount().mountpoint);
    let DeviceNumber { major, minor } = plan.facts().superblock();
    match kind {
        StepKind::Resume => match plan.facts().fuse_server {
            Ok(FuseServer::Stopped { pid }) => format!("pidfd_send_signal(pidfd of {pid}, SIGCONT)"),
            _ => "pidfd_send_signal(pidfd of the server, SIGCONT)".to_owned(),
        },
        StepKind::MountPrivately => match plan.mount_again() {
            MountAgain::Privately { fresh_superblock: true } => {
                format!("mount(8) at a private place, with {}", plan.facts().superblock_kind().fresh_option())
            }
            _ => "mount(8) at a private place, in a scope of its own".to_owned(),
        },
        StepKind::Placeholder => "mount(2) of an empty tmpfs at a private place, read-only".to_owned(),
        StepKind::MoveBeneath => format!("move_mount(the private place, {path}, MOVE_MOUNT_BENEATH)"),
        StepKind::Abort => {
            format!(
                "umount2(/proc/self/fd/N, MNT_FORCE), or a write to /sys/fs/fuse/connections/{minor}/abort"
            )
        }
        StepKind::Unmount => format!("umount2({path}, UMOUNT_NOFOLLOW)"),
        StepKind::Force => "umount2(/proc/self/fd/N, MNT_FORCE)".to_owned(),
        StepKind::Detach => "umount2(/proc/self/fd/N, MNT_DETACH)".to_owned(),
        StepKind::Replace => {
            format!("umount2(/proc/self/fd/N, MNT_DETACH), then move_mount(the private place, {path})")
        }
        StepKind::MoveIn => format!("move_mount(the private place, {path})"),
        StepKind::ShutDown => format!("a write of 1 to /sys/fs/nfs/{major}:{minor}/shutdown"),
        StepKind::MountAgain => match plan.mount_again() {
            MountAgain::ByUnit(name) => format!("systemctl start {}", one_line(name)),
            _ => "systemctl start".to_owned(),
        },
        StepKind::Verify => "statx and statfs, twice, in a prober".to_owned(),
    }
}

/// What the step does.
pub(in crate::render) const fn purpose(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Resume => "continue the stopped FUSE server",
        StepKind::MountPrivately => {
            "make a new mount at a private place, and probe it there; if it fails, stop here"
        }
        StepKind::Placeholder => "prepare an empty, read-only directory for the mount point",
        StepKind::MoveBeneath => "move it beneath the dead mount, so that the mount point is never open",
        StepKind::Abort => "abort the FUSE connection",
        StepKind::Unmount => "unmount it, if nobody uses it",
        StepKind::Force => "fail its pending requests, and unmount it if nobody uses it then",
        StepKind::Detach => "detach it, even while programs use it",
        StepKind::Replace => {
            "detach it, even while programs use it, and put the new mount in its place at once"
        }
        StepKind::MoveIn => "put the new mount in its place, unless it is there",
        StepKind::ShutDown => "shut down its NFS client, so that tasks that are stuck in it end",
        StepKind::MountAgain => "mount it again by its service",
        StepKind::Verify => "verify the mount",
    }
}

pub(super) fn harm(harm: &Harm) -> String {
    match harm {
        Harm::RequestsFail { also } if also.is_empty() => {
            "for all who use this file system: waiting requests and open files fail with EIO or ENOTCONN"
                .to_owned()
        }
        Harm::RequestsFail { also } => format!(
            "for all who use this file system, also at {}: waiting requests and open files fail with EIO or ENOTCONN",
            paths(also)
        ),
        Harm::ServerRequestsFail { also } if also.is_empty() => {
            "for all mounts of this server and client, here this one alone: requests fail with EIO".to_owned()
        }
        Harm::ServerRequestsFail { also } => {
            format!("for all mounts of this server and client, also {}: requests fail with EIO", paths(also))
        }
        Harm::UnwrittenIsLost => "what was written and has not reached the server is lost".to_owned(),
        Harm::UsersKeepIt => {
            "processes with open files or a working directory there keep the dead file system until they end"
                .to_owned()
        }
        Harm::CopiesGo(copies) => {
            format!("it also disappears in other mount namespaces: {}", copies_named(copies))
        }
        Harm::CopiesStay(copies) => {
            format!("it stays dead in {} other mount namespaces: {}", copies.len(), copies_named(copies))
        }
        Harm::SiblingsStay(at) => format!("the same file system stays dead at {}", paths(at)),
        Harm::ChildrenGo(below) => {
            format!("the mounts of the same server below it go with it: {}", paths(below))
        }
        Harm::UnitsStop(units) => format!("systemd stops what is bound to it: {}", names(units)),
        Harm::PathIsOpen => {
            "until the next step, processes may write into the directory underneath, on another disk"
                .to_owned()
        }
        Harm::PathIsEmpty => "until it is mounted again, the mount point is empty and read-only".to_owned(),
        Harm::NoneIfBusy => "nothing if the mount is in use: the call fails with EBUSY".to_owned(),
    }
}

/// Why the guard forbids it.
#[must_use]
pub fn guard(guard: &Guard) -> String {
    match guard {
        Guard::NoRemedy => "no step is known to help a mount of this type that is dead for this reason".to_owned(),
        Guard::FuseServerUnknown(why) => {
            format!("nobody knows whether the process that serves it still runs ({}): it may recover", one_line(why))
        }
        Guard::ServerSilent => {
            "the server does not answer: waiting loses nothing, and a new mount would fail too (allow silent_server)"
                .to_owned()
        }
        Guard::CephRecovers { has_option: true } => {
            "the client was evicted and recovers by itself, as it has recover_session=clean (allow evicted)".to_owned()
        }
        Guard::CephRecovers { has_option: false } => {
            "the client was evicted: mount it with recover_session=clean, and it recovers by itself (allow evicted)"
                .to_owned()
        }
        Guard::SystemPath { path } => format!("the system needs {path}"),
        Guard::KeptPath { what, path } => format!("it may hold {what}, {}", escape_os(path)),
        Guard::MountsBelow(below) => format!("other mounts are below it: {}", paths(below)),
        Guard::AutofsBelow(below) => format!("automount triggers are below it: {}", paths(below)),
        Guard::NoUniqueIds => {
            "this kernel reuses the ids of mounts (unique ids exist from Linux 6.8 on), so a new mount at this path could \
             be hit"
                .to_owned()
        }
        Guard::Replaced { died } => {
            format!("the mount that died, with the id {}, is gone: another has its place", died.0)
        }
        Guard::TooSoon { dead_for, after } => {
            format!("it has been dead for {} of the {} of the rule", HumanDuration(*dead_for), HumanDuration(*after))
        }
        Guard::MayBeFailover { stale_for, after } => format!(
            "ESTALE may be a failover: statfs has returned it for {} of {}",
            HumanDuration(*stale_for),
            HumanDuration(*after)
        ),
        _ => guard_of_attempts(guard),
    }
}

fn guard_of_attempts(guard: &Guard) -> String {
    match guard {
        Guard::NotConfirmed => "no probe since the decision has confirmed that it is dead".to_owned(),
        Guard::OtherFault(reason) => format!("the last probe found another fault: {}", reason.as_str()),
        Guard::Recovered => "the last probe found that it responds".to_owned(),
        Guard::ProberAlive => {
            "a process that probes it has not ended, so it would fail with EBUSY".to_owned()
        }
        Guard::ServerBusy => "another mount of the same server is being remedied".to_owned(),
        Guard::MachineBusy { running } => format!("{running} mounts of this machine are being remedied"),
        Guard::Stranded => "a process of an earlier step cannot be ended, and may still act".to_owned(),
        Guard::AttemptsSpent { attempts, window } => {
            format!("{attempts} attempts were made within {}", HumanDuration(*window))
        }
        Guard::MachineSpent { attempts } => {
            format!("{attempts} attempts were made since this machine was started")
        }
        Guard::GaveUp => "earlier attempts gave up on it".to_owned(),
        Guard::WrongHit => {
            "an unmount has hit another mount than the one that was meant: look at it, and permit remedies with remedy --reset"
                .to_owned()
        }
        _ => guard_of_surroundings(guard),
    }
}

fn guard_of_surroundings(guard: &Guard) -> String {
    match guard {
        Guard::HealthySibling(at) => {
            format!("the same file system responds at {}: the fault is not in it", paths(at))
        }
        Guard::UnknownSibling(at) => {
            format!(
                "the same file system is mounted at {}, where nobody knows whether it responds",
                paths(at)
            )
        }
        Guard::OtherUser { user } => {
            format!("the user {user} serves it: it can be aborted, and only its user mounts it again")
        }
        Guard::ShuttingDown => "the system is shutting down".to_owned(),
        Guard::JustStarted { uptime } => {
            format!("the machine was started {} ago, and much may still come up", HumanDuration(*uptime))
        }
        Guard::JustResumed { resumed } => {
            format!("the machine was resumed {} ago, and much may still recover", HumanDuration(*resumed))
        }
        Guard::Stacked(what) => format!("something is stacked on it, and would fail: {}", names(what)),
        Guard::StackedUnknown(why) => {
            format!("nobody knows what is stacked on it ({}): only an unmount is safe", one_line(why))
        }
        Guard::CopyInUse(copies) => {
            format!("it would hit other mount namespaces (allow copies): {}", copies_named(copies))
        }
        Guard::CopiesUnknown(why) => {
            format!(
                "nobody knows which other mount namespaces it would hit ({}) (allow copies)",
                one_line(why)
            )
        }
        Guard::UnitsActive(units) => {
            format!("systemd would stop active units (allow units): {}", names(units))
        }
        Guard::UnitsUnknown(why) => {
            format!("nobody knows which units systemd would stop ({}) (allow units)", one_line(why))
        }
        Guard::DeadAncestor(path) => {
            format!("the mount {} above it is dead: remedy that first", escape_os(path))
        }
        Guard::CannotMountAgain(why) => {
            format!("it would not be mounted again, as {} (allow not_mounted_again)", no_remount(*why))
        }
        Guard::ForeignNamespace => {
            "in another mount namespace it can only be unmounted or aborted".to_owned()
        }
        Guard::MadeBefore => "it was made before, for this mount".to_owned(),
        Guard::ShutDownIsShared(others) => {
            format!("on this kernel it would end all mounts of the server, also {}", paths(others))
        }
        Guard::NotInRule => "not among the steps: name it with --steps, or in the rule".to_owned(),
        _ => guard.as_str().to_owned(),
    }
}

pub(super) fn again(plan: &Plan) -> String {
    match plan.mount_again() {
        MountAgain::Privately { fresh_superblock: true } => format!(
            "as it was made, at a private place first, with {}: without it, mount would find the dead file system again",
            plan.facts().superblock_kind().fresh_option()
        ),
        MountAgain::Privately { fresh_superblock: false } => {
            "as it was made, at a private place first".to_owned()
        }
        MountAgain::ByUnit(name) => format!("by the service {}", one_line(name)),
        MountAgain::ByAutofs => "by autofs, at the next access".to_owned(),
        MountAgain::Never(why) => format!("it is not: {}", no_remount(*why)),
    }
}

const fn no_remount(why: NoRemount) -> &'static str {
    match why {
        NoRemount::Rule => "the rule says so",
        NoRemount::ForeignNamespace => "it is in another mount namespace",
        NoRemount::OtherUser => "only its user can do that",
        NoRemount::UnknownOrigin => "neither fstab, a unit of systemd nor autofs has it",
        NoRemount::NoSystemd => "only systemd can start its server, and does not run here",
        NoRemount::ServerSilent => "its server does not answer",
    }
}

/// How a situation is called in an explanation.
pub(super) const fn situation(situation: Situation) -> &'static str {
    match situation {
        Situation::NotDead => "not dead",
        Situation::Stale => "stale",
        Situation::FuseServerGone => "its FUSE server is gone",
        Situation::FuseHung => "hung, and its FUSE server runs",
        Situation::FuseStopped => "hung, and its FUSE server is stopped",
        Situation::ServerAnswers => "hung or failing, while its server answers",
        Situation::ServerSilent => "hung or failing, and its server is silent",
        Situation::CephEvicted => "an evicted client",
        Situation::Other => "dead in another way",
    }
}

fn paths(all: &[PathBuf]) -> String {
    list(all.iter().map(|path| escape_os(path)))
}

fn names(all: &[String]) -> String {
    list(all.iter().map(|name| one_line(name)))
}

fn copies_named(copies: &[MountCopy]) -> String {
    list(copies.iter().map(|copy| {
        let kind = if copy.in_container { ", a container" } else { "" };
        let below = if copy.has_mounts_below { ", with mounts below" } else { "" };
        let MountCopy { namespace, process, mountpoint, .. } = copy;
        format!("{} in mnt:[{namespace}] of {}{kind}{below}", escape_os(mountpoint), one_line(process))
    }))
}

fn list(all: impl ExactSizeIterator<Item = impl Display>) -> String {
    let more = all.len().saturating_sub(MAX_NAMES);
    let shown: Vec<String> = all.take(MAX_NAMES).map(|name| name.to_string()).collect();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
