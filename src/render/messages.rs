//! Every event as the line that an operator reads. The prefixes and the word after `(` are a contract: people's
//! scripts look for them.

use super::Priority;
use super::escape::{escape, escape_os};
use super::evidence::said;
use super::human_duration::HumanDuration;
use crate::monitor::{Event, Expected, Failure, Health, Reason};
use platform::{Call, Errno, Mount};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// More changed options than this are counted instead of listed: a line is for reading.
const MAX_LISTED_OPTIONS: usize = 8;

/// The line that tells this event, and how much it matters.
#[must_use]
pub fn line(event: &Event) -> (Priority, String) {
    match event {
        Event::Mounted { mount } => {
            (of_change(mount), format!("Mount appeared: {} ({})", path(mount), source(mount)))
        }
        Event::Unmounted { mount, health, lasted } => (
            of_change(mount),
            format!("Mount disappeared: {} ({})", path(mount), last_known(mount, health, *lasted)),
        ),
        Event::Remounted { mount, before } => remounted(mount, before),
        Event::Moved { mount, from } => {
            (of_change(mount), format!("Mount moved: {} -> {}", escape_os(from), path(mount)))
        }
        Event::Failed { mount, failure } => (
            Priority::Error,
            format!(
                "Mount failed health-check: {} ({}: {}; {}{})",
                path(mount),
                failure.reason.as_str(),
                cause(failure),
                source(mount),
                known(failure)
            ),
        ),
        Event::StillFailing { mount, failure, lasted } => (
            Priority::Warning,
            format!("Mount still failing: {} ({})", path(mount), still(mount, failure, *lasted)),
        ),
        Event::Recovered { mount, lasted, took, was } => {
            let slow = if *was == "slow" {
                format!("; was slow, now responds in {}", HumanDuration(*took))
            } else {
                String::new()
            };
            (
                Priority::Notice,
                format!("Mount recovered: {} (after {}{slow})", path(mount), HumanDuration(*lasted)),
            )
        }
        Event::Slow { mount, took, slow_after: _ } => (
            Priority::Warning,
            format!("Mount is slow: {} ({}; {})", path(mount), HumanDuration(*took), source(mount)),
        ),
        Event::Denied { mount, errno, call } => (
            Priority::Notice,
            format!(
                "Mount cannot be checked: {} ({}; {})",
                path(mount),
                refusal(mount, *errno, *call),
                source(mount)
            ),
        ),
        Event::Missing { expected, containing_mount } => (
            Priority::Error,
            format!(
                "Expected mount is missing: {} ({}; {})",
                escape_os(&expected.mountpoint),
                wanted(expected),
                meanwhile(expected, containing_mount.as_deref())
            ),
        ),
        Event::Found { expected, mount, lasted } => (
            Priority::Notice,
            format!(
                "Expected mount is there: {} ({}; was missing for {})",
                escape_os(&expected.mountpoint),
                source(mount),
                HumanDuration(*lasted)
            ),
        ),
        Event::Run { mounts, dead, unjudged, took: _ } => run(*mounts, *dead, *unjudged),
    }
}

/// `nfs4 from nas:/export, required by /etc/fstab:4`
pub fn wanted(expected: &Expected) -> String {
    match expected.what.as_str() {
        "" => format!("required by {}", expected.origin),
        what => format!("{what}, required by {}", expected.origin),
    }
}

/// What became of the place of a missing mount: programs that know nothing of mounts write on.
pub fn meanwhile(expected: &Expected, containing_mount: Option<&Mount>) -> String {
    match containing_mount {
        None => "no mount contains its path".to_owned(),
        Some(mount) if mount.mountpoint == expected.mountpoint => {
            format!("{} is mounted there instead", source(mount))
        }
        Some(mount) if mount.read_only() => format!("its path is on {}, which is read-only", path(mount)),
        Some(mount) => format!("writes now go to {}", path(mount)),
    }
}

fn path(mount: &Mount) -> String {
    escape_os(&mount.mountpoint).into_owned()
}

/// `fuse.sshfs from host:/dir`
fn source(mount: &Mount) -> String {
    let fstype = escape_os(&mount.fstype);
    if mount.device.is_empty() {
        fstype.into_owned()
    } else {
        format!("{fstype} from {}", escape_os(&mount.device))
    }
}

