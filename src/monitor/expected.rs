//! Mounts that must exist. A mount counts as missing only when a second read of the table lacks it too, so that a quick
//! remount is not reported.

use super::registry::Registry;
use super::severity::Severity;
use super::{Event, Time};
use platform::Mount;
use rustc_hash::FxHashMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// From the read of the table that lacks a mount to the read that confirms it.
const RECHECK_DELAY: Duration = Duration::from_secs(1);

type MountMatcher = Box<dyn Fn(&Mount) -> bool + Send + Sync>;

pub struct Expected {
    /// Without symbolic links, as the mount table shows it.
    pub mountpoint: PathBuf,
    /// As it is configured: it identifies the expectation when a link leads elsewhere.
    written: PathBuf,
    /// The type and device that must be mounted there, if known: `nfs4 from nas:/export`, or empty.
    pub what: String,
    /// Where it is configured: file and line.
    pub origin: String,
    /// How severe it is that the mount is missing.
    pub severity: Severity,
    matches: MountMatcher,
}

impl Expected {
    /// `matches` returns whether a mount at that path is the right one.
    pub fn new(
        mountpoint: PathBuf,
        what: String,
        origin: String,
        matches: impl Fn(&Mount) -> bool + Send + Sync + 'static,
    ) -> Expected {
        Expected {
            written: mountpoint.clone(),
            mountpoint,
            what,
            origin,
            severity: Severity::default(),
            matches: Box::new(matches),
        }
    }

    /// The same expectation, whose configured path leads to this one.
    #[must_use]
    pub fn at(self, mountpoint: PathBuf) -> Expected {
        Expected { mountpoint, ..self }
    }

    pub(super) fn written(&self) -> &Path {
        &self.written
    }

    /// Is this the expected mount? An automount trigger counts as the mount that it provides.
    pub fn is(&self, mount: &Mount) -> bool {
        mount.mountpoint == self.mountpoint && (mount.fstype == "autofs" || (self.matches)(mount))
    }
}

impl PartialEq for Expected {
    fn eq(&self, other: &Expected) -> bool {
        (&self.mountpoint, &self.what, &self.origin, self.severity)
            == (&other.mountpoint, &other.what, &other.origin, other.severity)
    }
}

impl Eq for Expected {}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("mountpoint", &self.mountpoint).finish_non_exhaustive()
    }
}

/// The state of an expected mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpectedStatus {
    pub expected: Arc<Expected>,
    /// When it went missing; `None` if it is not missing.
    pub missing_since: Option<Time>,
    /// While it is missing, the mount that its path is on.
    pub containing_mount: Option<Arc<Mount>>,
}

#[derive(Default)]
pub(super) struct ExpectedMounts {
    mounts: Vec<ExpectedMount>,
    recheck_at: Option<Time>,
}

struct ExpectedMount {
    expected: Arc<Expected>,
    presence: Presence,
    /// Whether it was reported missing is not known.
    is_in_doubt: bool,
    containing_mount: Option<Arc<Mount>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    /// Mounted, or not checked yet.
    Present,
    /// Not seen since then, in one read.
    Suspected(Time),
    /// Not seen since then, and reported.
    Missing(Time),
}

impl ExpectedMounts {
    /// Replaces the expected mounts. Mounts that were expected before keep their state. They are identified by the
    /// configured path, because line numbers change when lines are inserted above.
    pub(super) fn replace(&mut self, expected: Vec<Arc<Expected>>) {
        let mut before: FxHashMap<PathBuf, ExpectedMount> =
            self.mounts.drain(..).map(|mount| (mount.expected.written.clone(), mount)).collect();
        let keep = |expected: Arc<Expected>| match before.remove(&expected.written) {
            Some(known) => ExpectedMount { expected, ..known },
            None => ExpectedMount {
                expected,
                presence: Presence::Present,
                is_in_doubt: false,
                containing_mount: None,
            },
        };
        self.mounts = expected.into_iter().map(keep).collect();
    }

    /// It was missing since then when an earlier daemon stopped. If that was perhaps not reported, it is reported again.
    pub(super) fn restore(&mut self, written: &Path, what: &str, since: Time, is_in_doubt: bool) {
        let is_same =
            |mount: &&mut ExpectedMount| mount.expected.written == written && mount.expected.what == what;
        if let Some(mount) = self.mounts.iter_mut().find(is_same) {
            mount.presence = Presence::Missing(since);
            mount.is_in_doubt = is_in_doubt;
        }
    }

