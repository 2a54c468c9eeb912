//! `status`: what the running daemon knows.

use super::client;
use crate::config::{CheckOutput, ClientConfig};
use crate::render::nagios::Thresholds;

pub fn status(config: &ClientConfig) -> anyhow::Result<u8> {
    let output = if config.json { CheckOutput::Json } else { CheckOutput::Table };
    let target = &client::mounts_target(output, &Thresholds::default(), &[], false);
    let response = client::get(&config.daemon, target).map_err(|error| {
        let hint = if client::is_absent(&error) { "; `check` probes the mounts directly" } else { "" };
        anyhow::anyhow!("{:#}{hint}", client::describe(&config.daemon, error))
    })?;
    anyhow::ensure!(response.status == 200, "the daemon reports: {}", response.body.trim_end());
    response.print(config.json)
}