/// Why a mount is dead, after its reason: what was asked and what came of it.
pub fn cause(failure: &Failure) -> String {
    if let Some(outer) = &failure.blocked_by {
        return format!("blocked by hung mount {}", escape_os(outer));
    }
    let from = failure.call.map(|call| format!(" from {}", call.name())).unwrap_or_default();
    match (failure.reason, failure.errno) {
        (Reason::Hung, _) | (_, None) if failure.waited.is_zero() => "no response".to_owned(),
        (Reason::Hung, _) | (_, None) => format!("no response in {}", HumanDuration(failure.waited)),
        // Unusual enough to be worth the system's own words.
        (Reason::Error, Some(errno)) => format!("{errno}{from}, {}", errno.describe()),
        (_, Some(errno)) => format!("{errno}{from}"),
    }
}

fn still(mount: &Mount, failure: &Failure, lasted: Duration) -> String {
    let word = failure.reason.as_str();
    let detail = match (failure.reason, &failure.blocked_by) {
        (Reason::Hung, None) => String::new(),
        _ => format!(": {}", cause(failure)),
    };
    format!("{word} for {}{detail}; {}{}", HumanDuration(lasted), source(mount), known(failure))
}

/// What was learned about it, as the end of its line.
fn known(failure: &Failure) -> String {
    match said(failure) {
        said if said.is_empty() => said,
        said => format!("; {said}"),
    }
}

fn last_known(mount: &Mount, health: &Health, lasted: Duration) -> String {
    let was = match health {
        Health::Dead(failure) => failure.reason.as_str(),
        Health::Slow => "slow",
        Health::Pending | Health::Ok | Health::Denied(_) | Health::Hidden => return source(mount),
    };
    format!("{}; was {was} for {}", source(mount), HumanDuration(lasted))
}

fn refusal(mount: &Mount, errno: Errno, call: Call) -> String {
    let advice = match mount.fuse_owner() {
        _ if errno == Errno::ENAMETOOLONG => "its path is too long for system calls".to_owned(),
        Some((uid, _)) => format!("only its owner has access; run as root or as user {uid}"),
        None => "this user has no access; run as root or as a user with access".to_owned(),
    };
    format!("{errno} from {}: {advice}", call.name())
}

/// `Checked 5 mounts; 1 is dead`
pub(super) fn checked(mounts: usize, dead: usize) -> String {
    let (mounts_noun, verb) =
        (if mounts == 1 { "mount" } else { "mounts" }, if dead == 1 { "is" } else { "are" });
    format!("Checked {mounts} {mounts_noun}; {dead} {verb} dead")
}

fn run(mounts: usize, dead: usize, unjudged: usize) -> (Priority, String) {
    let checked = checked(mounts, dead);
    match unjudged {
        0 => (Priority::Info, checked),
        _ => (Priority::Warning, format!("{checked}; {unjudged} could not be judged")),
    }
}

/// Mounts that a system keeps to itself come and go without people having a part in it.
fn of_change(mount: &Mount) -> Priority {
    if mount.is_system_internal() { Priority::Debug } else { Priority::Notice }
}

