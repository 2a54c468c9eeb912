//! Which runs have a line in a log.

use crate::monitor::Event;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Without changes, a line says after this time that the daemon runs.
const UNCHANGED_FOR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RunReports {
    #[default]
    Always,
    /// When the numbers are others than in the last line, and once an hour.
    Changed,
    Off,
}

impl FromStr for RunReports {
    type Err = String;
    fn from_str(word: &str) -> Result<RunReports, String> {
        match word {
            "always" => Ok(RunReports::Always),
            "changed" => Ok(RunReports::Changed),
            "off" => Ok(RunReports::Off),
            _ => Err("use always, changed or off".to_owned()),
        }
    }
}

/// Those of one log. Pure.
#[derive(Default, Debug)]
pub(super) struct RunLines {
    pub(super) reports: RunReports,
    last: Option<(Numbers, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Numbers {
    mounts: usize,
    /// Dead mounts, and those that could not be judged.
    bad: [usize; 2],
}

impl RunLines {
    /// Whether this event has a line; all do that are not runs. While mounts come and go all day, `take_line` limits
    /// the lines in which only their number is another one.
    pub(super) fn admit(&mut self, now: Instant, event: &Event, take_line: impl FnOnce() -> bool) -> bool {
        let Event::Run { mounts, dead, unjudged, took: _ } = *event else { return true };
        let numbers = Numbers { mounts, bad: [dead, unjudged] };
        let is_admitted = match (self.reports, self.last) {
            (RunReports::Always, _) | (RunReports::Changed, None) => true,
            (RunReports::Off, _) => false,
            (RunReports::Changed, Some((last, at))) => {
                last.bad != numbers.bad
                    || now.saturating_duration_since(at) >= UNCHANGED_FOR
                    || (last.mounts != mounts && take_line())
            }
        };
        if is_admitted {
            self.last = Some((numbers, now));
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mounts: usize, dead: usize) -> Event {
        Event::Run { mounts, dead, unjudged: 0, took: Duration::ZERO }
    }

    fn admitted(lines: &mut RunLines, now: Instant, event: &Event) -> bool {
        lines.admit(now, event, || true)
    }

    #[test]
    fn a_quiet_week_has_a_line_an_hour() {
        let (mut lines, mut now) = (RunLines { reports: RunReports::Changed, last: None }, Instant::now());
        let mut written = 0;
        for _ in 0..7 * 24 * 60 {
            written += usize::from(admitted(&mut lines, now, &run(40, 0)));
            now += Duration::from_secs(60);
        }
        assert_eq!(written, 7 * 24);
    }

    #[test]
    fn other_numbers_have_a_line() {
        let (mut lines, now) = (RunLines { reports: RunReports::Changed, last: None }, Instant::now());
        let numbers = [(5, 0, true), (5, 0, false), (5, 1, true), (5, 1, false), (6, 1, true), (6, 0, true)];
        for (mounts, dead, expected) in numbers {
            assert_eq!(admitted(&mut lines, now, &run(mounts, dead)), expected, "{mounts} {dead}");
        }
        assert!(!lines.admit(now, &run(7, 0), || false), "too many such lines");
        assert!(lines.admit(now, &run(7, 2), || false), "but not of dead mounts");
    }

    #[test]
    fn all_or_none_have_a_line() {
        let now = Instant::now();
        let mut always = RunLines::default();
        assert!((0..3).all(|_| admitted(&mut always, now, &run(1, 0))));
        let mut off = RunLines { reports: RunReports::Off, last: None };
        assert!(!admitted(&mut off, now, &run(1, 1)));
        let mount = std::sync::Arc::new(crate::monitor::testing::mount(1, "/m"));
        assert!(admitted(&mut off, now, &Event::Mounted { mount }));
    }
}
