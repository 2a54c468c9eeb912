//! `status`: what the running daemon knows.

use super::{client, fail};
use crate::config::{CheckOutput, ClientConfig};
use std::process::ExitCode;

pub fn status(config: &ClientConfig) -> ExitCode {
    let output = if config.json { CheckOutput::Json } else { CheckOutput::Table };
    let result = match client::get(&config.socket, &client::mounts_target(output, &[])) {
        Ok(response) if response.status == 200 => response.print(config.json),
        Ok(response) => Err(anyhow::anyhow!("the daemon reports: {}", response.body.trim_end())),
        Err(error) => Err(client::describe(&config.socket, error)),
    };
    result.map_or_else(|error| fail(&error), ExitCode::from)
}
