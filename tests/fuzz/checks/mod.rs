//! What the fuzz targets check: no panic, and the invariants of each parser and of what the daemon does with its
//! results. `tests/fuzz_corpora.rs` runs the same functions over the corpora.

#![allow(dead_code, unreachable_pub, unused_imports)] // each target uses one function

mod kernel_log;
mod machine;
mod mount_table;
mod prober_protocol;
mod rendering;
mod saved_state;

pub use kernel_log::kernel_log;
pub use mount_table::mount_table;
pub use prober_protocol::prober_protocol;
pub use saved_state::saved_state;

use mount_status_monitor::monitor::{FlapSettings, Monitor, MonitorConfig, ProbeSettings, Severity, Time};
use std::time::Duration;

pub const SETTINGS: ProbeSettings = ProbeSettings {
    poll_interval: Duration::from_secs(20),
    timeout: Duration::from_secs(3),
    slow_after: Duration::from_secs(1),
    flap: FlapSettings { changes: 0, window: Duration::from_secs(1) },
    severity: Severity::Critical,
};

/// A monitor that watches every mount.
fn monitor() -> Monitor {
    let policy = Box::new(|_: &platform::Mount| Some(SETTINGS));
    let config = MonitorConfig {
        poll_interval: SETTINGS.poll_interval,
        policy,
        expected: Vec::new(),
        expected_options: None,
        data_paths: None,
        searches_every_directory: true,
    };
    Monitor::new(config, 0)
}

fn at(ms: u64) -> Time {
    Time::after_start(Duration::from_millis(ms))
}
