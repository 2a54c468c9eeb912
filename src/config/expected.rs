//! Expected mounts: those of rules and those of an fstab.

use super::globs::Globs;
use super::source::LoadError;
use super::{Config, Rules, fstab};
use crate::children::files::{FileSession, FileWorker};
use crate::monitor::Expected;
use platform::Mount;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Following links may take this long: they are on storage that the mounts do not depend on.
const LINKS_TIMEOUT: Duration = Duration::from_secs(2);

/// Follows the links in paths of expected mounts.
static LINKS: FileWorker = FileWorker::new();

impl Config {
    /// Adds the expected mounts of rules and of the fstab, which is read now.
    pub(super) fn read_fstab(&mut self, session: &mut FileSession<'_>) -> Result<(), LoadError> {
        let mut all = from_rules(&self.rules);
        if let Some(path) = self.fstab.clone() {
            let unreadable = |error| LoadError::unreadable(&path, &error);
            // Taken first, so that a change while the fstab is read is seen as a change.
            self.fingerprints.push(session.fingerprint(&path).map_err(unreadable)?);
            let text = session.read(&path).map_err(unreadable)?;
            all.extend(fstab::expected(&path, &text));
        }
        self.set_expected(all);
        Ok(())
    }

    /// A rule takes precedence over an fstab entry with the same mount point.
    fn set_expected(&mut self, mut all: Vec<Expected>) {
        let mut seen: HashSet<PathBuf> = HashSet::new();
        all.retain(|expected| seen.insert(expected.mountpoint.clone()));
        for expected in &mut all {
            expected.severity = self.rules.severity_of_missing(&expected.mountpoint);
        }
        self.expected = all.into_iter().map(Arc::new).collect();
    }

    /// Replaces the paths of expected mounts by those without symbolic links, which the mount table shows. Paths that
    /// cannot be followed, or not in time, stay as they are written.
    pub(super) fn follow_links(&mut self) {
        // The links of another mount namespace are not ours.
        if self.expected.is_empty() || self.mount_namespace.is_some() {
            return;
        }
        let written: Vec<PathBuf> = self.expected.iter().map(|it| it.mountpoint.clone()).collect();
        let followed = LINKS.begin(LINKS_TIMEOUT).and_then(|mut session| session.follow_links(&written));
        let Ok(followed) = followed else { return };
        let all = std::mem::take(&mut self.expected);
        let all = all.into_iter().zip(followed).map(|(expected, path)| {
            Arc::into_inner(expected).expect("nothing else has this configuration yet").at(path)
        });
        self.set_expected(all.collect());
    }
}

fn from_rules(rules: &Rules) -> Vec<Expected> {
    let mut all = Vec::new();
    for rule in rules.iter().filter(|rule| rule.expected) {
        let fstype = rule.fstype.as_ref().map(ToString::to_string);
        let device = rule.device.as_ref().map(|device| format!("from {device}"));
        let description = [fstype, device].into_iter().flatten().collect::<Vec<_>>().join(" ");
        for path in rule.mountpoint.iter().flat_map(Globs::paths) {
            let (this, origin) = (rule.clone(), rule.location.to_string());
            let matches = move |mount: &Mount| this.matches_ignoring_path(mount);
            all.push(Expected::new(path.to_path_buf(), description.clone(), origin, matches));
        }
    }
    all
}
