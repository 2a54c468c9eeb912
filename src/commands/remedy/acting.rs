//! Carries out a plan, and prints each call and what it has done.

use super::{REFUSED, STILL_DEAD, machine_facts, remedies};
use crate::children::remedy::{AttemptEvent, BeginError, REMEDY_DIRECTORY};
use crate::commands::connection::connect;
use crate::commands::{client, print};
use crate::config::RemedyConfig;
use crate::monitor::remedy::{Initiator, Outcome, Plan, RemedySettings};
use crate::render::remedy_progress::{end_json, end_line, event_json, event_lines, left_lines, reset_lines};
use crate::render::{PROCESS_NAME, remedy_plan};
use anyhow::Context as _;
use platform::MountTable;
use std::path::Path;

pub(super) fn act(
    config: &RemedyConfig,
    plan: &Plan,
    settings: &RemedySettings,
    table: &MountTable,
) -> anyhow::Result<u8> {
    let (mut remedies, is_json) = (remedies(&config.config)?, config.json);
    // A reader that is gone stops no remedy half-way.
    let mut on_event = |event: AttemptEvent<'_>| {
        drop(print(&if is_json { event_json(&event) } else { event_lines(&event) }));
    };
    let end = match remedies.attempt(plan, settings, table, Initiator::Operator, &mut on_event) {
        Ok(end) => end,
        Err(BeginError::Io(error)) => {
            return Err(error).with_context(|| format!("cannot use {REMEDY_DIRECTORY}"));
        }
        Err(BeginError::Refused(guards)) => {
            for guard in guards {
                eprintln!("{PROCESS_NAME}: {}", remedy_plan::guard(&guard));
            }
            return Ok(REFUSED);
        }
    };
    let outcome = end.outcome;
    let left = machine_facts::left_of(plan.mount(), outcome);
    let text = if is_json { end_json(outcome, &left) } else { end_line(outcome, plan) + &left_lines(&left) };
    print(&text)?;
    Ok(if outcome == Outcome::Remedied { 0 } else { STILL_DEAD })
}

/// Permits new attempts, and ends the pauses of the daemon, whose status would be that of before.
pub(super) fn reset(config: &RemedyConfig, mountpoint: &Path) -> anyhow::Result<u8> {
    let had_hit = remedies(&config.config)?
        .reset(mountpoint)
        .with_context(|| format!("cannot use {REMEDY_DIRECTORY}"))?;
    // One that responds handles the signal.
    let is_healthy = client::get(&config.daemon, "/-/healthy").is_ok_and(|response| response.status == 200);
    let is_daemon_told =
        is_healthy && connect(&config.daemon).is_ok_and(|connection| platform::hang_up_listener(&connection));
    print(&reset_lines(mountpoint, had_hit, is_daemon_told))?;
    Ok(0)
}
