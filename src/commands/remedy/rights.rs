//! What a process needs to carry out steps, looked at before the first: under systemd, the options of the unit decide it.

use crate::monitor::remedy::{MountCopy, RemedyFacts};
use platform::MountNamespace;
use platform::remedy::{IS_SUPPORTED, missing_capabilities, refused_calls};
use std::path::Path;

/// Where there is no code for the steps.
pub(super) const NEVER_RUN: &str =
    "remedies were never run on this system: it shows plans, and makes no step";
const DROP_IN: &str = "for the unit of systemd, see the drop-in remedies.conf";

/// # Errors
/// What is missing, in one line.
pub(super) fn check(facts: &RemedyFacts) -> Result<(), String> {
    if !IS_SUPPORTED {
        return Err(NEVER_RUN.to_owned());
    }
    let (capabilities, calls) = (missing_capabilities(), refused_calls());
    if !capabilities.is_empty() {
        return Err(format!("this process lacks {} ({DROP_IN})", capabilities.join(", ")));
    }
    if !calls.is_empty() {
        return Err(format!(
            "a filter refuses system calls of this process: {} ({DROP_IN})",
            calls.join(", ")
        ));
    }
    if is_copy_of_first_process(facts) {
        return Err(format!(
            "this process is in a mount namespace of its own, and process 1 would keep the dead mount ({DROP_IN})"
        ));
    }
    Ok(())
}

/// Whether process 1 has the mount at the same place, where an unmount that is made here does not reach it.
fn is_copy_of_first_process(facts: &RemedyFacts) -> bool {
    if facts.machine.is_foreign_namespace {
        return false;
    }
    // `None`: it is ours.
    let Ok(Some(first)) = MountNamespace::open(Path::new("/proc/1/ns/mnt")) else { return false };
    let is_kept = |copy: &MountCopy| {
        copy.namespace == first.inode() && facts.mount.mountpoint == copy.mountpoint && !copy.is_propagated
    };
    facts.copies.as_ref().is_ok_and(|copies| copies.iter().any(is_kept))
}
