//! The output of `check --nagios`: one line with performance data, following the Monitoring Plugins guidelines.

mod range;

pub use range::Range;

use super::escape::{escape_os, one_line};
use super::status_summary::mounts;
use super::{HumanDuration, StatusSummary};
use crate::monitor::{Health, MountStatus, Severity, Status, Time};
use std::path::Path;
use std::time::Duration;

/// Maximum output size in bytes, without the line end: a plugin's reader may stop after 4 KiB.
const MAX_LINE: usize = 4095;
/// Maximum number of mounts named in a list of the text; the others are counted, because the text is sent to phones.
const MAX_NAMED: usize = 10;
/// Maximum length of a name in bytes; a mount with a longer name is counted, because the name would displace all
/// others.
const MAX_NAME: usize = 256;
/// Maximum number of bytes of all names in the text; the numbers follow it.
const MAX_NAMES: usize = 2048;

/// What the caller of the plugin wants to know.
#[derive(Clone, Default, Debug)]
pub struct PluginRequest {
    /// A mount that may not be checked makes the result unknown. Else the other mounts determine it.
    pub denied_is_unknown: bool,
    /// Limits of the latencies.
    pub thresholds: Thresholds,
}

/// The ranges of latencies that are alerts. A mount that is dead is critical in any case.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Thresholds {
    /// Replaces the limit above which a mount is slow.
    pub warning: Option<Range>,
    /// None: no latency is critical.
    pub critical: Option<Range>,
}

impl Thresholds {
    /// The state that the latency of a mount means.
    fn state_of(&self, mount: &MountStatus) -> State {
        let (Health::Ok | Health::Slow, Some(response)) = (&mount.health, mount.last_response) else {
            return State::Ok;
        };
        let alerts = |range: &Option<Range>| {
            range.as_ref().is_some_and(|range| range.alerts(response.took.as_secs_f64()))
        };
        match (alerts(&self.critical), alerts(&self.warning)) {
            (true, _) => State::Critical,
            (_, true) => State::Warning,
            _ => State::Ok,
        }
    }
}

/// A plugin's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No problem.
    Ok,
    /// Some mounts are slow, or dead or missing with this severity.
    Warning,
    /// Some mounts are dead or missing.
    Critical,
    /// Some mounts could not be judged, or none can be checked.
    Unknown,
}

impl State {
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
pub fn line(status: &Status, now: Time, request: &PluginRequest) -> (State, String) {
    let thresholds = &request.thresholds;
    let summary = StatusSummary::of(status);
    let with_latency =
        |state| status.mounts.iter().filter(|mount| thresholds.state_of(mount) == state).count();
    let (critical, warning) = (with_latency(State::Critical), with_latency(State::Warning));
    let StatusSummary { total, dead, slow, denied, missing, .. } = summary;
    let is_unknown = summary.ok + slow + dead + missing == 0
        || summary.unjudged() > 0
        || request.denied_is_unknown && denied > 0;
    let severity = StatusSummary::failure_severity(status);
    let state = if severity == Some(Severity::Critical) || critical > 0 {
        State::Critical
    } else if is_unknown {
        State::Unknown
    } else if severity == Some(Severity::Warning) || warning > 0 || slow > 0 && thresholds.warning.is_none() {
        State::Warning
    } else {
        State::Ok
    };
    let age = status.age_at(now).map(|age| format!(" checked {} ago", HumanDuration::in_seconds(age)));
    let mut text = Text {
        text: format!("MOUNTS {} - {}{}", state.as_str(), mounts(total), age.unwrap_or_default()),
        names_left: MAX_NAMES,
    };
    let reason = |mount: &MountStatus| Some(mount.health.failure()?.reason.as_str().to_owned());
    text.push(dead, "dead", named(status, reason));
    let missing_paths = status.missing_mounts().map(|mount| escape(&mount.expected.mountpoint));
    text.push_some(missing, "missing", missing_paths);
    let latency = |mount: &MountStatus| {
        mount.last_response.map_or_else(String::new, |last| HumanDuration(last.took).to_string())
    };
    for (count, what, state) in
        [(critical, "critical by latency", State::Critical), (warning, "warning by latency", State::Warning)]
    {
        let is_one = |mount: &MountStatus| (thresholds.state_of(mount) == state).then(|| latency(mount));
        text.push_some(count, what, named(status, is_one));
    }
    let if_slow = |mount: &MountStatus| (mount.health == Health::Slow).then(|| latency(mount));
    text.push_some(slow, "slow", named(status, if_slow));
    let errno = |mount: &MountStatus| match &mount.health {
        Health::Denied(errno) if request.denied_is_unknown => Some(errno.to_string()),
        _ => None,
    };
    text.push_some(denied, "cannot be checked", named(status, errno));
    let state_of = |mount: &MountStatus| match &mount.health {
        Health::Pending => Some("pending".to_owned()),
        Health::Unknown { .. } => {
            Some(format!("unknown for {}", HumanDuration::in_seconds(now.since(mount.since))))
        }
        _ => None,
    };
    text.push_some(summary.unjudged(), "could not be judged", named(status, state_of));
    (state, with_performance_data(text.text, status, &summary, thresholds))
}

fn with_performance_data(
    mut line: String,
    status: &Status,
    summary: &StatusSummary,
    thresholds: &Thresholds,
) -> String {
    let StatusSummary { total, dead, slow, .. } = summary;
    let slow_limit = if thresholds.warning.is_none() { "0" } else { "" };
    line += &format!(" | total={total};;;0 dead={dead};;0;0;{total} slow={slow};{slow_limit};;0;{total}");
    for data in status.mounts.iter().filter_map(|mount| performance_data(mount, thresholds)) {
        if line.len() + data.len() > MAX_LINE {
            break;
        }
        line += &data;
    }
    line
}

/// The line of a check that could not run, for example because of an invalid option.
#[must_use]
pub fn unknown(problem: &str) -> String {
    let mut line = format!("MOUNTS UNKNOWN - {}", one_line(problem).replace('|', "\\174"));
    let fits = |end: &usize| line.is_char_boundary(*end);
    line.truncate((0..=MAX_LINE.min(line.len())).rfind(fits).unwrap_or(0));
    line
}

/// What is before the numbers.
struct Text {
    text: String,
    /// How many bytes of names still fit.
    names_left: usize,
}

impl Text {
    fn push_some(&mut self, count: usize, what: &str, items: impl Iterator<Item = String>) {
        if count > 0 {
            self.push(count, what, items);
        }
    }

