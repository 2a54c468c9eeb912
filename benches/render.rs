//! Time to render the metrics of a snapshot, for few and for very many mounts.

mod median;

use median::{Row, median, print_table};
use mount_status_monitor::monitor::testing::mount;
use mount_status_monitor::monitor::{Health, LastResponse, MountStatus, ProbeSettings, Status, Time};
use mount_status_monitor::render::Snapshot;
use mount_status_monitor::render::metrics::{MetricInputs, render};
use platform::{Mount, Usage};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const REPEATS: usize = 21;

fn main() {
    let rows: Vec<Row> = [100, 10_000]
        .into_iter()
        .map(|mounts| {
            let (snapshot, inputs) = (snapshot(mounts), MetricInputs::default());
            let bytes = render(&snapshot, &inputs).len();
            let took = (0..REPEATS).map(|_| {
                let start = Instant::now();
                black_box(render(black_box(&snapshot), &inputs));
                start.elapsed()
            });
            let took = median(took.collect());
            Row::new(format!("{mounts} mounts, {bytes} bytes"), took, took)
        })
        .collect();
    print_table(&format!("Metrics of one snapshot, median of {REPEATS}"), "itself", &rows);
}

fn snapshot(mounts: usize) -> Snapshot {
    let last_response = Some(LastResponse {
        at: Time::default(),
        took: Duration::from_micros(731),
        usage: Some(Usage::default()),
    });
    let status = |n: usize| {
        let entry = Mount {
            device: format!("server-{}.storage.example:/export/{n:05}", n % 50).into(),
            fstype: "nfs4".into(),
            ..mount(n as u64 + 1, &format!("/srv/project-{n:05}/data"))
        };
        let (health, since) = (Health::Ok, Time::default());
        MountStatus {
            mount: Arc::new(entry),
            health,
            since,
            judged_at: Some(since),
            last_response,
            waiting_since: None,
            settings: ProbeSettings::default(),
            probe_interval: ProbeSettings::default().poll_interval,
            flapping: None,
            is_reported_slow: false,
        }
    };
    let status = Status { mounts: (0..mounts).map(status).collect(), total: mounts, ..Status::default() };
    let (at, wall) = (Time::after_start(Duration::from_secs(60)), SystemTime::now());
    Snapshot {
        serial: 1,
        status: Arc::new(status),
        at,
        wall,
        taken: Instant::now(),
        settings: ProbeSettings::default(),
        probers: 1,
        probers_stranded: 0,
        runs_from_memory: true,
    }
}
