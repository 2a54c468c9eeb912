//! The answer of `check --nagios`: one line with performance data, as the monitoring plugins' guidelines have it.

use super::StatusSummary;
use super::escape::{escape_os, one_line};
use super::human_duration::HumanDuration;
use crate::monitor::{Health, MountStatus, Status};
use std::path::Path;

/// Nagios keeps 8 KiB of what a plugin prints; a little is left for what relays add.
const MAX_LINE: usize = 8000;
/// Mounts that are named in the text; the others are counted. A message to a person's phone is not a table.
const MAX_NAMED: usize = 10;
/// Names longer than this are counted instead of shown: one name must not push out all others.
const MAX_NAME: usize = 256;

/// A plugin's exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// All is well.
    Ok,
    /// Some mounts are slow, or could not be judged.
    Warning,
    /// Some mounts are dead, or missing.
    Critical,
    /// Nothing could be judged.
    Unknown,
}

impl State {
    /// What the status comes to.
    #[must_use]
    pub const fn of(verdict: &StatusSummary) -> State {
        if verdict.dead + verdict.missing > 0 {
            State::Critical
        } else if verdict.ok + verdict.slow == 0 {
            State::Unknown
        } else if verdict.slow + verdict.pending > 0 {
            State::Warning
        } else {
            State::Ok
        }
    }