    pub(super) fn is_any_missing(&self) -> bool {
        self.mounts.iter().any(|mount| matches!(mount.presence, Presence::Missing(_)))
    }

    /// Is there an unseen mount that a second read can prove missing?
    pub(super) fn has_suspects(&self) -> bool {
        self.mounts.iter().any(|mount| matches!(mount.presence, Presence::Suspected(_)))
    }

    /// Is a mount expected at this path or below it?
    pub(super) fn has_below(&self, path: &Path) -> bool {
        let bytes = path.as_os_str().as_bytes();
        // Most paths differ early: comparing bytes is quicker.
        let is_below = |at: &Path| at.as_os_str().as_bytes().starts_with(bytes) && at.starts_with(path);
        self.mounts.iter().any(|mount| is_below(&mount.expected.mountpoint))
    }

    pub(super) fn check(&mut self, now: Time, registry: &Registry) -> Vec<Event> {
        if self.mounts.is_empty() {
            return Vec::new();
        }
        let mut candidates: FxHashMap<&Path, Vec<&Arc<Mount>>> =
            self.mounts.iter().map(|mount| (mount.expected.mountpoint.as_path(), Vec::new())).collect();
        for mount in registry.visible() {
            if let Some(candidates) = candidates.get_mut(mount.mountpoint.as_path()) {
                candidates.push(mount);
            }
        }
        let find = |ExpectedMount { expected, .. }: &ExpectedMount| {
            let mut candidates = candidates[expected.mountpoint.as_path()].iter();
            candidates.find(|mount| expected.is(mount)).map(|&mount| Arc::clone(mount))
        };
        let found: Vec<Option<Arc<Mount>>> = self.mounts.iter().map(find).collect();
        let mut events = Vec::new();
        for (expected, found) in self.mounts.iter_mut().zip(found) {
            events.extend(match found {
                Some(mount) => expected.on_present(now, mount),
                None => expected.on_absent(now, registry),
            });
            if expected.presence == Presence::Suspected(now) {
                self.recheck_at = Some(now + RECHECK_DELAY);
            }
        }
        events
    }

    pub(super) fn take_recheck(&mut self, now: Time) -> bool {
        self.recheck_at.take_if(|at| *at <= now).is_some()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.recheck_at
    }

    pub(super) fn status(&self) -> Vec<ExpectedStatus> {
        let status = |mount: &ExpectedMount| ExpectedStatus {
            expected: Arc::clone(&mount.expected),
            missing_since: if let Presence::Missing(since) = mount.presence { Some(since) } else { None },
            containing_mount: mount.containing_mount.clone(),
        };
        self.mounts.iter().map(status).collect()
    }
}

impl ExpectedMount {
    fn on_present(&mut self, now: Time, mount: Arc<Mount>) -> Option<Event> {
        (self.containing_mount, self.is_in_doubt) = (None, false);
        let Presence::Missing(since) = std::mem::replace(&mut self.presence, Presence::Present) else {
            return None;
        };
        Some(Event::Found { expected: Arc::clone(&self.expected), mount, lasted: now - since })
    }

    fn on_absent(&mut self, now: Time, registry: &Registry) -> Option<Event> {
        let before = self.presence;
        self.presence = match before {
            Presence::Present => Presence::Suspected(now),
            Presence::Suspected(since) if now >= since + RECHECK_DELAY => Presence::Missing(since),
            Presence::Suspected(_) | Presence::Missing(_) => before,
        };
        let Presence::Missing(_) = self.presence else { return None };
        self.containing_mount = mount_containing(&self.expected.mountpoint, registry);
        let (expected, containing_mount) = (Arc::clone(&self.expected), self.containing_mount.clone());
        let is_new = std::mem::take(&mut self.is_in_doubt) || before != self.presence;
        is_new.then_some(Event::Missing { expected, containing_mount })
    }
}

/// The visible mount that this path is on.
fn mount_containing(path: &Path, registry: &Registry) -> Option<Arc<Mount>> {
    let containing = registry.visible().filter(|mount| path.starts_with(&mount.mountpoint));
    containing.max_by_key(|mount| mount.mountpoint.as_os_str().len()).cloned()
}
