//! The reader of early signs, and which mounts it watches.

use super::cost_throttle::CostThrottle;
use crate::children::signs::{SignsEvent, SignsHandle};
use crate::config::Config;
use crate::monitor::{Monitor, SignSubjects, Time};
use mio::{Registry, Token};
use std::io;
use std::time::Duration;

/// Minimum interval between two looks at all mounts for those with signs: a new mount is probed anyway.
const MIN_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks take at most 1/200 of a core.
const LOOK_COST_FACTOR: u32 = 200;

pub(super) struct EarlySigns {
    handle: SignsHandle,
    /// The transports of NFS belong to a network namespace; those of another mount namespace may be in another one.
    is_own_namespace: bool,
    looks: CostThrottle,
}

impl EarlySigns {
    pub(super) fn new(config: &Config, registry: Registry, token: Token) -> io::Result<EarlySigns> {
        let mut signs = EarlySigns {
            handle: SignsHandle::new(registry, token)?,
            is_own_namespace: config.mount_namespace.is_none(),
            looks: CostThrottle::new(MIN_LOOK_INTERVAL, LOOK_COST_FACTOR),
        };
        signs.reconfigure(config);
        Ok(signs)
    }

    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.handle.set_interval(config.signs_interval);
        self.mark_table_changed();
    }

    pub(super) fn mark_table_changed(&mut self) {
        self.looks.mark_changed();
    }

    /// `clock` returns the time after the look.
    pub(super) fn look_if_due(&mut self, now: Time, monitor: &Monitor, clock: impl Fn() -> Time) {
        if self.looks.is_due(now) {
            let begun = clock();
            let subjects = monitor.sign_subjects();
            let servers = subjects.servers && self.is_own_namespace;
            self.handle.set_subjects(SignSubjects { servers, ..subjects });
            self.looks.finish(now, clock() - begun);
        }
        self.handle.flush(now);
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.looks.next_deadline().into_iter().chain(self.handle.next_deadline()).min()
    }

    pub(super) fn handle_ready(&mut self, now: Time) {
        self.handle.handle_ready(now);
    }

    pub(super) fn handle_deadline(&mut self, now: Time) {
        self.handle.handle_deadline(now);
    }

    pub(super) fn reap_children(&mut self, now: Time) {
        self.handle.reap_children(now);
    }

    pub(super) fn extend_deadline(&mut self, now: Time) {
        self.handle.extend_deadline(now);
    }

    pub(super) fn drain_events(&mut self) -> Vec<SignsEvent> {
        self.handle.drain_events()
    }

    pub(super) fn shutdown(&mut self) {
        self.handle.shutdown();
    }
}
