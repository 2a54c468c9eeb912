//! Remedies in the status document.

use crate::monitor::remedy::MountRemedy;
use crate::render::timestamp::rfc3339;
use crate::render::{Snapshot, remedy_state};
use serde::Serialize;

/// The remedy of a dead mount. Every field is always present; an unknown value is null.
#[derive(Serialize)]
pub(super) struct RemedyObject {
    mode: &'static str,
    state: &'static str,
    says: String,
    next_attempt: Option<String>,
    reported: Option<String>,
}

impl RemedyObject {
    pub(super) fn new(remedy: &MountRemedy, snapshot: &Snapshot) -> RemedyObject {
        RemedyObject {
            mode: remedy.mode.as_str(),
            state: remedy_state::state(remedy),
            says: remedy_state::words(remedy),
            next_attempt: remedy.next_attempt.map(|at| rfc3339(snapshot.wall_at(at))),
            reported: remedy.last.as_ref().map(|(_, at)| rfc3339(snapshot.wall_at(*at))),
        }
    }
}

/// All remedies since the daemon was started.
#[derive(Serialize)]
pub(super) struct RemediesObject {
    rules: usize,
    attempts: u64,
    dry_runs: u64,
    refused: u64,
    steps: u64,
    remedied: u64,
    failed: u64,
    gave_up: u64,
    recent: Vec<RecentObject>,
}

/// What was done about a mount that is not dead any more.
#[derive(Serialize)]
struct RecentObject {
    mountpoint: String,
    says: String,
    time: String,
}

impl RemediesObject {
    pub(super) fn new(snapshot: &Snapshot) -> RemediesObject {
        let (rules, totals) = (snapshot.remedies.rules, snapshot.remedies.totals);
        let recent = remedy_state::recent(snapshot).into_iter().map(|(mountpoint, says, at)| RecentObject {
            mountpoint,
            says,
            time: rfc3339(snapshot.wall_at(at)),
        });
        RemediesObject {
            rules,
            attempts: totals.attempts,
            dry_runs: totals.dry_runs,
            refused: totals.refused,
            steps: totals.steps,
            remedied: totals.remedied,
            failed: totals.failed,
            gave_up: totals.gave_up,
            recent: recent.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::monitor::Status;
    use crate::render::json::status;
    use crate::render::remedy_messages::tests::refused;
    use crate::render::remedy_state::tests::dead_with;
    use crate::render::samples;
    use serde_json::{Value, json};

    #[test]
    fn document_has_the_remedy_of_a_mount_and_the_totals() {
        let document: Value =
            serde_json::from_str(&status(&dead_with(Some(refused(true)), false), None)).unwrap();
        assert_eq!(
            document["mounts"][0]["remedy"],
            json!({"mode": "act", "state": "waiting", "next_attempt": "1970-01-01T00:05:40.000Z",
                "says": "remedy waits: stacked: loop0 is on it; units_active: systemd would stop job.service (allow units)",
                "reported": "1970-01-01T00:01:37.000Z"})
        );
        assert_eq!(
            document["remedies"],
            json!({"rules": 1, "attempts": 3, "dry_runs": 0, "refused": 1, "steps": 0, "remedied": 0, "failed": 2,
                "gave_up": 1, "recent": []})
        );
        let without = status(&samples::snapshot(Status::default()), None);
        assert_eq!(serde_json::from_str::<Value>(&without).unwrap()["remedies"], Value::Null);
    }
}
