//! Watching another mount namespace than our own: `--mount-namespace`.

use super::mount_table;
use crate::render::escape::escape_os;
use anyhow::Context as _;
use platform::{FoundNamespace, MountNamespace, MountTable};
use std::path::Path;

/// The option, as messages name it.
const OPTION: &str = "--mount-namespace";

/// The namespace that was asked for; none if it is our own, which needs nothing.
pub(super) fn find(file: Option<&Path>) -> anyhow::Result<Option<MountNamespace>> {
    let Some(file) = file else { return Ok(None) };
    let found = MountNamespace::open(file).with_context(|| format!("{OPTION} {}", escape_os(file)))?;
    Ok(match found {
        FoundNamespace::Own => None,
        FoundNamespace::Other(namespace) => Some(namespace),
    })
}

/// Its mount table, or our own.
pub(super) fn table(namespace: Option<&MountNamespace>) -> anyhow::Result<MountTable> {
    match namespace {
        None => mount_table(),
        Some(namespace) => {
            let table = namespace.watch().and_then(|mut watch| watch.read());
            table.context("cannot read the table of the mount namespace")
        }
    }
}

/// What is said of it at the start.
pub(super) fn description(file: &Path, namespace: Option<&MountNamespace>) -> String {
    match namespace {
        None => format!("{OPTION} {} is the namespace that this program is in", escape_os(file)),
        Some(namespace) => {
            let number = namespace.inode();
            format!(
                "Watching the mount namespace of {} (mnt:[{number}]); paths are those in it",
                escape_os(file)
            )
        }
    }
}
