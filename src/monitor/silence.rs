//! The kernel itself noticed that a file server does not answer (macOS and FreeBSD say so, but not of which).

use super::{Monitor, Time};
use platform::{FsKind, MountKey};
use std::time::Duration;

/// A kernel that says it again and again has the network file systems asked no more often than this.
const PAUSE: Duration = Duration::from_secs(1);

impl Monitor {
    /// Asks all network file systems now instead of at the next run.
    pub(super) fn server_is_silent(&mut self, now: Time) {
        if self.asked_for_silence.is_some_and(|before| now < before + PAUSE) {
            return;
        }
        self.asked_for_silence = Some(now);
        let network = self.slots.iter().filter(|(_, slot)| slot.target.kind == FsKind::Network);
        let mut keys: Vec<MountKey> = network.map(|(key, _)| *key).collect();
        keys.sort_unstable();
        for key in keys {
            self.ask(now, key);
        }
    }
}
