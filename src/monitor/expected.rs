//! Mounts that have to be there. One that is not is believed to be missing only after a second look at the table:
//! between an unmount and the mount that follows it, nothing is missing yet.

use super::visible::Hidden;
use super::{Event, Monitor, Time, Timer};
use platform::Mount;
use rustc_hash::FxHashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// From the reading of the table that lacks a mount to the one that proves it missing.
const SECOND_LOOK: Duration = Duration::from_secs(1);

type Fits = Box<dyn Fn(&Mount) -> bool + Send + Sync>;

/// A mount that has to be there.
pub struct Expected {
    /// Where.
    pub mountpoint: PathBuf,
    /// What, as far as it is said: `nfs4 from nas:/export`, or nothing.
    pub what: String,
    /// Who says so, for people: a file and a line.
    pub origin: String,
    fits: Fits,
}

impl Expected {
    /// `fits` says whether a mount at that place will do.
    pub fn new(
        mountpoint: PathBuf,
        what: String,
        origin: String,
        fits: impl Fn(&Mount) -> bool + Send + Sync + 'static,
    ) -> Expected {
        Expected { mountpoint, what, origin, fits: Box::new(fits) }
    }

    /// Is this the mount? An automount trigger stands for it: it is mounted as soon as somebody wants it.
    #[must_use]
    pub fn is(&self, mount: &Mount) -> bool {
        mount.mountpoint == self.mountpoint && (mount.fstype == "autofs" || (self.fits)(mount))
    }
}

impl PartialEq for Expected {
    fn eq(&self, other: &Expected) -> bool {
        (&self.mountpoint, &self.what, &self.origin) == (&other.mountpoint, &other.what, &other.origin)
    }
}

impl Eq for Expected {}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("mountpoint", &self.mountpoint).finish_non_exhaustive()
    }
}

/// What is known of an expected mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpectedStatus {
    /// It.
    pub expected: Arc<Expected>,
    /// Since when it is missing, if it is.
    pub missing_since: Option<Time>,
    /// The mount in which its path lies meanwhile.
    pub containing_mount: Option<Arc<Mount>>,
}

#[derive(Debug)]
pub(super) struct Watched {
    expected: Arc<Expected>,
    presence: Presence,
    containing_mount: Option<Arc<Mount>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    /// Not looked for yet, or there.
    There,
    /// Not seen since then.
    Suspected(Time),
    /// Told to be missing; not seen since then.
    Missing(Time),
}

impl Monitor {
    /// From now on these mounts have to be there. What was known of those that had to be there before is kept, and
    /// the mount point says which these are: a line that was added above them in a file is no news of them.
    pub(super) fn expect(&mut self, now: Time, expected: &[Arc<Expected>]) {
        let before = std::mem::take(&mut self.expected).into_iter();
        let mut before: FxHashMap<PathBuf, Watched> =
            before.map(|watched| (watched.expected.mountpoint.clone(), watched)).collect();
        self.expected = expected
            .iter()
            .map(|expected| {
                let known = before.remove(&expected.mountpoint);
                let (presence, containing_mount) = known
                    .map_or((Presence::There, None), |watched| (watched.presence, watched.containing_mount));
                Watched { expected: Arc::clone(expected), presence, containing_mount }
            })
            .collect();
        if self.saw_table {
            let hidden = Hidden::of(&self.table);
            self.look_for_expected(now, &hidden);
        }
    }

    /// Is somebody still to be looked for a second time?
    pub(super) fn suspects_missing(&self) -> bool {
        self.expected.iter().any(|watched| matches!(watched.presence, Presence::Suspected(_)))
    }

    pub(super) fn expected_status(&self) -> Vec<ExpectedStatus> {
        let status = |watched: &Watched| ExpectedStatus {
            expected: Arc::clone(&watched.expected),
            missing_since: match watched.presence {
                Presence::Missing(since) => Some(since),
                Presence::There | Presence::Suspected(_) => None,
            },
            containing_mount: watched.containing_mount.clone(),
        };
        self.expected.iter().map(status).collect()
    }

    /// The table was read.
    pub(super) fn look_for_expected(&mut self, now: Time, hidden: &Hidden) {
        if self.expected.is_empty() {
            return;
        }
        let mut watched = std::mem::take(&mut self.expected);
        let mut places: FxHashMap<&Path, Vec<&Arc<Mount>>> =
            watched.iter().map(|watched| (watched.expected.mountpoint.as_path(), Vec::new())).collect();
        for mount in self.table.iter().filter(|mount| !hidden.contains(mount.key)) {
            if let Some(here) = places.get_mut(mount.mountpoint.as_path()) {
                here.push(mount);
            }
        }
        let seen: Vec<Option<Arc<Mount>>> = watched
            .iter()
            .map(|watched| {
                let here = &places[watched.expected.mountpoint.as_path()];
                here.iter().find(|mount| watched.expected.is(mount)).map(|mount| Arc::clone(mount))
            })
            .collect();
        drop(places);
        for (watched, seen) in watched.iter_mut().zip(seen) {
            match seen {
                Some(mount) => self.expected_is_there(now, watched, mount),
                None => self.expected_is_not_seen(now, watched, hidden),
            }
        }
        self.expected = watched;
    }

    fn expected_is_there(&mut self, now: Time, watched: &mut Watched, mount: Arc<Mount>) {
        if let Presence::Missing(since) = watched.presence {
            let expected = Arc::clone(&watched.expected);
            self.report(Event::Found { expected, mount, lasted: now - since });
        }
        watched.presence = Presence::There;
        watched.containing_mount = None;
    }

    fn expected_is_not_seen(&mut self, now: Time, watched: &mut Watched, hidden: &Hidden) {
        match watched.presence {
            Presence::There => {
                watched.presence = Presence::Suspected(now);
                self.timers.set(Timer::Expected, now + SECOND_LOOK);
            }
            Presence::Suspected(since) if now >= since + SECOND_LOOK => {
                watched.presence = Presence::Missing(since);
                watched.containing_mount = self.around(&watched.expected.mountpoint, hidden);
                let (expected, containing_mount) =
                    (Arc::clone(&watched.expected), watched.containing_mount.clone());
                self.report(Event::Missing { expected, containing_mount });
            }
            Presence::Suspected(_) => {}
            Presence::Missing(_) => {
                watched.containing_mount = self.around(&watched.expected.mountpoint, hidden);
            }
        }
    }

    /// The mount that this path lies in.
    fn around(&self, path: &Path, hidden: &Hidden) -> Option<Arc<Mount>> {
        let visible = self.table.iter().filter(|mount| !hidden.contains(mount.key));
        let around = visible.filter(|mount| path.starts_with(&mount.mountpoint));
        around.max_by_key(|mount| mount.mountpoint.as_os_str().len()).cloned()
    }
}
