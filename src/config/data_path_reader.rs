//! Reads the data-path probe of a `[[rule]]`: `probe` and the keys that begin with it.

use super::options::OptionValue;
use super::rules::Rule;
use super::toml_table::{TomlTable, option_value, text, time};
use crate::monitor::{DataPath, ProbeSettings};
use platform::{DataKind, MAX_DATA_PATH, Mount};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

/// The interval without `probe_interval`, in poll intervals: reading and writing cost storage more than `statfs`.
const DEFAULT_INTERVALS: u32 = 10;

/// The keys about the data path of a rule, as they are written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DataPathRule {
    /// `None` with `probe = "stat"` or without `probe`.
    pub kind: Option<DataKind>,
    path: Option<PathBuf>,
    interval: Option<Duration>,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// Takes the keys out of the table of a rule.
pub(super) fn take(table: &mut TomlTable<'_>) -> DataPathRule {
    DataPathRule {
        kind: table.take("probe", kind).flatten(),
        path: table.take("probe_path", path),
        interval: table.take("probe_interval", time),
        uid: table.take("probe_uid", id),
        gid: table.take("probe_gid", id),
    }
}

impl DataPathRule {
    /// What is read or written on the mounts of this rule. `settings` are those of its mounts.
    pub(super) fn data_path(&self, settings: &ProbeSettings) -> Option<DataPath> {
        let (kind, path) = (self.kind?, self.path.clone()?);
        let default = || settings.poll_interval.saturating_mul(DEFAULT_INTERVALS);
        let interval = self.interval.unwrap_or_else(default);
        let identity = self.uid.map(|uid| (uid, self.gid.unwrap_or(uid)));
        Some(DataPath { kind, path, interval, identity })
    }

    /// Why this rule cannot have its data-path probe.
    pub(super) fn problem(&self, rule: &Rule) -> Option<String> {
        let Some(kind) = self.kind else {
            let is_set =
                self.path.is_some() || self.interval.is_some() || self.uid.is_some() || self.gid.is_some();
            return is_set.then(|| "probe_path and the like need probe = \"read\" or \"write\"".to_owned());
        };
        let name = kind.as_str();
        if !platform::probe::READS_AND_WRITES {
            return Some(format!("probe = \"{name}\" is not supported on this system; use \"stat\""));
        }
        if rule.exclude {
            return Some("an excluded mount has no probe".to_owned());
        }
        if self.path.is_none() {
            let what = match kind {
                DataKind::Read => "a file that is not empty",
                DataKind::Write => "a directory",
            };
            return Some(format!("probe = \"{name}\" needs probe_path: {what} below the mount point"));
        }
        if self.gid.is_some() && self.uid.is_none() {
            return Some("probe_gid needs probe_uid".to_owned());
        }
        let wants_read_only = rule.expected_options.as_ref().is_some_and(|options| options.contain("ro"));
        (kind == DataKind::Write && wants_read_only)
            .then(|| "probe = \"write\" cannot work on mounts that are \"ro\" by expected_options".to_owned())
    }

    /// Whether it would write to a mount that was mounted read-only. Not one that the kernel made read-only after an
    /// error: that is a flag of the file system, not of the mount.
    pub(super) fn is_futile_on(&self, mount: &Mount) -> bool {
        let mut options = mount.options.as_bytes().split(|&byte| byte == b',');
        self.kind == Some(DataKind::Write) && options.any(|option| option == b"ro")
    }
}

fn kind(value: &DeValue<'_>) -> Result<Option<DataKind>, String> {
    match &*text(value)? {
        "stat" => Ok(None),
        "read" => Ok(Some(DataKind::Read)),
        "write" => Ok(Some(DataKind::Write)),
        other => Err(format!("use stat, read or write, not {other:?}")),
    }
}

/// A path below the mount point.
fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let text = text(value)?;
    let is_below =
        Path::new(&text).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if text.is_empty() || !is_below || text.contains('\0') {
        return Err(format!("write a path below the mount point, such as \"health/probe\", not {text:?}"));
    }
    if text.len() >= MAX_DATA_PATH {
        return Err(format!("must be shorter than {MAX_DATA_PATH} bytes"));
    }
    Ok(text.into())
}

/// A numerical user or group id; the largest number means none to the kernel.
fn id(value: &DeValue<'_>) -> Result<u32, String> {
    let number = match option_value(value) {
        Ok(OptionValue::Text(text)) => text.to_str().and_then(|text| text.parse().ok()),
        _ => None,
    };
    number.filter(|&id| id != u32::MAX).ok_or_else(|| "must be a numerical id".to_owned())
}
