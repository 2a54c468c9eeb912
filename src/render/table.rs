//! The table of `check` and `status`.

use super::escape::escape_os;
use super::evidence::evidence_summary;
use super::rows;
use super::status_summary::{are_dead, mounts};
use super::{HumanDuration, Snapshot, StatusSummary, remedy_state};
use crate::monitor::remedy::RemedyOverview;
use crate::monitor::{ExpectedStatus, Health, MountStatus, Status, Time};
use std::time::Duration;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The style of a table.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Style {
    /// Columns of the terminal; `None` disables shortening.
    pub width: Option<usize>,
    /// Whether states are coloured.
    pub colours: bool,
}

/// Columns between two cells.
const GAP: usize = 2;
/// Precedes the evidence and the remedy of a dead mount, each on a line of its own below the row.
const INDENT: &str = "    ";
/// Minimum number of columns that device and path share, however narrow the terminal is: shorter names are
/// indistinguishable.
const MIN_NAMES: usize = 24;
/// Maximum number of columns for the types, and for the devices if names are not shortened: a user can choose names of
/// thousands of bytes, and must not widen all rows. Longer names stand out to the right.
const MAX_TYPE: usize = 32;
const MAX_DEVICE: usize = 64;

const HEADER: [&str; 6] = ["STATE", "LATENCY", "USE%", "TYPE", "DEVICE", "PATH"];
const LATENCY: usize = 1;
const USE: usize = 2;
const TYPE: usize = 3;
const DEVICE: usize = 4;
const PATH: usize = 5;

const RED: &str = "1;31";
const YELLOW: &str = "33";
const GREEN: &str = "32";

struct Row {
    cells: [String; 6],
    colour: Option<&'static str>,
    below: Vec<String>,
}

/// The table and its summary: missing mounts, dead ones, and so on by `rows::health_rank` and path.
#[must_use]
pub fn table(status: &Status, now: Time, style: Style) -> String {
    with_remedies(status, &RemedyOverview::default(), now, style)
}

/// The same, with the remedies of dead mounts, and how many there were.
#[must_use]
pub fn of_daemon(snapshot: &Snapshot, style: Style) -> String {
    let table = with_remedies(&snapshot.status, &snapshot.remedies, snapshot.at, style);
    match remedy_state::totals(snapshot) {
        None => table,
        Some(totals) => format!("{}; {totals}\n", table.trim_end()),
    }
}

fn with_remedies(status: &Status, remedies: &RemedyOverview, now: Time, style: Style) -> String {
    let mut sorted: Vec<&MountStatus> = status.mounts.iter().collect();
    rows::sort(&mut sorted);
    let header = Row { cells: HEADER.map(str::to_owned), colour: None, below: Vec::new() };
    let rows: Vec<Row> = std::iter::once(header)
        .chain(status.missing_mounts().map(missing_row))
        .chain(sorted.into_iter().map(|mount| row(mount, remedies, now)))
        .collect();
    let widths = widths(&rows, style.width);
    let width = style.width.map_or(usize::MAX, |width| width.saturating_sub(INDENT.len()).max(MIN_NAMES));
    let mut text = String::new();
    for row in &rows {
        text.push_str(line(row, widths, style).trim_end());
        text.push('\n');
        for below in &row.below {
            text.push_str(&format!("{INDENT}{}\n", truncate(below, width)));
        }
    }
    text.push_str(&format!("\n{}\n", summary(&StatusSummary::of(status), status.age_at(now))));
    text
}

/// `Checked 5 mounts 23s ago; 1 is dead; 1 slow; 2 cannot be checked`
fn summary(summary: &StatusSummary, age: Option<Duration>) -> String {
    let age = age.map(|age| format!(" {} ago", HumanDuration::in_seconds(age))).unwrap_or_default();
    format!("Checked {}{age}; {}{}", mounts(summary.total), are_dead(summary.dead), summary.other_counts())
}

/// The dead mount points, one per line.
#[must_use]
pub fn bad_mounts(status: &Status) -> String {
    let dead = status.mounts.iter().filter(|mount| mount.health.failure().is_some());
    dead.map(|mount| format!("{}\n", escape_os(&mount.mount.mountpoint))).collect()
}

fn missing_row(missing: &ExpectedStatus) -> Row {
    let unknown = || "-".to_owned();
    let path = escape_os(&missing.expected.mountpoint).into_owned();
    let cells = ["missing".to_owned(), unknown(), unknown(), unknown(), missing.expected.what.clone(), path];
    Row { cells, colour: Some(RED), below: Vec::new() }
}

