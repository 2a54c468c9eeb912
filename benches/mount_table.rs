//! Parsing a mount table and comparing two tables, with 1,000, 10,000 and 50,000 mounts, relative to only counting the
//! lines.

mod median;

use median::{Row, median_of, print_table};
use mount_status_monitor::monitor::{Input, Monitor, MonitorConfig, ProbeSettings, Time, diff, testing};
use platform::{Mount, MountTable, TableUpdate, mountinfo};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const SIZES: [usize; 3] = [1_000, 10_000, 50_000];
const REPEATS: usize = 15;

fn main() {
    let mut rows = Vec::new();
    for size in SIZES {
        let mounts: Vec<Mount> = (0..size).map(entry).collect();
        let mut text = Vec::new();
        for mount in &mounts {
            mountinfo::write_line(mount, &mut text);
        }
        let table = MountTable::new(mounts.into_iter().map(Arc::new).collect());
        let mut more: Vec<Arc<Mount>> = table.iter().cloned().collect();
        more.push(Arc::new(entry(size)));
        let grown = MountTable::new(more);

        let lines = median_of(REPEATS, || black_box(text.iter().filter(|&&byte| byte == b'\n').count()));
        let parse =
            median_of(REPEATS, || black_box(mountinfo::parse(&text).expect("the written lines").len()));
        let equal = median_of(REPEATS, || black_box(diff(&table, &table).len()));
        let one = median_of(REPEATS, || black_box(diff(&table, &grown).len()));
        let decide = handle_change(&table, &grown);
        rows.push(Row::new(format!("{size} mounts: count lines"), lines, lines));
        rows.push(Row::new("  parse the text", parse, lines));
        rows.push(Row::new("  compare, nothing changed", equal, lines));
        rows.push(Row::new("  compare, one mount more", one, lines));
        rows.push(Row::new("  decide on one mount more, or one less", decide, lines));
    }
    print_table("Mount table, from text to decision", "count lines", &rows);
}

/// All work of the monitor: comparison, hidden mounts, events and the probe of the new mount.
fn handle_change(table: &MountTable, grown: &MountTable) -> Duration {
    let settings = ProbeSettings::default();
    let policy = Box::new(move |_: &Mount| Some(settings));
    let config = MonitorConfig {
        poll_interval: settings.poll_interval,
        policy,
        expected: Vec::new(),
        expected_options: None,
        data_paths: None,
        searches_every_directory: true,
    };
    let mut monitor = Monitor::new(config, 0);
    let now = Time::after_start(Duration::ZERO);
    let mut feed = |table: &MountTable| {
        monitor.handle(now, Input::TableUpdate(TableUpdate::Whole(table.clone())));
        monitor.settle(now);
        while let Some(action) = monitor.next_effect() {
            black_box(action);
        }
    };
    feed(table);
    let mut with = false;
    median_of(REPEATS, || {
        with = !with;
        feed(if with { grown } else { table });
    })
}

fn entry(index: usize) -> Mount {
    let mut mount = testing::mount(index as u64 + 1_000, &format!("/srv/storage/volume-{index:06}"));
    mount.parent = 1;
    mount.fstype = "nfs4".into();
    mount.device = format!("server{}:/export/volume-{index:06}", index % 7).into();
    mount.options = "rw,nosuid,nodev,relatime".into();
    mount.super_options =
        "rw,vers=4.2,rsize=1048576,wsize=1048576,namlen=255,hard,proto=tcp,timeo=600".into();
    mount
}
