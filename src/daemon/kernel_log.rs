//! What the kernel log says about storage, read while there are mounts about which it may say something.

use crate::monitor::{Input, Time};
use mio::{Registry, Token};
use platform::collect::KernelLog;
use platform::evidence::{KernelHint, ServerStatusHint};
use std::time::Duration;

/// After a flood of messages the log is not read for this long: such messages are not about storage.
const FLOOD_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct KernelLogWatch {
    registry: Registry,
    token: Token,
    log: Option<KernelLog>,
    flooded_until: Option<Time>,
    /// There is no kernel log, or this user may not read it. Not tried again.
    is_unreadable: bool,
}

impl KernelLogWatch {
    pub(super) fn new(registry: Registry, token: Token) -> KernelLogWatch {
        KernelLogWatch { registry, token, log: None, flooded_until: None, is_unreadable: false }
    }

    /// Opens the log if there are mounts about which it may say something, else closes it.
    pub(super) fn set_needed(&mut self, is_needed: bool) {
        if self.is_unreadable {
            return;
        }
        if !is_needed {
            (self.log, self.flooded_until) = (None, None);
        } else if self.log.is_none() {
            let opened = KernelLog::open().ok();
            self.log = opened.filter(|log| log.register(&self.registry, self.token).is_ok());
            self.is_unreadable = self.log.is_none();
        }
    }

    pub(super) fn read(&mut self, now: Time) -> Vec<Input> {
        let Some(log) = self.log.as_mut().filter(|_| self.flooded_until.is_none()) else {
            return Vec::new();
        };
        let (hints, is_complete) = log.read_hints();
        if !is_complete {
            let _ = log.deregister(&self.registry); // an error only means useless wake-ups
            self.flooded_until = Some(now + FLOOD_PAUSE);
        }
        let input = |hint: KernelHint| match hint {
            KernelHint::Server(ServerStatusHint { server, responds }) => {
                Input::ServerStatusHint { server, responds }
            }
            KernelHint::Stall(storage) => Input::StorageStall(storage),
        };
        hints.into_iter().map(input).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.flooded_until
    }

    pub(super) fn handle_deadline(&mut self, now: Time) {
        if self.flooded_until.take_if(|until| *until <= now).is_some()
            && let Some(log) = &mut self.log
        {
            log.skip_to_end();
            if log.register(&self.registry, self.token).is_err() {
                (self.log, self.is_unreadable) = (None, true);
            }
        }
    }
}