fn row(status: &MountStatus, remedies: &RemedyOverview, now: Time) -> Row {
    let unknown = || "-".to_owned();
    let percent = rows::use_percent(status).map(|percent| format!("{:.0}%", percent.ceil()));
    let [fstype, device, path] = [
        status.mount.fstype.as_os_str(),
        status.mount.device.as_os_str(),
        status.mount.mountpoint.as_os_str(),
    ]
    .map(|name| escape_os(name).into_owned());
    let state = rows::state_at(status, now);
    let latency = rows::latency(status, now).unwrap_or_else(unknown);
    let evidence = status.health.failure().map(evidence_summary);
    let remedy = remedy_state::of_mount(remedies, status).map(|remedy| remedy_state::words_at(remedy, now));
    Row {
        cells: [state, latency, percent.unwrap_or_else(unknown), fstype, device, path],
        colour: colour(&status.health),
        below: evidence.filter(|text| !text.is_empty()).into_iter().chain(remedy).collect(),
    }
}

const fn colour(health: &Health) -> Option<&'static str> {
    match health {
        Health::Dead(_) => Some(RED),
        Health::Slow | Health::Denied(_) | Health::Pending | Health::Unknown { .. } => Some(YELLOW),
        Health::Ok => Some(GREEN),
        Health::Hidden => None,
    }
}

fn line(row: &Row, widths: [usize; 6], style: Style) -> String {
    let mut line = String::new();
    for (column, cell) in row.cells.iter().enumerate() {
        let cell = if style.width.is_some() { fit(cell, widths[column]) } else { cell.clone() };
        let padding = " ".repeat(widths[column].saturating_sub(cell.width()) + GAP);
        match (column, row.colour.filter(|_| style.colours)) {
            (0, Some(colour)) => line.push_str(&format!("\x1b[{colour}m{cell}\x1b[0m{padding}")),
            (LATENCY | USE, _) => line.push_str(&format!("{}{cell}{}", &padding[GAP..], &padding[..GAP])),
            _ => line.push_str(&format!("{cell}{padding}")),
        }
    }
    line
}

fn widths(rows: &[Row], terminal: Option<usize>) -> [usize; 6] {
    let mut widths = [0; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = cell.width().max(*width);
        }
    }
    widths[TYPE] = widths[TYPE].min(MAX_TYPE);
    let Some(terminal) = terminal else {
        widths[DEVICE] = widths[DEVICE].min(MAX_DEVICE);
        return widths;
    };
    let others: usize = widths[..DEVICE].iter().sum::<usize>() + GAP * PATH;
    let available = terminal.saturating_sub(others).max(MIN_NAMES);
    let (device, path) = (widths[DEVICE], widths[PATH]);
    if device + path > available {
        // The path identifies the mount: it gets at least three fifths.
        widths[PATH] = path.min(available.saturating_sub(device).max(available * 3 / 5));
        widths[DEVICE] = available - widths[PATH];
    }
    widths
}

/// The text in at most this many columns: its start and its end, with `…` between.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let available = columns.saturating_sub(1);
    let end: Vec<char> = fitting(text.chars().rev(), available - available / 2);
    fitting(text.chars(), available / 2).into_iter().chain(['…']).chain(end.into_iter().rev()).collect()
}

/// The start of the text in at most this many columns, with `…` behind it.
fn truncate(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    fitting(text.chars(), columns.saturating_sub(1)).into_iter().chain(['…']).collect()
}

