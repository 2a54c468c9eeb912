//! The answer of `check`: a table for people, a document for programs.

use super::Verdict;
use super::duration::Span;
use super::escape::escape_os;
use super::json::{name, seconds};
use super::stamp::rfc3339;
use crate::monitor::{Health, MountStatus, Reason, Status, Time};
use serde::Serialize;
use std::time::SystemTime;
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
/// What device and path share at least, however narrow the terminal is: below this nothing can be told apart.
const MIN_NAMES: usize = 24;

const COLUMNS: [&str; 6] = ["STATE", "LATENCY", "USE%", "TYPE", "DEVICE", "PATH"];
const DEVICE: usize = 4;
const PATH: usize = 5;

/// The table and, after an empty line, its summary. Dead mounts come first, otherwise the order is the mount table's.
#[must_use]
pub fn table(status: &Status, now: Time, style: Style) -> String {
    let mut mounts: Vec<&MountStatus> = status.mounts.iter().collect();
    mounts.sort_by_key(|mount| mount.health.failure().is_none()); // stable
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(mounts.iter().map(|mount| cells(mount, now)));
    let widths = widths(&rows, style.width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let colour =
            index.checked_sub(1).and_then(|mount| colour(&mounts[mount].health)).filter(|_| style.colours);
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
    }
    text.push('\n');
    text.push_str(&Verdict::of(status).summary());
    text.push('\n');
    text
}

/// The dead mount points, one in each line.
#[must_use]
pub fn bad_mounts(status: &Status) -> String {
    let dead = status.mounts.iter().filter(|mount| mount.health.failure().is_some());
    dead.map(|mount| format!("{}\n", escape_os(&mount.mount.mountpoint))).collect()
}

fn cells(mount: &MountStatus, now: Time) -> [String; 6] {
    let latency = match (&mount.health, mount.answered, mount.waiting_since) {
        (Health::Ok | Health::Slow, Some(answer), _) => Span(answer.took).to_string(),
        (Health::Dead(failure), _, None) if failure.reason == Reason::Hung => {
            format!(">{}", Span(failure.waited))
        }
        (Health::Dead(_) | Health::Pending, _, Some(since)) => format!(">{}", Span(now.since(since))),
        _ => "-".to_owned(),
    };
    let used = use_percent(mount).map_or("-".to_owned(), |percent| format!("{:.0}%", percent.ceil()));
    let fstype = escape_os(&mount.mount.fstype).into_owned();
    let device = escape_os(&mount.mount.device).into_owned();
    [state(&mount.health), latency, used, fstype, device, escape_os(&mount.mount.mountpoint).into_owned()]
}

fn state(health: &Health) -> String {
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
fn use_percent(mount: &MountStatus) -> Option<f64> {
    match mount.health {
        Health::Ok | Health::Slow => mount.answered?.usage?.percent(),
        Health::Pending | Health::Dead(_) | Health::Denied(_) | Health::Hidden => None,
    }
}

const fn colour(health: &Health) -> Option<&'static str> {
    match health {
        Health::Dead(_) => Some("1;31"),
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

/// The JSON document, on one line. `wall` is the time of day at `now`.
#[must_use]
pub fn document(status: &Status, now: Time, wall: SystemTime) -> String {
    let verdict = Verdict::of(status);
    let document = Document {
        time: rfc3339(wall),
        total: verdict.total,
        dead: verdict.dead,
        slow: verdict.slow,
        denied: verdict.denied,
        pending: verdict.pending,
        hidden: verdict.hidden,
        mounts: status.mounts.iter().map(|mount| Entry::new(mount, now, wall)).collect(),
    };
    serde_json::to_string(&document).expect("strings and finite numbers make JSON")
}

#[derive(Serialize)]
struct Document<'a> {
    time: String,
    total: usize,
    dead: usize,
    slow: usize,
    denied: usize,
    pending: usize,
    hidden: usize,
    mounts: Vec<Entry<'a>>,
}

/// Every field is always there, so that programs need no second way: what is not known is null.
#[derive(Serialize)]
struct Entry<'a> {
    mountpoint: String,
    fstype: String,
    device: String,
    device_number: String,
    state: &'a str,
    since: String,
    reason: Option<&'a str>,
    errno: Option<String>,
    behind: Option<String>,
    latency_seconds: Option<f64>,
    waiting_seconds: Option<f64>,
    use_percent: Option<f64>,
    size_bytes: Option<u64>,
    available_bytes: Option<u64>,
    read_only: bool,
}

