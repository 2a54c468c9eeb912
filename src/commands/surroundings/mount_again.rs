//! How a mount is made: by a mount unit of systemd, a line of fstab, or autofs.

use super::TIMEOUT;
use crate::children::files::{FileSession, FileWorker};
use crate::config::{Config, fstab};
use crate::monitor::remedy::Origin;
use crate::render::Surroundings;
use crate::render::escape::escape_os;
use platform::{FsKind, Mount, MountTable};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where systemd looks for units, in its order.
const UNIT_DIRECTORIES: &[&str] = &[
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

pub(super) fn add(config: &Config, mount: &Mount, table: &MountTable, found: &mut Surroundings) {
    let path = &*mount.mountpoint;
    let worker = FileWorker::new();
    let in_files =
        worker.begin(TIMEOUT).and_then(|mut session| add_from_files(config, path, &mut session, found));
    if let Err(error) = &in_files {
        found.add_not_known(format!("fstab and units of systemd: {error}"));
    }
    if let Some(advice) = advice_of_autofs(mount, table) {
        found.add_mount_advice(advice);
    } else if let Ok(false) = in_files {
        found.add_mount_advice(
            "as it was mounted before: neither fstab nor a mount unit of systemd nor autofs has it"
                .to_owned(),
        );
    }
}

/// What made the mount, as far as fstab, the units of systemd and the mount table tell it.
pub(in crate::commands) fn origin(config: &Config, mount: &Mount, table: &MountTable) -> io::Result<Origin> {
    if let Some(trigger) = trigger(mount, table) {
        return Ok(Origin::Autofs { trigger: trigger.mountpoint.to_path_buf() });
    }
    let worker = FileWorker::new();
    let mut session = worker.begin(TIMEOUT)?;
    let path = &*mount.mountpoint;
    let line = optional(session.read(config.fstab_path()))?.and_then(|text| fstab::line_about(&text, path));
    if let Some((line, _)) = line {
        return Ok(Origin::Fstab { line });
    }
    let unit = unit_name(path, ".mount");
    Ok(match unit_file(&unit, &mut session)? {
        Some(_) => Origin::MountUnit { name: unit.display().to_string() },
        None => Origin::Unknown,
    })
}

fn unit_file(unit: &Path, session: &mut FileSession<'_>) -> io::Result<Option<PathBuf>> {
    for directory in UNIT_DIRECTORIES {
        let file = Path::new(directory).join(unit);
        if optional(session.read(&file))?.is_some() {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn trigger<'t>(mount: &Mount, table: &'t MountTable) -> Option<&'t Arc<Mount>> {
    table.iter().find(|other| other.kind() == FsKind::Autofs && other.id == mount.parent)
}

/// If the mount is on a trigger of autofs, of systemd (`systemd-1`) or another.
fn advice_of_autofs(mount: &Mount, table: &MountTable) -> Option<String> {
    let trigger = trigger(mount, table)?;
    let (point, map) = (escape_os(&trigger.mountpoint), escape_os(&trigger.device));
    Some(format!("autofs mounts it at the next access (trigger at {point}, map {map})"))
}

/// Returns whether there is any.
fn add_from_files(
    config: &Config,
    path: &Path,
    session: &mut FileSession<'_>,
    found: &mut Surroundings,
) -> io::Result<bool> {
    let mut is_known = false;
    let fstab = config.fstab_path();
    if let Some(text) = optional(session.read(fstab))?
        && let Some((line, about)) = fstab::line_about(&text, path)
    {
        found.add_mount_command("mount", path, format!("{} line {line}: {about}", escape_os(fstab)));
        is_known = true;
    }
    for suffix in [".mount", ".automount"] {
        let unit = unit_name(path, suffix);
        if let Some(file) = unit_file(&unit, session)? {
            let effect = format!("the unit {} of systemd", escape_os(&file));
            found.add_mount_command("systemctl start", &unit, effect);
            is_known = true;
        }
    }
    Ok(is_known)
}

/// A file that cannot be read is as good as none, except when its storage does not answer.
fn optional(text: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    match text {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(error),
        Err(_) => Ok(None),
    }
}

/// The name of a unit for this path; see systemd.unit(5), "String escaping for inclusion in unit names".
pub(in crate::commands) fn unit_name(path: &Path, suffix: &str) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let names: Vec<&[u8]> = bytes.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
    let mut unit = if names.is_empty() { "-".to_owned() } else { String::new() };
    for (n, name) in names.iter().enumerate() {
        if n > 0 {
            unit.push('-');
        }
        for &byte in *name {
            let is_kept = byte.is_ascii_alphanumeric() || b":_.".contains(&byte);
            match char::from(byte) {
                c if is_kept && !(c == '.' && unit.is_empty()) => unit.push(c),
                _ => unit += &format!("\\x{byte:02x}"),
            }
        }
    }
    PathBuf::from(unit + suffix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::mount;

    #[test]
    fn trigger_of_autofs_is_the_parent() {
        let with = |key, path, fstype, id, parent| {
            let mount = Mount::clone(&mount(key, path, fstype));
            Arc::new(Mount { id, parent, device: std::ffi::OsStr::new("/etc/auto.net").into(), ..mount })
        };
        let table = MountTable::new(vec![
            with(1, "/", "ext4", 11, 10),
            with(2, "/net", "autofs", 12, 11),
            with(3, "/net/nas", "nfs4", 13, 12),
            with(4, "/srv", "nfs4", 14, 11),
        ]);
        let advice = |key| advice_of_autofs(table.get(platform::MountKey(key)).unwrap(), &table);
        let expected = "autofs mounts it at the next access (trigger at /net, map /etc/auto.net)";
        assert_eq!(advice(3).as_deref(), Some(expected));
        assert_eq!(advice(4), None);
    }

    #[test]
    fn unit_names_are_those_of_systemd() {
        for (path, unit) in [
            ("/", "-.mount"),
            ("/srv/data", "srv-data.mount"),
            ("/.hidden/a.b", "\\x2ehidden-a.b.mount"),
            ("/srv/a-b c", "srv-a\\x2db\\x20c.mount"),
            ("/ä", "\\xc3\\xa4.mount"),
        ] {
            assert_eq!(unit_name(Path::new(path), ".mount"), Path::new(unit), "{path}");
        }
    }
}