/// The first characters, in at most this many columns.
fn fitting(characters: impl Iterator<Item = char>, mut columns: usize) -> Vec<char> {
    let fits = |c: &char| {
        let rest = columns.checked_sub(c.width().unwrap_or(0));
        columns = rest.unwrap_or(0);
        rest.is_some()
    };
    characters.take_while(fits).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::monitor::Reason;
    use crate::render::evidence::tests::{of_nfs, with};
    use crate::render::remedy_messages::tests::refused;
    use crate::render::remedy_state::tests::dead_with;
    use crate::render::samples::{at, failure, mount, status, status_of};
    use platform::Errno;
    use platform::evidence::ServerResponse;

    pub(in crate::render) fn sample() -> Status {
        let ext4 = |path: &str| mount(path, "ext4", "/dev/sda1", "rw", "rw");
        let nfs = |path: &str| mount(path, "nfs4", "server:/export", "rw", "rw");
        let why = with(failure(Reason::Hung, None, 3.0), of_nfs(ServerResponse::Refused));
        let mut hung = status_of(nfs("/mnt/hung"), Health::Dead(why.into()));
        hung.waiting_since = Some(at(8.0));
        status(vec![
            status_of(ext4("/"), Health::Ok),
            hung,
            status_of(ext4("/mnt/日本"), Health::Slow),
            status_of(nfs("/s"), Health::Dead(failure(Reason::Stale, Some(Errno::ESTALE), 0.0).into())),
            status_of(nfs("/d"), Health::Denied(Errno::EACCES)),
            status_of(ext4("/h"), Health::Hidden),
            status_of(ext4("/p"), Health::Pending),
        ])
    }

    #[test]
    fn table_is_sorted_and_aligned() {
        let expected = "\
STATE          LATENCY  USE%  TYPE  DEVICE          PATH
hung               >4s     -  nfs4  server:/export  /mnt/hung
    NFS server 10.0.0.5:2049 refuses connections; 14 tasks blocked: bash[311], t1\\012[312], t2\\012[313] and others
failed ESTALE        -     -  nfs4  server:/export  /s
slow              1.4s   50%  ext4  /dev/sda1       /mnt/日本
denied EACCES        -     -  nfs4  server:/export  /d
pending              -     -  ext4  /dev/sda1       /p
ok                 3ms   50%  ext4  /dev/sda1       /
hidden               -     -  ext4  /dev/sda1       /h

Checked 6 mounts 2s ago; 2 are dead; 1 slow; 1 cannot be checked; 1 could not be judged; 1 hidden under other mounts
";
        assert_eq!(table(&sample(), at(12.0), Style::default()), expected);
    }

    #[test]
    fn the_remedy_of_a_dead_mount_is_below_it() {
        let snapshot = dead_with(Some(refused(false)), false);
        let lines = of_daemon(&snapshot, Style::default());
        let below = lines.lines().nth(2).unwrap();
        assert!(below.starts_with("    remedy refused: stacked: loop0 is on it; "), "{lines}");
        let summary = "; 1 is dead; remedies: 3 planned; 2 failed; 1 given up; 1 refused\n";
        assert!(lines.ends_with(summary), "{lines}");
        let narrow = of_daemon(&snapshot, Style { width: Some(60), colours: false });
        assert!(narrow.lines().nth(2).unwrap().width() <= 60, "{narrow}");
    }

    #[test]
    fn evidence_is_truncated_in_a_narrow_terminal() {
        for width in [40, 60, 80] {
            let table = table(&sample(), at(12.0), Style { width: Some(width), colours: false });
            let evidence = table.lines().nth(2).unwrap();
            assert!(
                evidence.width() <= width
                    && evidence.starts_with("    NFS server")
                    && evidence.ends_with('…'),
                "{evidence}"
            );
        }
    }

    #[test]
    fn mounts_of_the_same_health_are_sorted_by_path() {
        let dead = || Health::Dead(failure(Reason::Hung, None, 3.0).into());
        let mounts =
            [("/b", Health::Ok), ("/z", dead()), ("/", Health::Ok), ("/a", Health::Ok), ("/c", dead())]
                .map(|(path, health)| status_of(mount(path, "ext4", "d", "rw", "rw"), health));
        let table = table(&status(mounts.into()), at(12.0), Style::default());
        let paths: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split(' ').next_back()).collect();
        assert_eq!(paths[..5], ["/c", "/z", "/", "/a", "/b"]);
    }

    #[test]
    fn bad_mounts_are_one_path_per_line() {
        assert_eq!(bad_mounts(&sample()), "/mnt/hung\n/s\n");
        let odd = status_of(
            mount("/a b\n", "nfs", "s:/", "rw", "rw"),
            Health::Dead(failure(Reason::Hung, None, 3.0).into()),
        );
        assert_eq!(bad_mounts(&status(vec![odd])), "/a b\\012\n");
    }

    #[test]
    fn colours_do_not_shift_columns() {
        let coloured = table(&sample(), at(12.0), Style { width: None, colours: true });
        let mut plain = coloured.clone();
        for code in ["\x1b[1;31m", "\x1b[33m", "\x1b[32m", "\x1b[0m"] {
            assert!(plain.contains(code));
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, table(&sample(), at(12.0), Style::default()));
    }

    #[test]
    fn a_narrow_terminal_shortens_names() {
        let long =
            mount(&format!("/mnt/{}/日本/end", "x".repeat(100)), "ext4", "/dev/mapper/long-name", "rw", "rw");
        let status = status(vec![status_of(long, Health::Ok)]);
        for width in [40, 60, 80, 81, 120] {
            let table = table(&status, at(12.0), Style { width: Some(width), colours: false });
            let row = table.lines().nth(1).unwrap();
            assert!(row.width() <= width.max(54), "{width}: {row}");
            assert!(row.starts_with("ok") && row.contains('…') && row.ends_with("end"), "{row}");
        }
    }

    #[test]
    fn one_long_type_or_device_does_not_widen_the_other_rows() {
        let long = "x".repeat(4_000);
        let odd = mount("/odd", &format!("fuse.{long}"), &long, "rw", "rw");
        let usual = mount("/mnt", "ext4", "/dev/sda1", "rw", "rw");
        let status = status(vec![status_of(odd, Health::Ok), status_of(usual, Health::Ok)]);
        for width in [None, Some(80)] {
            let table = table(&status, at(12.0), Style { width, colours: false });
            let rows: Vec<&str> = table.lines().collect();
            assert!(rows[1].ends_with("/mnt") && rows[1].width() < 140, "{}", rows[1]);
            assert!(rows[2].ends_with("/odd") && rows[2].contains(&long) == width.is_none(), "{}", rows[2]);
        }
    }
}
