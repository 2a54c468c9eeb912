//! Expected mounts: those of rules and those of an fstab.

use super::files::{self, unreadable};
use super::globs::Globs;
use super::{Rules, fstab};
use crate::monitor::Expected;
use platform::Mount;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All expected mounts. A rule takes precedence over an fstab entry with the same mount point.
pub(super) fn expected_mounts(rules: &Rules, fstab: Option<&Path>) -> Result<Vec<Arc<Expected>>, String> {
    let mut all = from_rules(rules);
    if let Some(path) = fstab {
        let text = files::read_bytes(path).map_err(|error| unreadable(path, &error))?;
        all.extend(fstab::expected(path, &text));
    }
    let mut seen: HashSet<PathBuf> = HashSet::new();
    all.retain(|expected| seen.insert(expected.mountpoint.clone()));
    Ok(all.into_iter().map(Arc::new).collect())
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
