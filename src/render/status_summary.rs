//! What a whole status comes to: the counts behind summaries, plugin lines and exit statuses.

use crate::monitor::{Health, Status};

/// How many mounts are in which state.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StatusSummary {
    /// All but the hidden.
    pub total: usize,
    /// Hung or failed.
    pub dead: usize,
    /// Late, but alive.
    pub slow: usize,
    /// Alive.
    pub ok: usize,
    /// Not ours to ask.
    pub denied: usize,
    /// Not judged yet, or because no prober could be had.
    pub pending: usize,
    /// Under another mount.
    pub hidden: usize,
    /// Expected, and not there.
    pub missing: usize,
}

impl StatusSummary {
    /// Counts.
    #[must_use]
    pub fn of(status: &Status) -> StatusSummary {
        let mut verdict = StatusSummary::default();
        for mount in &status.mounts {
            let count = match mount.health {
                Health::Pending => &mut verdict.pending,
                Health::Ok => &mut verdict.ok,
                Health::Slow => &mut verdict.slow,
                Health::Dead(_) => &mut verdict.dead,
                Health::Denied(_) => &mut verdict.denied,
                Health::Hidden => &mut verdict.hidden,
            };
            *count += 1;
        }
        verdict.missing = status.missing();
        verdict.total = status.mounts.len() - verdict.hidden;
        verdict
    }

    /// The exit status of `check`, `status` and `--once-only`: 1 if a mount is dead or missing, 2 if one could not be
    /// judged, else 0.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        match (self.dead + self.missing, self.pending) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        }
    }

    /// `Checked 5 mounts; 1 is dead; 1 slow; 2 cannot be checked`
    #[must_use]
    pub fn summary(&self) -> String {
        let mut summary = super::messages::checked(self.total, self.dead);
        for (count, what) in [
            (self.missing, "missing"),
            (self.slow, "slow"),
            (self.denied, "cannot be checked"),
            (self.pending, "could not be judged"),
            (self.hidden, "hidden under other mounts"),
        ] {
            if count > 0 {
                summary.push_str(&format!("; {count} {what}"));
            }
        }
        summary
    }
}
