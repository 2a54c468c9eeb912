//! The counts of a status, and the summary lines and exit status derived from them.

use crate::monitor::{Health, Severity, Status};

/// Mounts by state.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StatusSummary {
    /// All mounts but the hidden ones.
    pub total: usize,
    /// Hung or failed.
    pub dead: usize,
    /// They respond, but late.
    pub slow: usize,
    /// They respond in time.
    pub ok: usize,
    /// The kernel refuses access to the daemon's user.
    pub denied: usize,
    /// Not judged yet, or no prober could be started.
    pub pending: usize,
    /// Not judged for two intervals.
    pub unknown: usize,
    /// Hidden by other mounts.
    pub hidden: usize,
    /// Expected mounts that are not mounted.
    pub missing: usize,
    /// Mounts of users who have too many. They are not among the others.
    pub not_watched: usize,
}

impl StatusSummary {
    /// Counts the mounts of a status.
    #[must_use]
    pub fn of(status: &Status) -> StatusSummary {
        let (missing, not_watched) = (status.missing(), status.not_watched);
        let mut summary = StatusSummary { missing, not_watched, ..StatusSummary::default() };
        for mount in status.mounts.iter() {
            let count = match mount.health {
                Health::Pending => &mut summary.pending,
                Health::Ok => &mut summary.ok,
                Health::Slow => &mut summary.slow,
                Health::Dead(_) => &mut summary.dead,
                Health::Denied(_) => &mut summary.denied,
                Health::Hidden => &mut summary.hidden,
                Health::Unknown { .. } => &mut summary.unknown,
            };
            *count += 1;
        }
        summary.total = status.mounts.len() - summary.hidden;
        summary
    }

    /// The exit status of `check`, `status` and `--once-only`: 1 if a mount is dead or missing, 2 if one could not be
    /// judged, else 0.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        match (self.dead + self.missing, self.unjudged()) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        }
    }

    /// The severity of the worst failure: of a mount that is dead, or missing.
    pub(super) fn failure_severity(status: &Status) -> Option<Severity> {
        let dead = status.mounts.iter().filter(|mount| mount.health.failure().is_some());
        let of_missing = status.missing_mounts().map(|missing| missing.expected.severity);
        dead.map(|mount| mount.settings.severity).chain(of_missing).min()
    }

    /// Mounts about which nothing is known now.
    pub(super) const fn unjudged(&self) -> usize {
        self.pending + self.unknown
    }

    /// `; 1 missing; 2 slow`: the counts that are not zero, without total and dead.
    pub(super) fn other_counts(&self) -> String {
        [
            (self.missing, "missing"),
            (self.slow, "slow"),
            (self.denied, "cannot be checked"),
            (self.unjudged(), "could not be judged"),
            (self.hidden, "hidden under other mounts"),
            (self.not_watched, "not watched"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("; {count} {what}"))
        .collect()
    }
}

/// `1 mount`, `5 mounts`
pub(super) fn mounts(count: usize) -> String {
    format!("{count} {}", if count == 1 { "mount" } else { "mounts" })
}

/// `0 are dead`, `1 is dead`
pub(super) fn are_dead(count: usize) -> String {
    format!("{count} {} dead", if count == 1 { "is" } else { "are" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_reports_the_dead_before_the_unjudged() {
        for (dead, missing, pending, expected) in
            [(0, 0, 0, 0), (1, 0, 0, 1), (0, 1, 1, 1), (0, 0, 1, 2), (1, 0, 1, 1)]
        {
            let summary = StatusSummary { dead, missing, pending, ..StatusSummary::default() };
            assert_eq!(summary.exit_status(), expected, "{summary:?}");
        }
    }
}
