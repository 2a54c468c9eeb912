//! The watched mount namespace, if it is not our own. When it ends, the daemon exits.

use crate::monitor::Time;
use mio::{Interest, Registry, Token};
use platform::MountNamespace;
use std::io;
use std::time::Duration;

/// How often a namespace kept by a bind mount is searched for in our own mount table, which may change constantly.
const MIN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct NamespaceWatch {
    namespace: Option<MountNamespace>,
    checked_at: Option<Time>,
    check_at: Option<Time>,
}

impl NamespaceWatch {
    pub(super) fn new(
        mut namespace: Option<MountNamespace>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<NamespaceWatch> {
        if let Some(namespace) = &mut namespace {
            registry.register(namespace, token, Interest::READABLE)?;
        }
        Ok(NamespaceWatch { namespace, checked_at: None, check_at: None })
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.check_at
    }

    /// Schedules a check, because the namespace may have ended.
    pub(super) fn schedule_check(&mut self, now: Time) {
        if self.namespace.is_some() {
            let earliest = self.checked_at.map_or(now, |checked_at| checked_at + MIN_CHECK_INTERVAL);
            self.check_at.get_or_insert(earliest.max(now));
        }
    }

    /// Returns the namespace if it has ended. Everything that refers to it must be dropped too, because it keeps the
    /// mounts.
    pub(super) fn check(&mut self, now: Time) -> Option<MountNamespace> {
        self.check_at.take_if(|at| *at <= now)?;
        self.checked_at = Some(now);
        self.namespace.take_if(MountNamespace::has_ended)
    }
}
