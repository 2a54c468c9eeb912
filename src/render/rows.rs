//! The order and the cells of the rows in the terminal's table and on the status page.

use super::HumanDuration;
use crate::monitor::{Health, MountStatus, Reason, Time};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

/// The order of tables: what needs attention comes first.
pub(super) const fn health_rank(health: &Health) -> u8 {
    match health {
        Health::Dead(_) => 0,
        Health::Unknown { .. } => 1,
        Health::Slow => 2,
        Health::Denied(_) => 3,
        Health::Pending => 4,
        Health::Ok => 5,
        Health::Hidden => 6,
    }
}

/// By [`health_rank`], then by path. Dead mounts first by their severity; those of users, who can have many, are last.
pub(super) fn sort(mounts: &mut [&MountStatus]) {
    mounts.sort_by(|a, b| attention(a).cmp(&attention(b)).then_with(|| path(a).cmp(path(b))));
}

/// What needs it most has the least.
pub(super) fn attention(status: &MountStatus) -> impl Ord + use<> {
    let rank = health_rank(&status.health);
    let if_dead =
        status.health.failure().map(|_| (status.settings.severity, status.mount.user().is_foreign()));
    (rank, if_dead)
}

pub(super) fn path(status: &MountStatus) -> &[u8] {
    status.mount.mountpoint.as_os_str().as_bytes()
}

/// The state, with the error if there is one: `hung`, `failed ESTALE`; of an unknown mount with what it was.
pub(super) fn state(health: &Health) -> String {
    match health {
        Health::Dead(failure) if failure.reason != Reason::Hung => match failure.errno {
            Some(errno) => format!("failed {errno}"),
            None => format!("failed {}", failure.reason.as_str()),
        },
        Health::Denied(errno) => format!("denied {errno}"),
        Health::Unknown { was } if *was != "pending" => format!("unknown (was {was})"),
        health => health.as_str().to_owned(),
    }
}

/// The state, with its age if it is older than the interval: `ok (2m old)`; or `ok, flapping`, `ok, unexpected
/// options`.
pub(super) fn state_at(status: &MountStatus, now: Time) -> String {
    let flapping = if status.flapping.is_some() { ", flapping" } else { "" };
    let options = if status.has_unexpected_options == Some(true) { ", unexpected options" } else { "" };
    let state = state(&status.health) + flapping + options;
    match (&status.health, status.outdated_at(now)) {
        (Health::Unknown { .. }, _) | (_, None) => state,
        (_, Some(age)) => format!("{state} ({} old)", HumanDuration::in_seconds(age)),
    }
}

/// The duration of the last probe, or the waiting time of a probe without a response, as `>3s`.
pub(super) fn latency(status: &MountStatus, now: Time) -> Option<String> {
    let (took, is_over) = latency_time(status, now)?;
    Some(format!("{}{}", if is_over { "" } else { ">" }, HumanDuration(took)))
}

/// The same as a time, and whether the probe is over.
pub(super) fn latency_time(status: &MountStatus, now: Time) -> Option<(Duration, bool)> {
    match (&status.health, status.last_response, status.waiting_since) {
        (Health::Ok | Health::Slow, Some(response), _) => Some((response.took, true)),
        (Health::Pending, _, Some(since)) => Some((now.since(since), false)),
        // Its next probe may have begun a moment ago.
        (Health::Dead(failure), _, Some(since)) => Some((failure.waited.max(now.since(since)), false)),
        // Nothing waited for a mount that is blocked by another one.
        (Health::Dead(failure), _, None) if failure.reason == Reason::Hung && !failure.waited.is_zero() => {
            Some((failure.waited, false))
        }
        _ => None,
    }
}

/// As `df` shows it; unknown for a mount that does not respond.
pub(super) fn use_percent(status: &MountStatus) -> Option<f64> {
    match status.health {
        Health::Ok | Health::Slow => status.last_response?.usage?.percent(),
        Health::Pending | Health::Dead(_) | Health::Denied(_) | Health::Hidden | Health::Unknown { .. } => {
            None
        }
    }
}

/// By its options, or because the kernel remounted the file system read-only.
pub(super) fn is_read_only(status: &MountStatus) -> bool {
    let usage = status.last_response.and_then(|response| response.usage);
    status.mount.read_only() || usage.is_some_and(|usage| usage.read_only)
}
