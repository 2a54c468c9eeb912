//! Other settings while it runs. What is under way is judged by the settings that it began with.

use super::visible::Hidden;
use super::{Monitor, Policy, Time, Timer};
use platform::{Mount, MountKey};
use std::sync::Arc;
use std::time::Duration;

impl Monitor {
    /// From now on runs begin each `interval`, and `policy` says which mounts are watched and how. A mount that is
    /// newly watched is asked at once; one that no longer is, is forgotten without a word.
    pub(super) fn reconfigure(&mut self, now: Time, interval: Duration, policy: Policy) {
        self.policy = policy;
        if interval != self.interval {
            self.interval = interval;
            if self.saw_table {
                // Counted from the last one: whoever reloads every second still gets his runs.
                self.timers.set(Timer::Run, (self.last_due + self.until_next_run()).max(now));
            }
        }
        let hidden = Hidden::of(&self.table);
        let mounts: Vec<Arc<Mount>> = self.table.iter().cloned().collect();
        for mount in mounts {
            let key = mount.key;
            let wanted = (self.policy)(&mount);
            let pause = wanted.map(|settings| self.pause_between(&mount, settings.poll_interval));
            match (wanted, self.slots.get_mut(&key)) {
                (None, None) => {}
                (None, Some(_)) => drop(self.forget(key)),
                (Some(settings), None) => self.watch(now, mount, settings, &hidden, true),
                (Some(settings), Some(slot)) if slot.settings != settings => {
                    (slot.settings, slot.pause) = (settings, pause.unwrap_or(settings.poll_interval));
                    let pause = slot.pause;
                    self.take_up_own_interval(now, key, pause);
                }
                (Some(_), Some(_)) => {}
            }
        }
    }

    fn take_up_own_interval(&mut self, now: Time, key: MountKey, own: Duration) {
        if own != self.interval {
            self.timers.set_if_later(Timer::Ask(key), now + self.spread.first_wait(own, key.0));
        }
    }
}
