//! Requests that wait for a fresh judgement: the mounts are probed now, and the response says what that found.

use super::RouteContext;
use super::limits::FRESH_ALLOWANCE;
use crate::monitor::{Health, MountStatus, ProbeSelection, Status, Time};
use crate::render::Snapshot;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout;

/// The snapshot in which each selected mount was judged after the request, or the one at the deadline: its timeout and
/// [`FRESH_ALLOWANCE`]. A mount that was not judged by then is unknown in it, unless it is dead.
pub(super) async fn snapshot(
    context: &RouteContext,
    latest: &Snapshot,
    selection: ProbeSelection,
) -> Snapshot {
    let requested = Instant::now();
    let asked_at = latest.as_of(requested).at;
    let selected = |mount: &&MountStatus| selection.contains(mount.mount.key);
    let longest = latest.status.mounts.iter().filter(selected).map(|mount| mount.settings.timeout).max();
    context.state.request_probes(selection.clone());
    let wait = wait_until_judged(context, asked_at, &selection);
    let _ = timeout(longest.unwrap_or_default() + FRESH_ALLOWANCE, wait).await; // then with what is known
    let known = context.state.latest();
    let present = known.as_deref().unwrap_or(latest).as_of(Instant::now());
    Snapshot { status: Arc::new(without_old_judgements(&present.status, asked_at, &selection)), ..present }
}

async fn wait_until_judged(context: &RouteContext, asked_at: Time, selection: &ProbeSelection) {
    let mut changes = context.changes.clone();
    loop {
        changes.borrow_and_update();
        if context.state.latest().is_some_and(|latest| is_judged(&latest.status, asked_at, selection)) {
            return;
        }
        if changes.changed().await.is_err() {
            return; // the daemon ends
        }
    }
}

fn is_judged(status: &Status, asked_at: Time, selection: &ProbeSelection) -> bool {
    !status.mounts.iter().any(|mount| is_outdated(mount, status.at, asked_at, selection))
}

fn is_outdated(mount: &MountStatus, status_at: Time, asked_at: Time, selection: &ProbeSelection) -> bool {
    mount.health != Health::Hidden
        && mount.judged_by(status_at).is_none_or(|at| at < asked_at)
        && selection.contains(mount.mount.key)
}

fn without_old_judgements(status: &Status, asked_at: Time, selection: &ProbeSelection) -> Status {
    let judged = |mount: &MountStatus| match &mount.health {
        Health::Dead(_) | Health::Unknown { .. } => mount.clone(),
        health if is_outdated(mount, status.at, asked_at, selection) => {
            MountStatus { health: Health::Unknown { was: health.as_str() }, ..mount.clone() }
        }
        _ => mount.clone(),
    };
    Status { mounts: status.mounts.iter().map(judged).collect(), ..status.clone() }
}
