//! `--mount-namespace`: a mount namespace other than our own.

use crate::config::{Config, resolve as resolve_from};
use crate::render::escape::escape_os;
use anyhow::Context as _;
use platform::{MountNamespace, MountTable};
use std::path::{Path, PathBuf};

const OPTION: &str = "--mount-namespace";

/// The namespace of this file; `None` if that is our own.
pub(super) fn open(file: Option<&Path>) -> anyhow::Result<Option<MountNamespace>> {
    let Some(file) = file else { return Ok(None) };
    MountNamespace::open(file).with_context(|| format!("{OPTION} {}", escape_os(file)))
}

/// The mount table of the namespace, or our own.
pub(super) fn table(namespace: Option<&MountNamespace>) -> anyhow::Result<MountTable> {
    match namespace {
        None => MountTable::read().with_context(|| {
            format!("cannot read {} ({})", platform::OWN_MOUNT_TABLE, platform::MOUNT_TABLE_HINT)
        }),
        Some(namespace) => namespace.table().context("cannot read the table of the mount namespace"),
    }
}

/// The mount point that an argument means. Our working directory has no meaning in another namespace.
pub(super) fn resolve(config: &Config, path: &Path) -> PathBuf {
    let directory = std::env::current_dir().ok().filter(|_| config.mount_namespace.is_none());
    resolve_from(directory.as_deref().unwrap_or(Path::new("/")), path)
}

/// The log line at the start.
pub(super) fn description(file: &Path, namespace: Option<&MountNamespace>) -> String {
    let file = escape_os(file);
    match namespace {
        None => format!("{OPTION} {file} is the namespace that this program is in"),
        Some(namespace) => format!(
            "Watching the mount namespace of {file} (mnt:[{}]); paths are those in it",
            namespace.inode()
        ),
    }
}
