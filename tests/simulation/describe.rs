//! The events as text.

use mount_status_monitor::monitor::{Event, Failure, OptionDifference};
use std::time::Duration;

pub(super) fn event_failure(event: &Event) -> Option<&Failure> {
    match event {
        Event::Failed { failure, .. } | Event::StillFailing { failure, .. } => Some(failure),
        _ => None,
    }
}

pub(super) fn describe(event: &Event) -> String {
    let path = event.mount().map_or_else(String::new, |mount| mount.mountpoint.display().to_string());
    let name = event.name();
    let detail = match event {
        Event::Mounted { .. } | Event::Drill { .. } => String::new(),
        Event::Unmounted { health, .. } => format!(" was {}", health.as_str()),
        Event::Remounted { mount, before } => {
            format!(" {} -> {}", before.options.display(), mount.options.display())
        }
        Event::Moved { from, .. } => format!(" from {}", from.display()),
        Event::Failed { failure, .. } => format!(" {}{}", failure.reason.as_str(), waited(failure.waited)),
        Event::StillFailing { failure, lasted, .. } => format!(" {} for {lasted:?}", failure.reason.as_str()),
        Event::Recovered { lasted, was, .. } => format!(" from {was} after {lasted:?}"),
        Event::Slow { took, .. } => format!(" {took:?}"),
        Event::Flapping { health, changes, within, .. } => format!(" {changes} in {within:?}, now {health}"),
        Event::Steady { health, changes, lasted, .. } => format!(" {health} after {changes} in {lasted:?}"),
        Event::Unknown { was, unjudged, .. } => {
            format!(" was {was}, unjudged for {}s", unjudged.as_secs_f64())
        }
        Event::UnexpectedOptions { differences, .. } => {
            let found = |difference: &OptionDifference| match &difference.found {
                Some(found) => format!(" {} not {}", found.display(), difference.expected),
                None => format!(" no {}", difference.expected),
            };
            differences.iter().map(found).collect()
        }
        Event::ExpectedOptions { lasted, .. } => format!(" after {lasted:?}"),
        Event::Denied { errno, .. } => format!(" {errno}"),
        Event::Missing { expected, containing_mount } => {
            let around = containing_mount
                .as_ref()
                .map_or("nowhere".into(), |mount| mount.mountpoint.display().to_string());
            return format!("MISSING {} now in {around}", expected.mountpoint.display());
        }
        Event::Found { lasted, .. } => format!(" after {lasted:?}"),
        Event::Remedy { report, .. } => format!(" {report:?}"),
        Event::Run { mounts, dead, unjudged, .. } => {
            return format!("RUN {mounts} mounts, {dead} dead, {unjudged} unjudged");
        }
    };
    format!("{} {path}{detail}", name.to_uppercase())
}

fn waited(waited: Duration) -> String {
    if waited.is_zero() { String::new() } else { format!(" {waited:?}") }
}
