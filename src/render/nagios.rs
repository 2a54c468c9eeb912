//! The output of `check --nagios`: one line with performance data, following the Monitoring Plugins guidelines.

use super::escape::{escape_os, one_line};
use super::status_summary::mounts;
use super::{HumanDuration, StatusSummary};
use crate::monitor::{Health, MountStatus, Status, Time};
use std::path::Path;

/// Maximum output size: Nagios keeps 8 KiB; the rest is reserved for additions by relays.
const MAX_LINE: usize = 8000;
/// Maximum number of mounts named in the text; the others are counted, because the text is sent to phones.
const MAX_NAMED: usize = 10;
/// Maximum length of a name in bytes; a mount with a longer name is counted, because the name would displace all
/// others.
const MAX_NAME: usize = 256;

/// A plugin's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No problem.
    Ok,
    /// Some mounts are slow.
    Warning,
    /// Some mounts are dead or missing.
    Critical,
    /// Some mounts could not be judged, or none can be checked.
    Unknown,
}

impl State {
    /// The state of all mounts together.
    #[must_use]
    pub const fn of(summary: &StatusSummary) -> State {
        if summary.dead + summary.missing > 0 {
            State::Critical
        } else if summary.ok + summary.slow == 0 || summary.unjudged() > 0 {
            State::Unknown
        } else if summary.slow > 0 {
            State::Warning
        } else {
            State::Ok
        }
    }

    /// The plugin's exit status.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            State::Ok => 0,
            State::Warning => 1,
            State::Critical => 2,
            State::Unknown => 3,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Warning => "WARNING",
            State::Critical => "CRITICAL",
            State::Unknown => "UNKNOWN",
        }
    }
}

/// The state, and the line without a line end.
#[must_use]
pub fn line(status: &Status, now: Time) -> (State, String) {
    let summary = StatusSummary::of(status);
    let state = State::of(&summary);
    let StatusSummary { total, dead, slow, denied, missing, .. } = summary;
    let age = status.age_at(now).map(|age| format!(" checked {} ago", HumanDuration::in_seconds(age)));
    let age = age.unwrap_or_default();
    let mut line = format!("MOUNTS {} - {}{age}, {dead} dead", state.as_str(), mounts(total));
    line += &list_mounts(status, |mount| Some(mount.health.failure()?.reason.as_str().to_owned()));
    if missing > 0 {
        let paths = status.missing_mounts().map(|mount| short_path(&mount.expected.mountpoint));
        line += &format!(", {missing} missing{}", list(paths));
    }
    if slow > 0 {
        let latency = |mount: &MountStatus| {
            let took =
                mount.last_response.map_or_else(String::new, |last| HumanDuration(last.took).to_string());
            (mount.health == Health::Slow).then_some(took)
        };
        line += &format!(", {slow} slow{}", list_mounts(status, latency));
    }
    if denied > 0 {
        line += &format!(", {denied} cannot be checked");
    }
    let unjudged = summary.unjudged();
    if unjudged > 0 {
        let state = |mount: &MountStatus| match &mount.health {
            Health::Pending => Some("pending".to_owned()),
            Health::Unknown { .. } => {
                Some(format!("unknown for {}", HumanDuration::in_seconds(now.since(mount.since))))
            }
            _ => None,
        };
        line += &format!(", {unjudged} could not be judged{}", list_mounts(status, state));
    }
    line += &format!(" | total={total};;;0 dead={dead};;0;0;{total} slow={slow};0;;0;{total}");
    for data in status.mounts.iter().filter_map(performance_data) {
        if line.len() + data.len() > MAX_LINE {
            break;
        }
        line += &data;
    }
    (state, line)
}

/// The line of a check that could not run, for example because of an invalid option.
#[must_use]
pub fn unknown(problem: &str) -> String {
    format!("MOUNTS UNKNOWN - {}", one_line(problem).replace('|', "\\174"))
}

/// `: /a (hung), /b (stale) and 3 more`: the mounts for which `detail` returns some.
fn list_mounts(status: &Status, detail: impl Fn(&MountStatus) -> Option<String>) -> String {
    list(status.mounts.iter().filter_map(|mount| {
        let detail = detail(mount)?;
        Some(short_path(&mount.mount.mountpoint).map(|path| format!("{path} ({detail})")))
    }))
}

/// Names up to [`MAX_NAMED`] items and counts the others; an item without a name is counted.
fn list(items: impl Iterator<Item = Option<String>>) -> String {
    let (mut names, mut more) = (Vec::new(), 0);
    for item in items {
        match item {
            Some(name) if names.len() < MAX_NAMED => names.push(name),
            _ => more += 1,
        }
    }
    match (names.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", names.join(", ")),
        (false, more) => format!(": {} and {more} more", names.join(", ")),
    }
}

