//! Events as log lines. The prefixes and the word after `(` are a contract that operators' scripts search for.

use super::escape::{escape, escape_os};
use super::evidence::evidence_suffix;
use super::remedy_messages;
use super::status_summary::{are_dead, mounts};
use super::{HumanDuration, Priority};
use crate::monitor::{Event, Expected, Failure, Health, OptionDifference, Reason};
use platform::{Call, Errno, Mount};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Maximum number of listed options; more are counted, to keep lines readable.
const MAX_LISTED_OPTIONS: usize = 8;

/// The line of an event and its priority.
#[must_use]
pub fn line(event: &Event) -> (Priority, String) {
    let priority = match event {
        Event::Remounted { mount, before } if mount.read_only() && !before.read_only() => Priority::Warning,
        // It ends a failure.
        Event::Unmounted { health: Health::Dead(_), .. } => Priority::Notice,
        // The system's own mounts appear and disappear by themselves.
        Event::Mounted { mount }
        | Event::Unmounted { mount, .. }
        | Event::Remounted { mount, .. }
        | Event::Moved { mount, .. }
            if mount.is_system_internal() =>
        {
            Priority::Debug
        }
        Event::Mounted { .. } | Event::Unmounted { .. } | Event::Moved { .. } => Priority::Info,
        Event::Remounted { .. } => Priority::Notice,
        // A drill passes the filters that a death passes.
        Event::Failed { .. } | Event::Missing { .. } | Event::Drill { .. } => Priority::Error,
        Event::Denied { call, .. } if call.is_of_data() => Priority::Warning,
        Event::StillFailing { .. }
        | Event::Slow { .. }
        | Event::Flapping { .. }
        | Event::Unknown { .. }
        | Event::UnexpectedOptions { .. } => Priority::Warning,
        Event::Recovered { .. }
        | Event::Steady { .. }
        | Event::Denied { .. }
        | Event::ExpectedOptions { .. }
        | Event::Found { .. } => Priority::Notice,
        Event::Remedy { report, .. } => remedy_messages::priority(report),
        Event::Run { unjudged: 0, .. } => Priority::Info,
        Event::Run { .. } => Priority::Warning,
    };
    (priority, text(event))
}

fn text(event: &Event) -> String {
    match event {
        Event::Mounted { mount } => format!("Mount appeared: {} ({})", path(mount), source(mount)),
        Event::Unmounted { mount, health, lasted } => {
            format!("Mount disappeared: {} ({}{})", path(mount), source(mount), last_health(health, *lasted))
        }
        Event::Remounted { mount, before } => {
            format!("Mount changed: {} ({})", path(mount), changes(mount, before))
        }
        Event::Moved { mount, from } => format!("Mount moved: {} -> {}", escape_os(from), path(mount)),
        Event::Failed { mount, failure } => {
            format!("Mount failed health-check: {} ({})", path(mount), failing(mount, failure))
        }
        Event::StillFailing { mount, failure, lasted } => {
            format!("Mount still failing: {} ({})", path(mount), still_failing(mount, failure, *lasted))
        }
        Event::Recovered { mount, lasted, took, was } => {
            format!("Mount recovered: {} (after {})", path(mount), recovery(*lasted, *took, was))
        }
        Event::Slow { mount, took, slow_after: _ } => {
            format!("Mount is slow: {} ({}; {})", path(mount), HumanDuration(*took), source(mount))
        }
        Event::Flapping { mount, health, changes, within } => {
            format!("Mount is flapping: {} ({})", path(mount), flapping(mount, health, *changes, *within))
        }
        Event::Steady { mount, health, changes, lasted } => {
            format!("Mount is steady: {} ({})", path(mount), steady(mount, health, *changes, *lasted))
        }
        Event::UnexpectedOptions { mount, differences } => {
            let differences = option_differences(differences);
            format!("Mount has unexpected options: {} ({differences}; {})", path(mount), source(mount))
        }
        Event::ExpectedOptions { mount, lasted } => {
            let (path, lasted) = (path(mount), HumanDuration(*lasted));
            format!("Mount no longer has unexpected options: {path} (after {lasted}; {})", source(mount))
        }
        Event::Denied { mount, errno, call } => {
            let refusal = refusal(mount, *errno, *call);
            format!("Mount cannot be checked: {} ({refusal}; {})", path(mount), source(mount))
        }
        Event::Unknown { mount, was, unjudged } => {
            let (path, known) = (path(mount), last_known(was, *unjudged));
            format!("Mount cannot be judged: {path} ({known}; {})", source(mount))
        }
        Event::Missing { expected, containing_mount } => {
            let consequence = consequence(expected, containing_mount.as_deref());
            let path = escape_os(&expected.mountpoint);
            format!("Expected mount is missing: {path} ({}; {consequence})", requirement(expected))
        }
        Event::Found { expected, mount, lasted } => {
            let (path, lasted) = (escape_os(&expected.mountpoint), HumanDuration(*lasted));
            format!("Expected mount is there: {path} ({}; was missing for {lasted})", source(mount))
        }
        Event::Remedy { mount, report } => remedy_messages::text(mount, report),
        Event::Run { mounts: count, dead, unjudged, took: _ } => run(*count, *dead, *unjudged),
        Event::Drill { mount } => format!("Drill: {} (a test of the outputs; nothing is wrong)", path(mount)),
    }
}

