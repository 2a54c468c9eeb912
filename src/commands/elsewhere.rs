//! Watching another mount namespace than our own: `--mount-namespace`.

use crate::report::escape::escape_os;
use anyhow::Context as _;
use platform::{FoundNamespace, MountNamespace};
use std::path::Path;

/// The option, as messages name it.
const OPTION: &str = "--mount-namespace";

/// The namespace that was asked for; none if it is our own, which needs nothing.
pub(super) fn find(file: Option<&Path>) -> anyhow::Result<Option<MountNamespace>> {
    let Some(file) = file else { return Ok(None) };
    let found = MountNamespace::find(file).with_context(|| format!("{OPTION} {}", escape_os(file)))?;
    Ok(match found {
        FoundNamespace::Own => None,
        FoundNamespace::Other(namespace) => Some(namespace),
    })
}

/// What is said of it at the start.
pub(super) fn watched(file: &Path, namespace: Option<&MountNamespace>) -> String {
    match namespace {
        None => format!("{OPTION} {} is the namespace that this program is in", escape_os(file)),
        Some(namespace) => {
            let number = namespace.number();
            format!(
                "Watching the mount namespace of {} (mnt:[{number}]); paths are those in it",
                escape_os(file)
            )
        }
    }
}
