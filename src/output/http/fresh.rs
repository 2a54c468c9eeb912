//! Requests that wait for a fresh judgement: the mounts are probed now, and the response says what that found.

use super::RouteContext;
use super::limits::{FRESH_ALLOWANCE, REPAIR_ALLOWANCE};
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
    let wait = async {
        let responded = wait_for(context, |status| has_responded(status, asked_at, &selection));
        if timeout(REPAIR_ALLOWANCE, responded).await.is_err() {
            wait_for(context, |status| is_judged(status, asked_at, &selection)).await;
        }
    };
    let _ = timeout(longest.unwrap_or_default() + FRESH_ALLOWANCE, wait).await; // then with what is known
    let known = context.state.latest();
    let present = known.as_deref().unwrap_or(latest).as_of(Instant::now());
    Snapshot { status: Arc::new(without_old_judgements(&present.status, asked_at, &selection)), ..present }
}

async fn wait_for(context: &RouteContext, is_reached: impl Fn(&Status) -> bool) {
    let mut changes = context.changes.clone();
    loop {
        changes.borrow_and_update();
        if context.state.latest().is_some_and(|latest| is_reached(&latest.status)) {
            return;
        }
        if changes.changed().await.is_err() {
            return; // the daemon ends
        }
    }
}

/// A hung mount has not: the probe that waits for it may be new, and the mount repaired just now.
fn has_responded(status: &Status, asked_at: Time, selection: &ProbeSelection) -> bool {
    let is_hung = |mount: &MountStatus| mount.health.is_hung() && selection.contains(mount.mount.key);
    is_judged(status, asked_at, selection) && !status.mounts.iter().any(is_hung)
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