fn remounted(mount: &Mount, before: &Mount) -> (Priority, String) {
    let (priority, access) = match (before.read_only(), mount.read_only()) {
        (false, true) => (Priority::Warning, Some("rw -> ro")),
        (true, false) => (of_change(mount), Some("ro -> rw")),
        (true, true) | (false, false) => (of_change(mount), None),
    };
    let mut parts: Vec<String> = access.map(str::to_owned).into_iter().collect();
    let mut changes = option_changes(&before.options, &mount.options, access.is_some());
    for change in option_changes(&before.super_options, &mount.super_options, access.is_some()) {
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    if !changes.is_empty() {
        let more = changes.len().saturating_sub(MAX_LISTED_OPTIONS);
        changes.truncate(MAX_LISTED_OPTIONS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(changes.join(" ") + &more);
    }
    if mount.device != before.device || mount.fstype != before.fstype {
        parts.push(format!("was {}", source(before)));
    }
    parts.push(source(mount));
    (priority, format!("Mount changed: {} ({})", path(mount), parts.join("; ")))
}

/// `-relatime +noatime`; `ro` and `rw` are left out where the change of access has been told already.
fn option_changes(before: &OsStr, now: &OsStr, access_told: bool) -> Vec<String> {
    let list = |options: &OsStr| -> Vec<Vec<u8>> {
        let all = options.as_bytes().split(|&b| b == b',').filter(|option| !option.is_empty());
        all.filter(|option| !(access_told && matches!(*option, b"ro" | b"rw"))).map(<[u8]>::to_vec).collect()
    };
    let (before, now) = (list(before), list(now));
    let without = |these: &[Vec<u8>], those: &[Vec<u8>], sign: char| -> Vec<String> {
        these
            .iter()
            .filter(|option| !those.contains(option))
            .map(|o| format!("{sign}{}", escape(o)))
            .collect()
    };
    let mut changes = without(&before, &now, '-');
    changes.extend(without(&now, &before, '+'));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{failure, mount, sshfs};
    use platform::evidence::ServerResponse;
    use std::sync::Arc;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn failures() {
        let hung = failure(Reason::Hung, None, 3.0);
        let mut behind = hung.clone();
        behind.blocked_by = Some("/outer".into());
        let stale = failure(Reason::Stale, Some(Errno::ESTALE), 0.0);
        let odd = failure(Reason::Error, Some(Errno::EPROTO), 0.0);
        for (failure, text) in [
            (&hung, "(hung: no response in 3s; fuse.sshfs from host:/dir)"),
            (&behind, "(hung: blocked by hung mount /outer; fuse.sshfs from host:/dir)"),
            (&stale, "(stale: ESTALE from statfs; fuse.sshfs from host:/dir)"),
            (&odd, "(error: EPROTO from statfs, Protocol error; fuse.sshfs from host:/dir)"),
        ] {
            let event = Event::Failed { mount: sshfs(), failure: failure.clone() };
            assert_eq!(line(&event), (Priority::Error, format!("Mount failed health-check: /x {text}")));
        }
        for (failure, text) in [
            (hung, "(hung for 7m31s; fuse.sshfs from host:/dir)"),
            (behind, "(hung for 7m31s: blocked by hung mount /outer; fuse.sshfs from host:/dir)"),
            (stale, "(stale for 7m31s: ESTALE from statfs; fuse.sshfs from host:/dir)"),
        ] {
            let event = Event::StillFailing { mount: sshfs(), failure, lasted: seconds(451) };
            assert_eq!(line(&event), (Priority::Warning, format!("Mount still failing: /x {text}")));
        }
    }

    #[test]
    fn what_is_known_of_a_failure_ends_its_line() {
        use crate::render::evidence::tests::{of_nfs, with};
        let failure = with(failure(Reason::Hung, None, 3.0), of_nfs(ServerResponse::Refused));
        let known = r"NFS server 10.0.0.5:2049 refuses connections; 14 tasks blocked: bash[311], t1\012[312], t2\012[313] and others";
        let event = Event::Failed { mount: sshfs(), failure: failure.clone() };
        let expected = format!(
            "Mount failed health-check: /x (hung: no response in 3s; fuse.sshfs from host:/dir; {known})"
        );
        assert_eq!(line(&event).1, expected);
        let event = Event::StillFailing { mount: sshfs(), failure, lasted: seconds(451) };
        let expected =
            format!("Mount still failing: /x (hung for 7m31s; fuse.sshfs from host:/dir; {known})");
        assert_eq!(line(&event).1, expected);
    }

    #[test]
    fn every_other_event() {
        let hung = Health::Dead(failure(Reason::Hung, None, 3.0));
        let took = Duration::from_millis(1400);
        let unmounted = |health| Event::Unmounted { mount: sshfs(), health, lasted: seconds(451) };
        let recovered =
            |was| Event::Recovered { mount: sshfs(), lasted: seconds(451), took: seconds(0), was };
        let run = |unjudged| Event::Run { mounts: 5, dead: 0, unjudged, took };
        let owned = mount("/o", "fuse.portal", "portal", "rw", "rw,user_id=1000,group_id=1000");
        let nfs = mount("/n", "nfs4", "server:/a", "rw", "rw");
        for (event, priority, text) in [
            (
                Event::Mounted { mount: sshfs() },
                Priority::Notice,
                "Mount appeared: /x (fuse.sshfs from host:/dir)",
            ),
            (unmounted(Health::Ok), Priority::Notice, "Mount disappeared: /x (fuse.sshfs from host:/dir)"),
            (
                unmounted(hung),
                Priority::Notice,
                "Mount disappeared: /x (fuse.sshfs from host:/dir; was hung for 7m31s)",
            ),
            (
                Event::Moved { mount: sshfs(), from: "/old".into() },
                Priority::Notice,
                "Mount moved: /old -> /x",
            ),
            (recovered("hung"), Priority::Notice, "Mount recovered: /x (after 7m31s)"),
            (
                recovered("slow"),
                Priority::Notice,
                "Mount recovered: /x (after 7m31s; was slow, now responds in 0s)",
            ),
            (
                Event::Slow { mount: sshfs(), took, slow_after: seconds(1) },
                Priority::Warning,
                "Mount is slow: /x (1.4s; fuse.sshfs from host:/dir)",
            ),
            (
                Event::Denied { mount: owned, errno: Errno::EACCES, call: Call::Statx },
                Priority::Notice,
                "Mount cannot be checked: /o (EACCES from statx: only its owner has access; run as root or as \
                 user 1000; fuse.portal from portal)",
            ),
            (
                Event::Denied { mount: nfs.clone(), errno: Errno::EACCES, call: Call::Statfs },
                Priority::Notice,
                "Mount cannot be checked: /n (EACCES from statfs: this user has no access; run as root or as a \
                 user with access; nfs4 from server:/a)",
            ),
            (
                Event::Denied { mount: nfs, errno: Errno::ENAMETOOLONG, call: Call::Statx },
                Priority::Notice,
                "Mount cannot be checked: /n (ENAMETOOLONG from statx: its path is too long for system calls; \
                 nfs4 from server:/a)",
            ),
            (run(0), Priority::Info, "Checked 5 mounts; 0 are dead"),
            (run(2), Priority::Warning, "Checked 5 mounts; 0 are dead; 2 could not be judged"),
        ] {
            assert_eq!(line(&event), (priority, text.to_owned()));
        }
    }

    #[test]
    fn changed_options() {
        let notice = Priority::Notice;
        for (before, now, priority, text) in [
            (("rw", "rw"), ("ro", "rw"), Priority::Warning, "rw -> ro; ext4 from /dev/sda1"),
            (("rw", "rw"), ("rw", "ro"), Priority::Warning, "rw -> ro; ext4 from /dev/sda1"),
            (("ro", "rw"), ("rw", "rw"), notice, "ro -> rw; ext4 from /dev/sda1"),
            (
                ("rw,relatime", "rw,data=ordered"),
                ("ro,noatime", "ro,data=journal"),
                Priority::Warning,
                "rw -> ro; -relatime +noatime -data=ordered +data=journal; ext4 from /dev/sda1",
            ),
            (("rw", "ro"), ("ro", "ro"), notice, "-rw +ro; ext4 from /dev/sda1"),
            (("rw", "rw"), ("rw", "rw"), notice, "ext4 from /dev/sda1"),
            (
                ("rw", "rw"),
                ("rw,a,b,c,d,e,f,g,h,i,j", "rw"),
                notice,
                "+a +b +c +d +e +f +g +h and 2 more; ext4 from /dev/sda1",
            ),
        ] {
            let event = Event::Remounted {
                mount: mount("/r", "ext4", "/dev/sda1", now.0, now.1),
                before: mount("/r", "ext4", "/dev/sda1", before.0, before.1),
            };
            assert_eq!(line(&event), (priority, format!("Mount changed: /r ({text})")));
        }
    }

    #[test]
    fn names_are_escaped_wherever_they_stand() {
        let evil = mount("/a\nb", "fuse.\x1b", "dev\\\r", "rw", "rw");
        let other = mount("/a\nb", "fuse.\x1b", "dev\\\r", "rw,x=\n", "rw");
        let mut behind = failure(Reason::Hung, None, 1.0);
        behind.blocked_by = Some("/out\ner".into());
        let health = Health::Dead(behind.clone());
        for event in [
            Event::Mounted { mount: Arc::clone(&evil) },
            Event::Unmounted { mount: Arc::clone(&evil), health, lasted: seconds(1) },
            Event::Remounted { mount: other, before: Arc::clone(&evil) },
            Event::Moved { mount: Arc::clone(&evil), from: "/fr\nom".into() },
            Event::Failed { mount: Arc::clone(&evil), failure: behind.clone() },
            Event::StillFailing { mount: evil, failure: behind, lasted: seconds(1) },
        ] {
            let (_, text) = line(&event);
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(text.contains(r"/a\012b"), "{text}");
        }
    }
}
