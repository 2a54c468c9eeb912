//! The answer of `check` for people: a table.

use super::StatusSummary;
use super::escape::escape_os;
use super::evidence::said;
use super::human_duration::HumanDuration;
use crate::monitor::{ExpectedStatus, Health, MountStatus, Reason, Status, Time};
use std::os::unix::ffi::OsStrExt as _;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a table may look.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Style {
    /// Columns of the terminal; none where it is no terminal, and then nothing is shortened.
    pub width: Option<usize>,
    /// Are colours wanted?
    pub colours: bool,
}

/// Columns between two cells.
const GAP: usize = 2;
/// Before what is known of a dead mount, below its row.
const KNOWN: &str = "    ";
/// What device and path share at least, however narrow the terminal is: below this nothing can be told apart.
const MIN_NAMES: usize = 24;

const COLUMNS: [&str; 6] = ["STATE", "LATENCY", "USE%", "TYPE", "DEVICE", "PATH"];
const RED: &str = "1;31";
const DEVICE: usize = 4;
const PATH: usize = 5;

/// The table and, after an empty line, its summary. Missing mounts come first, then dead ones, and hidden ones last;
/// those that are alike are in the order of their paths.
#[must_use]
pub fn table(status: &Status, now: Time, style: Style) -> String {
    let mut mounts: Vec<&MountStatus> = status.mounts.iter().collect();
    mounts.sort_by_key(|mount| (rank(&mount.health), mount.mount.mountpoint.as_os_str().as_bytes()));
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    let missing = status.missing();
    rows.extend(status.missing_mounts().map(missing_cells));
    rows.extend(mounts.iter().map(|mount| cells(mount, now)));
    let widths = widths(&rows, style.width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let colour = match index.checked_sub(1) {
            None => None,
            Some(row) if row < missing => Some(RED),
            Some(row) => colour(&mounts[row - missing].health),
        };
        let colour = colour.filter(|_| style.colours);
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let cell = fit(cell, widths[column]);
            let padding = " ".repeat(widths[column].saturating_sub(cell.width()));
            match (column, colour) {
                (0, Some(colour)) => line.push_str(&format!("\x1b[{colour}m{cell}\x1b[0m{padding}")),
                (1 | 2, _) => line.push_str(&format!("{padding}{cell}")),
                _ => line.push_str(&format!("{cell}{padding}")),
            }
            line.push_str(&" ".repeat(GAP));
        }
        text.push_str(line.trim_end());
        text.push('\n');
        let mount = index.checked_sub(1 + missing).map(|mount| mounts[mount]);
        let known = mount.and_then(|mount| mount.health.failure()).map(said);
        if let Some(known) = known.filter(|known| !known.is_empty()) {
            // What is known of a dead mount has a line of its own, which no column has room for.
            let room =
                style.width.map_or(usize::MAX, |width| width.saturating_sub(KNOWN.len()).max(MIN_NAMES));
            text.push_str(&format!("{KNOWN}{}\n", cut(&known, room)));
        }
    }
    text.push('\n');
    text.push_str(&StatusSummary::of(status).summary());
    text.push('\n');
    text
}

/// The more it needs a look, the lower.
const fn rank(health: &Health) -> u8 {
    match health {
        Health::Dead(_) => 0,
        Health::Slow => 1,
        Health::Denied(_) => 2,
        Health::Pending => 3,
        Health::Ok => 4,
        Health::Hidden => 5,
    }
}

/// The dead mount points, one in each line.
#[must_use]
pub fn bad_mounts(status: &Status) -> String {
    let dead = status.mounts.iter().filter(|mount| mount.health.failure().is_some());
    dead.map(|mount| format!("{}\n", escape_os(&mount.mount.mountpoint))).collect()
}

fn missing_cells(missing: &ExpectedStatus) -> [String; 6] {
    let unknown = || "-".to_owned();
    let path = escape_os(&missing.expected.mountpoint).into_owned();
    ["missing".to_owned(), unknown(), unknown(), unknown(), missing.expected.what.clone(), path]
}

fn cells(mount: &MountStatus, now: Time) -> [String; 6] {
    let latency = match (&mount.health, mount.last_response, mount.waiting_since) {
        (Health::Ok | Health::Slow, Some(answer), _) => HumanDuration(answer.took).to_string(),
        (Health::Dead(failure), _, None) if failure.reason == Reason::Hung => {
            format!(">{}", HumanDuration(failure.waited))
        }
        (Health::Dead(_) | Health::Pending, _, Some(since)) => {
            format!(">{}", HumanDuration(now.since(since)))
        }
        _ => "-".to_owned(),
    };
    let used = use_percent(mount).map_or("-".to_owned(), |percent| format!("{:.0}%", percent.ceil()));
    let fstype = escape_os(&mount.mount.fstype).into_owned();
    let device = escape_os(&mount.mount.device).into_owned();
    [state(&mount.health), latency, used, fstype, device, escape_os(&mount.mount.mountpoint).into_owned()]
}

