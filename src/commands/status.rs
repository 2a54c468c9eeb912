//! `status`: what the running daemon knows.

use super::client;
use crate::config::{CheckOutput, ClientConfig};

pub fn status(config: &ClientConfig) -> anyhow::Result<u8> {
    let output = if config.json { CheckOutput::Json } else { CheckOutput::Table };
    let response = client::get(&config.socket, &client::mounts_target(output, &[], false))
        .map_err(|error| client::describe(&config.socket, error))?;
    anyhow::ensure!(response.status == 200, "the daemon reports: {}", response.body.trim_end());
    response.print(config.json)
}
