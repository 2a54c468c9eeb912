//! `drill`: a test event through the running daemon to every output.

use super::{client, print};
use crate::config::{DaemonAddress, DrillConfig};
use crate::output::DRILL_TIMEOUT;
use crate::render::drill::DrillReport;
use anyhow::Context as _;
use std::time::Duration;

/// The daemon ends a drill after [`DRILL_TIMEOUT`]; one that does not respond then is stuck.
const RESPONSE_TIMEOUT: Duration = DRILL_TIMEOUT.saturating_add(Duration::from_millis(900));

pub fn drill(config: &DrillConfig) -> anyhow::Result<u8> {
    // Only on the socket: over TCP nobody may request a drill.
    let daemon = &DaemonAddress { listen: None, ..config.client.daemon.clone() };
    let target = client::drill_target(config.mountpoint.as_deref());
    let describe = |error| client::describe(daemon, error);
    let health = client::get(daemon, "/-/healthy").map_err(describe)?;
    anyhow::ensure!(health.status == 200, "{}", health.body.trim_end());
    let response = client::post(daemon, &target, RESPONSE_TIMEOUT).map_err(describe)?;
    anyhow::ensure!(response.status == 200, "no drill was made: {}", response.body.trim_end());
    if config.client.json {
        return response.print(true);
    }
    let report: DrillReport =
        serde_json::from_str(&response.body).context("the daemon has another version")?;
    print(&report.table())?;
    Ok(response.exit_status())
}