impl<'a> Entry<'a> {
    fn new(status: &'a MountStatus, now: Time, wall: SystemTime) -> Entry<'a> {
        let (mount, failure) = (&status.mount, status.health.failure());
        let errno = match &status.health {
            Health::Denied(errno) => Some(*errno),
            health => health.failure().and_then(|failure| failure.errno),
        };
        let alive = matches!(status.health, Health::Ok | Health::Slow);
        let answer = status.answered.filter(|_| alive);
        let usage = answer.and_then(|answer| answer.usage);
        Entry {
            mountpoint: name(mount.mountpoint.as_os_str()),
            fstype: name(&mount.fstype),
            device: name(&mount.device),
            device_number: mount.device_number.to_string(),
            state: status.health.as_str(),
            since: rfc3339(wall.checked_sub(now.since(status.since)).unwrap_or(wall)),
            reason: failure.map(|failure| failure.reason.as_str()),
            errno: errno.map(platform::Errno::name),
            behind: failure.and_then(|f| f.behind.as_ref()).map(|outer| name(outer.as_os_str())),
            latency_seconds: answer.map(|answer| seconds(answer.took)),
            waiting_seconds: status.waiting_since.map(|since| seconds(now.since(since))),
            use_percent: use_percent(status).map(|percent| (percent * 10.0).round() / 10.0),
            size_bytes: usage.map(|usage| usage.blocks.saturating_mul(usage.block_size)),
            available_bytes: usage.map(|usage| usage.available.saturating_mul(usage.block_size)),
            read_only: mount.read_only() || usage.is_some_and(|usage| usage.read_only),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{at, failure, mount, status, status_of};
    use platform::Errno;
    use std::time::Duration;

    fn sample() -> Status {
        let ext4 = |path: &str| mount(path, "ext4", "/dev/sda1", "rw", "rw");
        let nfs = |path: &str| mount(path, "nfs4", "server:/export", "rw", "rw");
        let mut hung = status_of(nfs("/mnt/hung"), Health::Dead(failure(Reason::Hung, None, 3.0)));
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
failed ESTALE        -     -  nfs4  server:/export  /s
ok                 3ms   50%  ext4  /dev/sda1       /
slow              1.4s   50%  ext4  /dev/sda1       /mnt/日本
denied EACCES        -     -  nfs4  server:/export  /d
hidden               -     -  ext4  /dev/sda1       /h
pending              -     -  ext4  /dev/sda1       /p

Checked 6 mounts; 2 are dead; 1 slow; 1 cannot be checked; 1 could not be judged; 1 hidden under other mounts
";
        assert_eq!(table(&sample(), at(12.0), Style::default()), expected);
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

    #[test]
    fn a_document() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let parsed: serde_json::Value = serde_json::from_str(&document(&sample(), at(12.0), wall)).unwrap();
        assert_eq!((&parsed["total"], &parsed["dead"]), (&6.into(), &2.into()));
        assert_eq!(parsed["time"], "1970-01-01T00:01:40.000Z");
        let expected = serde_json::json!({
            "mountpoint": "/", "fstype": "ext4", "device": "/dev/sda1", "device_number": "0:42", "state": "ok",
            "since": "1970-01-01T00:01:36.000Z", "reason": null, "errno": null, "behind": null,
            "latency_seconds": 0.003, "waiting_seconds": null, "use_percent": 50.0, "size_bytes": 4_096_000,
            "available_bytes": 2_048_000, "read_only": false,
        });
        assert_eq!(parsed["mounts"][0], expected);
        let hung = &parsed["mounts"][1];
        assert_eq!((&hung["state"], &hung["reason"]), (&"hung".into(), &"hung".into()));
        assert_eq!(
            (&hung["waiting_seconds"], &hung["latency_seconds"]),
            (&4.0.into(), &serde_json::Value::Null)
        );
        assert_eq!(
            (&parsed["mounts"][3]["state"], &parsed["mounts"][3]["errno"]),
            (&"failed".into(), &"ESTALE".into())
        );
        assert_eq!(
            (&parsed["mounts"][4]["state"], &parsed["mounts"][4]["errno"]),
            (&"denied".into(), &"EACCES".into())
        );
    }
}