    /// `, 5 dead: /a (hung), /b (stale) and 3 more`: those items that are not too long, and how many others.
    fn push(&mut self, count: usize, what: &str, items: impl Iterator<Item = String>) {
        self.text += &format!(", {count} {what}");
        let (mut named, mut more) = (0, 0);
        for item in items {
            if named < MAX_NAMED && item.len() <= MAX_NAME.min(self.names_left) {
                self.names_left -= item.len();
                self.text += if named == 0 { ": " } else { ", " };
                self.text += &item;
                named += 1;
            } else {
                more += 1;
            }
        }
        if named > 0 && more > 0 {
            self.text += &format!(" and {more} more");
        }
    }
}

/// `/a (hung)`: the mounts for which `detail` returns some.
fn named(status: &Status, detail: impl Fn(&MountStatus) -> Option<String>) -> impl Iterator<Item = String> {
    status.mounts.iter().filter_map(move |mount| {
        let detail = detail(mount)?;
        Some(format!("{} ({detail})", escape(&mount.mount.mountpoint)))
    })
}

/// ` '/mnt/x'=0.003s;1;3;0`, with `U` for an unknown value. Hidden mounts have none.
fn performance_data(status: &MountStatus, thresholds: &Thresholds) -> Option<String> {
    let value = match (&status.health, status.last_response) {
        (Health::Hidden, _) => return None,
        (Health::Ok | Health::Slow, Some(response)) => format!("{:.6}s", response.took.as_secs_f64()),
        _ => "U".to_owned(),
    };
    // The guidelines forbid `=` in a label and double its quotes.
    let label = escape(&status.mount.mountpoint).replace('=', "\\075").replace('\'', "''");
    let settings = &status.settings;
    let limit = |range: &Option<Range>, default: Duration| {
        range.as_ref().map_or_else(|| default.as_secs_f64().to_string(), Range::to_string)
    };
    let warning = limit(&thresholds.warning, settings.slow_after);
    let critical = limit(&thresholds.critical, settings.timeout);
    (label.len() <= MAX_NAME).then(|| format!(" '{label}'={value};{warning};{critical};0"))
}

/// Replaces `|`, because the first one in the output ends the text.
fn escape(path: &Path) -> String {
    escape_os(path).replace('|', "\\174")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::monitor::{MountSettings, ProbeSettings};
    use crate::render::samples::{at, failure, mount, status, status_of};
    use platform::Errno;
    use std::sync::Arc;

    fn mount_of(path: &str, health: Health) -> MountStatus {
        status_of(mount(path, "ext4", "/dev/sda1", "rw", "rw"), health)
    }

    fn hung() -> Health {
        Health::Dead(failure(Reason::Hung, None, 3.0).into())
    }

    fn lines(mounts: Vec<MountStatus>) -> (u8, String) {
        lines_for(mounts, &PluginRequest::default())
    }

    fn lines_for(mounts: Vec<MountStatus>, request: &PluginRequest) -> (u8, String) {
        let (state, line) = line(&status(mounts), at(10.0), request);
        (state.exit_status(), line)
    }

    #[test]
    fn named_mount_must_be_judged() {
        let denied = || mount_of("/d", Health::Denied(Errno::EACCES));
        let named = PluginRequest { denied_is_unknown: true, ..PluginRequest::default() };
        let (status, line) = lines_for(vec![mount_of("/", Health::Ok), denied()], &named);
        let text = "MOUNTS UNKNOWN - 2 mounts, 0 dead, 1 cannot be checked: /d (EACCES) | ";
        assert!(status == 3 && line.starts_with(text), "{line}");
        let (status, _) = lines_for(vec![mount_of("/h", hung()), denied()], &named);
        assert_eq!(status, 2);
    }

    #[test]
    fn the_severity_of_a_rule_limits_the_state() {
        let dead = |path: &str, severity| {
            let probe = ProbeSettings { severity, ..ProbeSettings::default() };
            let settings = Arc::new(MountSettings { probe, ..MountSettings::default() });
            MountStatus { settings, ..mount_of(path, hung()) }
        };
        let (warning, info) = (dead("/w", Severity::Warning), dead("/i", Severity::Info));
        for (mounts, expected) in [
            (vec![warning.clone()], 1),
            (vec![info.clone()], 0),
            (vec![info.clone(), warning.clone()], 1),
            (vec![info, warning.clone(), dead("/c", Severity::Critical)], 2),
            (vec![warning, mount_of("/p", Health::Pending)], 3),
        ] {
            let (status, line) = lines(mounts);
            assert_eq!(status, expected, "{line}");
            assert!(line.contains(" dead: /"), "each is named: {line}");
        }
    }

    #[test]
    fn ranges_apply_to_the_latency_of_each_mount() {
        // Healthy mounts of these tests respond in 3 ms, slow ones in 1.4 s.
        let all = || vec![mount_of("/", Health::Ok), mount_of("/s", Health::Slow)];
        for (warning, critical, expected, text) in [
            (None, None, 1, "WARNING - 2 mounts, 0 dead, 1 slow: /s (1.4s) | "),
            (Some("5"), None, 0, "OK - 2 mounts, 0 dead, 1 slow: /s (1.4s) | "),
            (
                Some("1"),
                None,
                1,
                "WARNING - 2 mounts, 0 dead, 1 warning by latency: /s (1.4s), 1 slow: /s (1.4s) | ",
            ),
            (
                None,
                Some("@0:0.01"),
                2,
                "CRITICAL - 2 mounts, 0 dead, 1 critical by latency: / (3ms), 1 slow: ",
            ),
            (
                Some("0.001"),
                Some("1"),
                2,
                "CRITICAL - 2 mounts, 0 dead, 1 critical by latency: /s (1.4s), 1 warning by latency: / (3ms)",
            ),
            (None, Some("5"), 1, "WARNING - 2 mounts"),
        ] {
            let parse = |range: Option<&str>| range.map(|range| range.parse().unwrap());
            let thresholds = Thresholds { warning: parse(warning), critical: parse(critical) };
            let request = PluginRequest { denied_is_unknown: false, thresholds };
            let (status, line) = lines_for(all(), &request);
            assert!(line.starts_with(&format!("MOUNTS {text}")), "{line}");
            assert_eq!(status, expected, "{line}");
            let limits = format!("'/'=0.003000s;{};{};0", warning.unwrap_or("1"), critical.unwrap_or("3"));
            assert!(line.contains(&limits), "{line}");
            assert_eq!(line.contains(" slow=1;0;"), warning.is_none(), "{line}");
            // Dead is critical whatever they say.
            let (status, _) = lines_for(vec![mount_of("/h", hung())], &request);
            assert_eq!(status, 2);
        }
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
        // Every list, with the longest names that are shown.
        let long = |n: usize, health: Health| mount_of(&format!("/{n:0200}"), health);
        let mounts = (0..10).flat_map(|n| [long(n, hung()), long(n, Health::Slow), long(n, Health::Pending)]);
        let (_, line) = lines(mounts.collect());
        assert!(line.len() <= MAX_LINE && line.contains(" and ") && line.contains(" slow=10;"), "{line}");
        assert!(unknown(&"é".repeat(9000)).len() <= MAX_LINE);
    }
}
