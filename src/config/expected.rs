//! The mounts that have to be there: those of rules, and those of an fstab.

use super::files::{self, unreadable};
use super::fstab;
use super::{Diagnostic, Rules};
use crate::monitor::Expected;
use crate::render::escape::escape_os;
use platform::Mount;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All of them. What two name is expected once, as the rule wants it.
pub(super) fn expected(rules: &Rules, fstab: Option<&Path>) -> Result<Vec<Arc<Expected>>, Diagnostic> {
    let mut all = of_rules(rules);
    if let Some(path) = fstab {
        all.extend(of_fstab(path).map_err(|error| unreadable(path, &error))?);
    }
    let mut seen: HashSet<PathBuf> = HashSet::new();
    all.retain(|expected| seen.insert(expected.mountpoint.clone()));
    Ok(all.into_iter().map(Arc::new).collect())
}

fn of_rules(rules: &Rules) -> Vec<Expected> {
    let mut all = Vec::new();
    for rule in rules.iter().filter(|rule| rule.expected) {
        let fstype = rule.fstype.as_ref().map(ToString::to_string);
        let device = rule.device.as_ref().map(|device| format!("from {device}"));
        let what = [fstype, device].into_iter().flatten().collect::<Vec<_>>().join(" ");
        for path in rule.literal_mountpoints() {
            let (of_rule, origin) = (rule.clone(), rule.place.to_string());
            let fits = move |mount: &Mount| of_rule.fits_but_for_path(mount);
            all.push(Expected::new(path.to_path_buf(), what.clone(), origin, fits));
        }
    }
    all
}

fn of_fstab(path: &Path) -> io::Result<Vec<Expected>> {
    let text = files::bytes(path)?;
    let of_entry = |entry: fstab::Entry| {
        let what = format!("{} from {}", escape_os(&entry.fstype), escape_os(&entry.device));
        let origin = format!("{}:{}", escape_os(path), entry.line);
        // The kernel knows types and devices by other names than are written there (`auto`, `UUID=`).
        Expected::new(entry.mountpoint, what, origin, |_| true)
    };
    Ok(fstab::expected(&text).into_iter().map(of_entry).collect())
}