fn run(count: usize, dead: usize, unjudged: usize) -> String {
    let unjudged = match unjudged {
        0 => String::new(),
        _ => format!("; {unjudged} could not be judged"),
    };
    format!("Checked {}; {}{unjudged}", mounts(count), are_dead(dead))
}

fn flapping(mount: &Mount, health: &str, changes: u32, within: Duration) -> String {
    format!("{changes} changes in {}; now {health}; {}", HumanDuration(within), source(mount))
}

fn steady(mount: &Mount, health: &str, changes: u32, lasted: Duration) -> String {
    format!("{health}; flapped for {}, {changes} changes; {}", HumanDuration(lasted), source(mount))
}

fn recovery(lasted: Duration, took: Duration, was: &str) -> String {
    let (lasted, took) = (HumanDuration(lasted), HumanDuration(took));
    match was {
        "slow" => format!("{lasted}; was slow, now responds in {took}"),
        "unknown" => format!("{lasted}; could not be judged, now responds in {took}"),
        _ => lasted.to_string(),
    }
}

fn path(mount: &Mount) -> String {
    escape_os(&mount.mountpoint).into_owned()
}

/// `fuse.sshfs from host:/dir`
pub(super) fn source(mount: &Mount) -> String {
    let fstype = escape_os(&mount.fstype);
    if mount.device.is_empty() {
        fstype.into_owned()
    } else {
        format!("{fstype} from {}", escape_os(&mount.device))
    }
}

/// `no probe was completed for 2m4s; was ok before`
pub(super) fn last_known(was: &str, unjudged: Duration) -> String {
    let before = if was == "pending" { String::new() } else { format!("; was {was} before") };
    format!("no probe was completed for {}{before}", HumanDuration(unjudged))
}

fn failing(mount: &Mount, failure: &Failure) -> String {
    let (reason, cause) = (failure.reason.as_str(), cause(failure));
    format!("{reason}: {cause}; {}{}", source(mount), evidence_suffix(failure))
}

fn still_failing(mount: &Mount, failure: &Failure, lasted: Duration) -> String {
    let (reason, lasted) = (failure.reason.as_str(), HumanDuration(lasted));
    let cause = match (failure.reason, &failure.blocked_by) {
        (Reason::Hung, None) => String::new(),
        _ => format!(": {}", cause(failure)),
    };
    format!("{reason} for {lasted}{cause}; {}{}", source(mount), evidence_suffix(failure))
}

/// The detail of a failure's reason: `no response in 3s`, `ESTALE from statfs`.
pub(super) fn cause(failure: &Failure) -> String {
    if let Some(ancestor) = &failure.blocked_by {
        return format!("blocked by hung mount {}", escape_os(ancestor));
    }
    let of_data = failure.call.filter(|call| call.is_of_data());
    let to = of_data.map(|call| format!(" to {}", call.name())).unwrap_or_default();
    let from = failure.call.map(|call| format!(" from {}", call.name())).unwrap_or_default();
    match (failure.reason, failure.errno) {
        (Reason::Hung, _) | (_, None) if failure.waited.is_zero() => format!("no response{to}"),
        (Reason::Hung, _) | (_, None) => format!("no response{to} in {}", HumanDuration(failure.waited)),
        (Reason::Disconnected, Some(errno)) if failure.call == Some(Call::Kill) => {
            format!("{errno}{from}, its automount daemon is gone")
        }
        // Rare errors come with the system's description.
        (Reason::Error, Some(errno)) => format!("{errno}{from}, {}", errno.describe()),
        (_, Some(errno)) => format!("{errno}{from}"),
    }
}