    /// The exit status.
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

/// The line, without a line end, and the state that it reports.
#[must_use]
pub fn line(status: &Status) -> (State, String) {
    let verdict = StatusSummary::of(status);
    let state = State::of(&verdict);
    let StatusSummary { total, dead, slow, denied, pending, missing, .. } = verdict;
    let mut line = format!(
        "MOUNTS {} - {total} {}, {dead} dead",
        state.as_str(),
        if total == 1 { "mount" } else { "mounts" }
    );
    line.push_str(&named(status, |health| Some(health.failure()?.reason.as_str().to_owned())));
    if missing > 0 {
        let paths = status.missing_mounts().map(|expected| one(&expected.expected.mountpoint)).collect();
        line.push_str(&format!(", {missing} missing{}", list(paths, missing)));
    }
    if slow > 0 {
        line.push_str(&format!(", {slow} slow"));
        line.push_str(&named(status, |health| (*health == Health::Slow).then(String::new)));
    }
    for (count, what) in [(denied, "cannot be checked"), (pending, "could not be judged")] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    line.push_str(&format!(" | total={total};;;0 dead={dead};;0;0;{total} slow={slow};0;;0;{total}"));
    for mount in &status.mounts {
        let Some(data) = performance(mount) else { continue };
        if line.len() + data.len() > MAX_LINE {
            break;
        }
        line.push_str(&data);
    }
    (state, line)
}

/// The line of a check that could not even begin, such as one with a wrong option.
#[must_use]
pub fn unknown(problem: &str) -> String {
    format!("MOUNTS UNKNOWN - {}", one_line(problem).replace('|', "\\174"))
}

/// `: /a (hung), /b (stale) and 3 more` for those that have a word.
fn named(status: &Status, word: impl Fn(&Health) -> Option<String>) -> String {
    let found: Vec<(&MountStatus, String)> =
        status.mounts.iter().filter_map(|mount| Some((mount, word(&mount.health)?))).collect();
    let name = |(status, word): &(&MountStatus, String)| {
        let latency = status
            .last_response
            .filter(|_| word.is_empty())
            .map(|answer| HumanDuration(answer.took).to_string());
        Some(format!("{} ({})", one(&status.mount.mountpoint)?, latency.as_ref().unwrap_or(word)))
    };
    list(found.iter().map(name).collect(), found.len())
}

/// The path as it is written here, unless it would take all the room.
fn one(path: &Path) -> Option<String> {
    Some(escape(path)).filter(|path| path.len() <= MAX_NAME)
}

/// The first of the names, and how many of `all` are not among them.
fn list(names: Vec<Option<String>>, all: usize) -> String {
    let names: Vec<String> = names.into_iter().flatten().take(MAX_NAMED).collect();
    match (names.len(), all - names.len()) {
        (0, _) => String::new(),
        (_, 0) => format!(": {}", names.join(", ")),
        (_, more) => format!(": {} and {more} more", names.join(", ")),
    }
}

/// ` '/mnt/x'=0.003s;1;3;0`, or `U` for a value that nobody knows. Hidden mounts have none.
fn performance(status: &MountStatus) -> Option<String> {
    let value = match (&status.health, status.last_response) {
        (Health::Hidden, _) => return None,
        (Health::Ok | Health::Slow, Some(answer)) => format!("{:.6}s", answer.took.as_secs_f64()),
        _ => "U".to_owned(),
    };
    // A label holds neither `=` nor a single quote; the guidelines double the quote.
    let label = escape(&status.mount.mountpoint).replace('=', "\\075").replace('\'', "''");
    let settings = status.settings;
    let (slow, hung) = (settings.slow_after.as_secs_f64(), settings.timeout.as_secs_f64());
    (label.len() <= MAX_NAME).then(|| format!(" '{label}'={value};{slow};{hung};0"))
}

/// The first `|` ends the text for whoever reads it, so none may stand in a name.
fn escape(path: &Path) -> String {
    escape_os(path).replace('|', "\\174")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::render::samples::{failure, mount, status, status_of};
    use platform::Errno;

    fn of(path: &str, health: Health) -> MountStatus {
        status_of(mount(path, "ext4", "/dev/sda1", "rw", "rw"), health)
    }

    fn hung() -> Health {
        Health::Dead(failure(Reason::Hung, None, 3.0))
    }

    fn lines(mounts: Vec<MountStatus>) -> (u8, String) {
        let (state, line) = line(&status(mounts));
        (state.exit_status(), line)
    }

    #[test]
    fn every_state() {
        let denied = Health::Denied(Errno::EACCES);
        for (mounts, exit, text) in [
            (
                vec![of("/", Health::Ok)],
                0,
                "MOUNTS OK - 1 mount, 0 dead | total=1;;;0 dead=0;;0;0;1 slow=0;0;;0;1 '/'=0.003000s;1;3;0",
            ),
            (
                vec![of("/", Health::Ok), of("/s", Health::Slow)],
                1,
                "MOUNTS WARNING - 2 mounts, 0 dead, 1 slow: /s (1.4s) | ",
            ),
            (
                vec![of("/", Health::Ok), of("/s", Health::Pending)],
                1,
                "MOUNTS WARNING - 2 mounts, 0 dead, 1 could not be judged | ",
            ),
            (
                vec![of("/", Health::Ok), of("/h", hung())],
                2,
                "MOUNTS CRITICAL - 2 mounts, 1 dead: /h (hung) | ",
            ),
            (
                vec![of("/", Health::Ok), of("/d", denied.clone())],
                0,
                "MOUNTS OK - 2 mounts, 0 dead, 1 cannot be checked | ",
            ),
            (vec![of("/d", denied)], 3, "MOUNTS UNKNOWN - 1 mount, 0 dead, 1 cannot be checked | "),
            (vec![], 3, "MOUNTS UNKNOWN - 0 mounts, 0 dead | "),
        ] {
            let (status, line) = lines(mounts);
            assert!(line.starts_with(text), "{line}");
            assert_eq!(status, exit, "{line}");
        }
    }

    #[test]
    fn odd_names_break_nothing() {
        let (_, line) = lines(vec![of("/a|b'c=d\ne", hung())]);
        let (text, data) = line.split_once('|').unwrap();
        assert!(text.contains(r"/a\174b'c=d\012e (hung)"), "{text}");
        assert!(data.contains(r" '/a\174b''c\075d\012e'=U;1;3;0"), "{data}");
        assert!(!data.contains('|') && !line.contains('\n'));
        assert_eq!(unknown("no | such\nthing"), r"MOUNTS UNKNOWN - no \174 such\012thing");
    }

    #[test]
    fn many_mounts_are_bounded() {
        let (_, line) = lines((0..1000).map(|n| of(&format!("/mnt/{n:0100}"), hung())).collect());
        assert!(line.len() <= MAX_LINE && line.len() > MAX_LINE - 200, "{}", line.len());
        assert!(line.contains(" and 990 more | "));
        let (_, line) = lines(vec![of(&format!("/{}", "x".repeat(4000)), hung())]);
        assert!(line.len() < 200, "{line}");
    }
}
