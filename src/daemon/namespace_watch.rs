//! The mount namespace that is watched, if it is not our own: looked after until it ends.

use crate::monitor::Time;
use mio::{Interest, Registry, Token};
use platform::MountNamespace;
use std::io;
use std::time::Duration;

/// A namespace that is mounted somewhere is looked for in our own mount table when that changes, in a storm of changes
/// not more often than this.
const LEAST_GAP: Duration = Duration::from_secs(1);

/// What the loop does about it.
pub(super) struct NamespaceWatch {
    namespace: Option<MountNamespace>,
    looked: Option<Time>,
    /// Something happened too soon after the last look.
    look_at: Option<Time>,
}

impl NamespaceWatch {
    /// # Errors
    /// It cannot be waited for.
    pub(super) fn new(
        mut namespace: Option<MountNamespace>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<NamespaceWatch> {
        if let Some(namespace) = &mut namespace {
            registry.register(namespace, token, Interest::READABLE)?;
        }
        Ok(NamespaceWatch { namespace, looked: None, look_at: None })
    }

    /// When [`NamespaceWatch::is_due`] has something to say, if nothing else happens.
    pub(super) fn next(&self) -> Option<Time> {
        self.look_at
    }

    /// Something happened that may be the end.
    pub(super) fn stirred(&mut self, now: Time) {
        if self.namespace.is_some() {
            let soonest = self.looked.map_or(now, |looked| looked + LEAST_GAP);
            self.look_at.get_or_insert(soonest.max(now));
        }
    }

    /// Is it to be looked for now?
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.look_at.is_some_and(|at| at <= now)
    }

    /// Has it ended? Then it is handed out, and is to be dropped with what was made of it: whoever holds it keeps its
    /// mounts mounted.
    pub(super) fn has_ended(&mut self, now: Time) -> Option<MountNamespace> {
        (self.look_at, self.looked) = (None, Some(now));
        self.namespace.take_if(MountNamespace::has_ended)
    }
}