/// What is mounted and who requires it: `nfs4 from nas:/export, required by /etc/fstab:4`.
pub(super) fn requirement(expected: &Expected) -> String {
    match expected.what.as_str() {
        "" => format!("required by {}", expected.origin),
        what => format!("{what}, required by {}", expected.origin),
    }
}

/// What programs find at the path of a missing mount.
pub(super) fn consequence(expected: &Expected, containing_mount: Option<&Mount>) -> String {
    match containing_mount {
        None => "no mount contains its path".to_owned(),
        Some(mount) if mount.mountpoint == expected.mountpoint => {
            format!("{} is mounted there instead", source(mount))
        }
        Some(mount) if mount.read_only() => format!("its path is on {}, which is read-only", path(mount)),
        Some(mount) => format!("writes now go to {}", path(mount)),
    }
}

fn last_health(health: &Health, lasted: Duration) -> String {
    let was = match health {
        Health::Dead(failure) => failure.reason.as_str(),
        Health::Slow => "slow",
        Health::Unknown { .. } => "unknown",
        Health::Pending | Health::Ok | Health::Denied(_) | Health::Hidden => return String::new(),
    };
    format!("; was {was} for {}", HumanDuration(lasted))
}

fn refusal(mount: &Mount, errno: Errno, call: Call) -> String {
    if call.is_of_data() {
        return format!("{errno} from {}: {}", call.name(), refusal_of_data(errno, call));
    }
    let advice = match mount.fuse_owner() {
        _ if errno == Errno::ENAMETOOLONG => "its path is too long for system calls".to_owned(),
        Some((uid, _)) => format!("only its owner has access; run as root or as user {uid}"),
        None => "this user has no access; run as root or as a user with access".to_owned(),
    };
    format!("{errno} from {}: {advice}", call.name())
}

/// What keeps a data-path probe from its file.
fn refusal_of_data(errno: Errno, call: Call) -> &'static str {
    match (errno, call) {
        (Errno::EDQUOT, _) => "the quota is used up",
        (Errno::ENOSPC, _) => "the file system is full",
        (Errno::EROFS, _) => "the file system is read-only",
        (Errno::ELOOP | Errno::EXDEV, _) => "probe_path leads over a symbolic link or another mount",
        (Errno::ENOENT | Errno::ENOTDIR | Errno::EISDIR | Errno::ENXIO, _) => {
            "probe_path is not as its rule says"
        }
        (Errno::EINVAL, Call::Read) => "the file of probe_path is empty",
        (Errno::EACCES | Errno::EPERM, _) => "its rule's user has no access to probe_path",
        (errno, _) => errno.describe(),
    }
}

fn changes(mount: &Mount, before: &Mount) -> String {
    let access = match (before.read_only(), mount.read_only()) {
        (false, true) => Some("rw -> ro"),
        (true, false) => Some("ro -> rw"),
        (true, true) | (false, false) => None,
    };
    let mut options = option_changes(&before.options, &mount.options, access.is_some());
    for change in option_changes(&before.super_options, &mount.super_options, access.is_some()) {
        if !options.contains(&change) {
            options.push(change);
        }
    }
    let more = options.len().saturating_sub(MAX_LISTED_OPTIONS);
    options.truncate(MAX_LISTED_OPTIONS);
    let mut parts: Vec<String> = access.map(str::to_owned).into_iter().collect();
    if !options.is_empty() {
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(options.join(" ") + &more);
    }
    if mount.device != before.device || mount.fstype != before.fstype {
        parts.push(format!("was {}", source(before)));
    }
    parts.push(source(mount));
    parts.join("; ")
}