pub(super) fn state(health: &Health) -> String {
    match health {
        Health::Dead(failure) if failure.reason != Reason::Hung => match failure.errno {
            Some(errno) => format!("failed {errno}"),
            None => format!("failed {}", failure.reason.as_str()),
        },
        Health::Denied(errno) => format!("denied {errno}"),
        Health::Pending | Health::Ok | Health::Slow | Health::Dead(_) | Health::Hidden => {
            health.as_str().to_owned()
        }
    }
}

/// As `df` shows it; only of a mount that answers, for nobody knows it of another.
pub(super) fn use_percent(mount: &MountStatus) -> Option<f64> {
    match mount.health {
        Health::Ok | Health::Slow => mount.last_response?.usage?.percent(),
        Health::Pending | Health::Dead(_) | Health::Denied(_) | Health::Hidden => None,
    }
}

const fn colour(health: &Health) -> Option<&'static str> {
    match health {
        Health::Dead(_) => Some(RED),
        Health::Slow | Health::Denied(_) | Health::Pending => Some("33"),
        Health::Ok => Some("32"),
        Health::Hidden => None,
    }
}

fn widths(rows: &[[String; 6]], terminal: Option<usize>) -> [usize; 6] {
    let mut widths = [0; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    let Some(terminal) = terminal else { return widths };
    let others: usize = widths[..DEVICE].iter().sum::<usize>() + GAP * PATH;
    let room = terminal.saturating_sub(others).max(MIN_NAMES);
    let (device, path) = (widths[DEVICE], widths[PATH]);
    if device + path > room {
        // The path is what people look for: it gets most of the room.
        widths[PATH] = path.min(room.saturating_sub(device).max(room * 3 / 5));
        widths[DEVICE] = room - widths[PATH];
    }
    widths
}

/// The text in at most this many columns: its start and its end, with `…` between.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let take = |characters: &mut dyn Iterator<Item = char>, mut room: usize| -> Vec<char> {
        characters
            .take_while(|c| {
                let fits = c.width().unwrap_or(0) <= room;
                room = room.saturating_sub(c.width().unwrap_or(0));
                fits
            })
            .collect()
    };
    let room = columns.saturating_sub(1);
    let mut short: String = take(&mut text.chars(), room / 2).into_iter().collect();
    short.push('…');
    short.extend(take(&mut text.chars().rev(), room - room / 2).into_iter().rev());
    short
}

/// The start of a text, in at most this many columns.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut room = columns.saturating_sub(1);
    for c in text.chars() {
        let Some(left) = room.checked_sub(c.width().unwrap_or(0)) else { break };
        room = left;
        short.push(c);
    }
    short + "…"
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::render::evidence::tests::{of_nfs, with};
    use crate::render::samples::{at, failure, mount, status, status_of};
    use platform::Errno;
    use platform::evidence::ServerResponse;

    pub(in crate::render) fn sample() -> Status {
        let ext4 = |path: &str| mount(path, "ext4", "/dev/sda1", "rw", "rw");
        let nfs = |path: &str| mount(path, "nfs4", "server:/export", "rw", "rw");
        let why = with(failure(Reason::Hung, None, 3.0), of_nfs(ServerResponse::Refused));
        let mut hung = status_of(nfs("/mnt/hung"), Health::Dead(why));
        hung.waiting_since = Some(at(8.0));
        status(vec![
            status_of(ext4("/"), Health::Ok),
            hung,
            status_of(ext4("/mnt/日本"), Health::Slow),
            status_of(nfs("/s"), Health::Dead(failure(Reason::Stale, Some(Errno::ESTALE), 0.0))),
            status_of(nfs("/d"), Health::Denied(Errno::EACCES)),
            status_of(ext4("/h"), Health::Hidden),
            status_of(ext4("/p"), Health::Pending),
        ])
    }

    #[test]
    fn a_table() {
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

Checked 6 mounts; 2 are dead; 1 slow; 1 cannot be checked; 1 could not be judged; 1 hidden under other mounts
";
        assert_eq!(table(&sample(), at(12.0), Style::default()), expected);
    }

    #[test]
    fn what_is_known_fits_into_a_narrow_terminal() {
        for width in [40, 60, 80] {
            let table = table(&sample(), at(12.0), Style { width: Some(width), colours: false });
            let known = table.lines().nth(2).unwrap();
            assert!(
                known.width() <= width && known.starts_with("    NFS server") && known.ends_with('…'),
                "{known}"
            );
        }
    }

    #[test]
    fn mounts_that_are_alike_are_in_the_order_of_their_paths() {
        let dead = || Health::Dead(failure(Reason::Hung, None, 3.0));
        let mounts =
            [("/b", Health::Ok), ("/z", dead()), ("/", Health::Ok), ("/a", Health::Ok), ("/c", dead())]
                .map(|(path, health)| status_of(mount(path, "ext4", "d", "rw", "rw"), health));
        let table = table(&status(mounts.into()), at(12.0), Style::default());
        let paths: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split(' ').next_back()).collect();
        assert_eq!(paths[..5], ["/c", "/z", "/", "/a", "/b"]);
    }

    #[test]
    fn bad_mounts_are_paths_in_lines() {
        assert_eq!(bad_mounts(&sample()), "/mnt/hung\n/s\n");
        let odd = status_of(
            mount("/a b\n", "nfs", "s:/", "rw", "rw"),
            Health::Dead(failure(Reason::Hung, None, 3.0)),
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
}