fn short_path(path: &Path) -> Option<String> {
    Some(escape(path)).filter(|path| path.len() <= MAX_NAME)
}

/// ` '/mnt/x'=0.003s;1;3;0`, with `U` for an unknown value. Hidden mounts have none.
fn performance_data(status: &MountStatus) -> Option<String> {
    let value = match (&status.health, status.last_response) {
        (Health::Hidden, _) => return None,
        (Health::Ok | Health::Slow, Some(response)) => format!("{:.6}s", response.took.as_secs_f64()),
        _ => "U".to_owned(),
    };
    // The guidelines forbid `=` in a label and double its quotes.
    let label = escape(&status.mount.mountpoint).replace('=', "\\075").replace('\'', "''");
    let settings = status.settings;
    let (slow, hung) = (settings.slow_after.as_secs_f64(), settings.timeout.as_secs_f64());
    (label.len() <= MAX_NAME).then(|| format!(" '{label}'={value};{slow};{hung};0"))
}

/// Replaces `|`, because the first one in the output ends the text.
fn escape(path: &Path) -> String {
    escape_os(path).replace('|', "\\174")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::render::samples::{at, failure, mount, status, status_of};
    use platform::Errno;

    fn mount_of(path: &str, health: Health) -> MountStatus {
        status_of(mount(path, "ext4", "/dev/sda1", "rw", "rw"), health)
    }

    fn hung() -> Health {
        Health::Dead(failure(Reason::Hung, None, 3.0))
    }

    fn lines(mounts: Vec<MountStatus>) -> (u8, String) {
        let (state, line) = line(&status(mounts), at(10.0));
        (state.exit_status(), line)
    }

    #[test]
    fn state_and_text_follow_the_mounts() {
        let denied = Health::Denied(Errno::EACCES);
        for (mounts, exit, text) in [
            (
                vec![mount_of("/", Health::Ok)],
                0,
                "MOUNTS OK - 1 mount, 0 dead | total=1;;;0 dead=0;;0;0;1 slow=0;0;;0;1 '/'=0.003000s;1;3;0",
            ),
            (
                vec![mount_of("/", Health::Ok), mount_of("/s", Health::Slow)],
                1,
                "MOUNTS WARNING - 2 mounts, 0 dead, 1 slow: /s (1.4s) | ",
            ),
            (
                vec![mount_of("/", Health::Ok), mount_of("/s", Health::Pending)],
                3,
                "MOUNTS UNKNOWN - 2 mounts, 0 dead, 1 could not be judged: /s (pending) | ",
            ),
            (
                vec![mount_of("/", Health::Slow), mount_of("/s", Health::Unknown { was: "ok" })],
                3,
                "MOUNTS UNKNOWN - 2 mounts, 0 dead, 1 slow: / (1.4s), 1 could not be judged: /s (unknown for 2s) | ",
            ),
            (
                vec![mount_of("/", Health::Ok), mount_of("/h", hung())],
                2,
                "MOUNTS CRITICAL - 2 mounts, 1 dead: /h (hung) | ",
            ),
            (
                vec![mount_of("/", Health::Ok), mount_of("/d", denied.clone())],
                0,
                "MOUNTS OK - 2 mounts, 0 dead, 1 cannot be checked | ",
            ),
            (vec![mount_of("/d", denied)], 3, "MOUNTS UNKNOWN - 1 mount, 0 dead, 1 cannot be checked | "),
            (vec![], 3, "MOUNTS UNKNOWN - 0 mounts, 0 dead | "),
        ] {
            let (status, line) = lines(mounts);
            assert!(line.starts_with(text), "{line}");
            assert_eq!(status, exit, "{line}");
        }
    }

    #[test]
    fn special_characters_are_escaped() {
        let (_, line) = lines(vec![mount_of("/a|b'c=d\ne", hung())]);
        let (text, data) = line.split_once('|').unwrap();
        assert!(text.contains(r"/a\174b'c=d\012e (hung)"), "{text}");
        assert!(data.contains(r" '/a\174b''c\075d\012e'=U;1;3;0"), "{data}");
        assert!(!data.contains('|') && !line.contains('\n'));
        assert_eq!(unknown("no | such\nthing"), r"MOUNTS UNKNOWN - no \174 such\012thing");
    }

    #[test]
    fn line_is_bounded() {
        let (_, line) = lines((0..1000).map(|n| mount_of(&format!("/mnt/{n:0100}"), hung())).collect());
        assert!(line.len() <= MAX_LINE && line.len() > MAX_LINE - 200, "{}", line.len());
        assert!(line.contains(" and 990 more | "));
        let (_, line) = lines(vec![mount_of(&format!("/{}", "x".repeat(4000)), hung())]);
        assert!(line.len() < 200, "{line}");
    }
}