/// `ro instead of rw, vers=4.1 instead of vers=4.2, hard is missing`
pub(super) fn option_differences(differences: &[OptionDifference]) -> String {
    let text = |OptionDifference { expected, found }: &OptionDifference| match found {
        Some(found) => format!("{} instead of {expected}", escape_os(found)),
        None => format!("{expected} is missing"),
    };
    let listed: Vec<String> = differences.iter().take(MAX_LISTED_OPTIONS).map(text).collect();
    match differences.len().saturating_sub(MAX_LISTED_OPTIONS) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

/// `-relatime`, `+noatime`; without `ro` and `rw` if `access_changed`, which has words of its own.
fn option_changes(before: &OsStr, now: &OsStr, access_changed: bool) -> Vec<String> {
    let list = |options: &OsStr| -> Vec<Vec<u8>> {
        let all = options.as_bytes().split(|&b| b == b',').filter(|option| !option.is_empty());
        all.filter(|option| !(access_changed && matches!(*option, b"ro" | b"rw")))
            .map(<[u8]>::to_vec)
            .collect()
    };
    let (before, now) = (list(before), list(now));
    let missing_in = |other: &[Vec<u8>], options: &[Vec<u8>], sign: char| -> Vec<String> {
        let missing = options.iter().filter(|option| !other.contains(option));
        missing.map(|option| format!("{sign}{}", escape(option))).collect()
    };
    [missing_in(&now, &before, '-'), missing_in(&before, &now, '+')].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{self, failure, mount, sshfs};
    use platform::evidence::ServerResponse;
    use std::sync::Arc;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn failure_lines_name_reason_and_cause() {
        let hung = failure(Reason::Hung, None, 3.0);
        let mut behind = hung.clone();
        behind.blocked_by = Some("/outer".into());
        let stale = failure(Reason::Stale, Some(Errno::ESTALE), 0.0);
        let automount =
            Failure { call: Some(Call::Kill), ..failure(Reason::Disconnected, Some(Errno::ESRCH), 0.0) };
        let odd = failure(Reason::Error, Some(Errno::EPROTO), 0.0);
        for (failure, text) in [
            (&hung, "(hung: no response in 3s; fuse.sshfs from host:/dir)"),
            (&behind, "(hung: blocked by hung mount /outer; fuse.sshfs from host:/dir)"),
            (&stale, "(stale: ESTALE from statfs; fuse.sshfs from host:/dir)"),
            (
                &automount,
                "(disconnected: ESRCH from kill, its automount daemon is gone; fuse.sshfs from host:/dir)",
            ),
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
    fn evidence_ends_a_failure_line() {
        use crate::render::evidence::tests::{of_nfs, with};
        let failure = with(failure(Reason::Hung, None, 3.0), of_nfs(ServerResponse::Refused));
        let known = r"NFS server 10.0.0.5:2049 refuses connections; 14 tasks blocked: bash[311], t1\012[312], t2\012[313] and others";
        let failed = Event::Failed { mount: sshfs(), failure: failure.clone() };
        let reminder = Event::StillFailing { mount: sshfs(), failure, lasted: seconds(451) };
        let text = format!("(hung: no response in 3s; fuse.sshfs from host:/dir; {known})");
        assert_eq!(line(&failed).1, format!("Mount failed health-check: /x {text}"));
        let text = format!("(hung for 7m31s; fuse.sshfs from host:/dir; {known})");
        assert_eq!(line(&reminder).1, format!("Mount still failing: /x {text}"));
    }

    #[test]
    fn lines_of_the_other_events() {
        let (mount, took) = (sshfs(), Duration::from_millis(1400));
        let unmounted = |health| Event::Unmounted { mount: sshfs(), health, lasted: seconds(451) };
        let recovered =
            |was| Event::Recovered { mount: sshfs(), lasted: seconds(451), took: seconds(0), was };
        let run = |mounts, dead, unjudged| Event::Run { mounts, dead, unjudged, took };
        let denied =
            |mount: &Arc<Mount>, errno, call| Event::Denied { mount: Arc::clone(mount), errno, call };
        let owned = samples::mount("/o", "fuse.portal", "portal", "rw", "rw,user_id=1000,group_id=1000");
        let nfs = samples::mount("/n", "nfs4", "server:/a", "rw", "rw");
        let root = samples::mount("/", "ext4", "/dev/sda1", "rw", "rw");
        let what = "nfs4 from server:/a".to_owned();
        let expected = Arc::new(Expected::new("/n".into(), what, "/etc/fstab:4".into(), |_| false));
        let events = [
            Event::Mounted { mount: Arc::clone(&mount) },
            unmounted(Health::Ok),
            unmounted(Health::Dead(failure(Reason::Hung, None, 3.0).into())),
            Event::Moved { mount: Arc::clone(&mount), from: "/old".into() },
            recovered("hung"),
            recovered("slow"),
            Event::Slow { mount: Arc::clone(&mount), took, slow_after: seconds(1) },
            Event::Flapping { mount: Arc::clone(&mount), health: "hung", changes: 6, within: seconds(120) },
            Event::Steady { mount, health: "ok", changes: 23, lasted: seconds(451) },
            denied(&owned, Errno::EACCES, Call::Statx),
            denied(&nfs, Errno::EACCES, Call::Statfs),
            denied(&nfs, Errno::ENAMETOOLONG, Call::Statx),
            Event::Missing { expected: Arc::clone(&expected), containing_mount: Some(root) },
            Event::Missing { expected: Arc::clone(&expected), containing_mount: None },
            Event::Found { expected, mount: nfs, lasted: seconds(451) },
            run(5, 0, 0),
            run(1, 1, 0),
            run(5, 2, 2),
        ];
        let lines = events.iter().map(line).map(|(priority, text)| format!("{priority}: {text}\n"));
        let expected_lines = "\
info: Mount appeared: /x (fuse.sshfs from host:/dir)
info: Mount disappeared: /x (fuse.sshfs from host:/dir)
notice: Mount disappeared: /x (fuse.sshfs from host:/dir; was hung for 7m31s)
info: Mount moved: /old -> /x
notice: Mount recovered: /x (after 7m31s)
notice: Mount recovered: /x (after 7m31s; was slow, now responds in 0s)
warning: Mount is slow: /x (1.4s; fuse.sshfs from host:/dir)
warning: Mount is flapping: /x (6 changes in 2m; now hung; fuse.sshfs from host:/dir)
notice: Mount is steady: /x (ok; flapped for 7m31s, 23 changes; fuse.sshfs from host:/dir)
notice: Mount cannot be checked: /o (EACCES from statx: only its owner has access; run as root or as user 1000; \
fuse.portal from portal)
notice: Mount cannot be checked: /n (EACCES from statfs: this user has no access; run as root or as a user with \
access; nfs4 from server:/a)
notice: Mount cannot be checked: /n (ENAMETOOLONG from statx: its path is too long for system calls; nfs4 from \
server:/a)
error: Expected mount is missing: /n (nfs4 from server:/a, required by /etc/fstab:4; writes now go to /)
error: Expected mount is missing: /n (nfs4 from server:/a, required by /etc/fstab:4; no mount contains its path)
notice: Expected mount is there: /n (nfs4 from server:/a; was missing for 7m31s)
info: Checked 5 mounts; 0 are dead
info: Checked 1 mount; 1 is dead
warning: Checked 5 mounts; 2 are dead; 2 could not be judged
";
        assert_eq!(lines.collect::<String>(), expected_lines);
    }

    #[test]
    fn lines_of_unexpected_options_list_the_differences() {
        let difference = |(expected, found): (&str, Option<&str>)| OptionDifference {
            expected: expected.to_owned(),
            found: found.map(Into::into),
        };
        let found = [("rw", Some("ro")), ("vers=4.2", Some("vers=4\n")), ("hard", None)];
        let differences = found.map(difference).to_vec();
        let warning = Event::UnexpectedOptions { mount: sshfs(), differences };
        let text =
            r"ro instead of rw, vers=4\012 instead of vers=4.2, hard is missing; fuse.sshfs from host:/dir";
        assert_eq!(line(&warning), (Priority::Warning, format!("Mount has unexpected options: /x ({text})")));
        let differences = vec![difference(("hard", None)); MAX_LISTED_OPTIONS + 2];
        let (_, text) = line(&Event::UnexpectedOptions { mount: sshfs(), differences });
        assert!(text.contains("hard is missing and 2 more; fuse.sshfs"), "{text}");
        let text = "Mount no longer has unexpected options: /x (after 7m31s; fuse.sshfs from host:/dir)";
        let ended = Event::ExpectedOptions { mount: sshfs(), lasted: seconds(451) };
        assert_eq!(line(&ended), (Priority::Notice, text.to_owned()));
    }

    #[test]
    fn remount_lists_changed_options() {
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
    fn every_name_is_escaped() {
        let evil = mount("/a\nb", "fuse.\x1b", "dev\\\r", "rw", "rw");
        let other = mount("/a\nb", "fuse.\x1b", "dev\\\r", "rw,x=\n", "rw");
        let mut behind = failure(Reason::Hung, None, 1.0);
        behind.blocked_by = Some("/out\ner".into());
        let health = Health::Dead(behind.clone().into());
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
