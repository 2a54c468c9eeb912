//! The programs that mount, and the probes of what they have mounted.

use super::mount_unit::UnitSettings;
use super::wire::Response;
use platform::collect::connection;
use platform::remedy::FUSE_CONNECTIONS;
use platform::{DeviceNumber, Mount, MountKey, MountTable, ProbeOutcome, Target, probe};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::{io, thread};

/// Where the programs are, the helpers of mount(8) too. The child has no environment.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Probes in a row that must respond: one may be answered by what was sent to the old mount.
const PROBES: usize = 2;

/// How a mount is made again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HowToMount {
    /// mount(8), at a private place or where it belongs.
    Program {
        settings: SettingsFrom,
        /// The option that keeps it off the old superblock: as long as that lives, it would be found again.
        fresh_option: Option<String>,
        /// A server that it starts must not live in the control group of this process.
        in_scope: bool,
    },
    /// Starts this unit of systemd; never restarts it, which would unmount first. It goes on if the step is killed.
    Unit(String),
}

/// Where it is written how a mount is made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SettingsFrom {
    /// The line of fstab with this mount point.
    Fstab,
    /// A `.mount` unit with a file of its own.
    MountUnit(String),
}

/// The programs write to this pipe, which a FUSE server that they leave behind may keep open.
pub(super) struct Programs<'a> {
    pub(super) output: &'a OwnedFd,
}

impl Programs<'_> {
    /// The command that mounts `path`, below `place` or where it belongs.
    pub(super) fn mount(
        &self,
        how: &HowToMount,
        path: &Path,
        place: Option<&Path>,
    ) -> io::Result<(Vec<OsString>, Command)> {
        let words = match (how, place) {
            (HowToMount::Unit(_), Some(_)) => return Err(io::ErrorKind::InvalidInput.into()),
            (HowToMount::Unit(name), None)
            | (HowToMount::Program { settings: SettingsFrom::MountUnit(name), .. }, None) => {
                strings(&["systemctl", "start", "--", name])
            }
            (HowToMount::Program { settings, fresh_option, in_scope }, place) => {
                let unit = match settings {
                    SettingsFrom::Fstab => None,
                    SettingsFrom::MountUnit(name) => Some(self.read_unit(name)?),
                };
                mount_words(unit.as_ref(), fresh_option.as_deref(), *in_scope, path, place)
            }
        };
        let command = self.command(&words)?;
        Ok((words, command))
    }

    fn read_unit(&self, name: &str) -> io::Result<UnitSettings> {
        let mut command = self.command(&strings(&["systemctl", "cat", "--", name]))?;
        let found = command.stdout(Stdio::piped()).output()?;
        succeeded(found.status)?;
        let settings = UnitSettings::parse(&String::from_utf8_lossy(&found.stdout));
        settings.ok_or_else(|| io::Error::other(format!("it is not known what {name} mounts")))
    }

    /// In this process group.
    fn command(&self, words: &[OsString]) -> io::Result<Command> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("PATH", SEARCH_PATH).env("LC_ALL", "C").current_dir("/");
        command.stdin(Stdio::null());
        command.stdout(self.output.try_clone()?).stderr(self.output.try_clone()?);
        Ok(command)
    }
}

fn strings(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// The command line of mount(8): by what a unit says, or by the line of fstab.
fn mount_words(
    unit: Option<&UnitSettings>,
    fresh_option: Option<&str>,
    in_scope: bool,
    path: &Path,
    place: Option<&Path>,
) -> Vec<OsString> {
    let mut words = Vec::new();
    if in_scope {
        words.extend(strings(&[
            "systemd-run",
            "--scope",
            "--quiet",
            "--collect",
            "--slice=system.slice",
            "--",
        ]));
    }
    words.push("mount".into());
    let options = unit.and_then(|unit| unit.options.as_deref()).into_iter().chain(fresh_option);
    let options: Vec<&str> = options.collect();
    if !options.is_empty() {
        words.extend(strings(&["-o", &options.join(",")]));
    }
    if place.is_some() {
        // Without looking at the path, which leads to the dead mount, nor recording the private place.
        words.extend(strings(&["--no-canonicalize", "--no-mtab"]));
    }
    match (unit, place) {
        (Some(unit), _) => {
            if let Some(fstype) = &unit.fstype {
                words.extend(strings(&["-t", fstype]));
            }
            words.extend(strings(&["--", &unit.what]));
            words.push(place.map_or_else(|| path.to_owned(), |place| inside(place, path)).into());
        }
        (None, Some(place)) => {
            words.extend(["--target-prefix".into(), place.into(), "--".into(), path.into()]);
        }
        (None, None) => words.extend(["--".into(), path.into()]),
    }
    words
}

/// An exit status as an error.
pub(super) fn succeeded(status: ExitStatus) -> io::Result<()> {
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// The topmost mount at this path.
pub(super) fn topmost(table: &MountTable, path: &Path) -> Option<Arc<Mount>> {
    let here: Vec<&Arc<Mount>> = table.iter().filter(|mount| mount.mountpoint == path).collect();
    let is_covered =
        |mount: &Mount| here.iter().any(|other| other.parent == mount.id && other.id != mount.id);
    here.iter().find(|mount| !is_covered(mount)).map(|mount| Arc::clone(mount))
}

/// Probes a mount as often as needed to know that it responds; it may hang.
pub(super) fn probe_repeatedly(mount: &Mount) -> Vec<Response> {
    let probe_once = || match probe_in_thread(Target::for_mount(mount)) {
        ProbeOutcome::Alive(_) | ProbeOutcome::DataAlive { .. } => Response::Alive,
        ProbeOutcome::Failed { errno, .. } => Response::Failed(errno.0),
        ProbeOutcome::WrongMount => Response::WrongMount,
    };
    (0..PROBES).map(|_| probe_once()).collect()
}

/// A thread that becomes the owner of a mount must end after the probe.
fn probe_in_thread(target: Target) -> ProbeOutcome {
    let path = PathBuf::from(target.path.as_os_str());
    let target = target.with_path(path);
    let probe = move || probe::probe_in_own_thread(&target, |_| {});
    thread::spawn(probe).join().unwrap_or(ProbeOutcome::WrongMount)
}

/// The mounts below this one, and those stacked on it.
pub(super) fn descendants(table: &MountTable, key: MountKey) -> impl Iterator<Item = &Arc<Mount>> {
    let mut children: FxHashMap<u32, Vec<&Arc<Mount>>> = FxHashMap::default();
    for mount in table.iter().filter(|mount| mount.parent != mount.id) {
        children.entry(mount.parent).or_default().push(mount);
    }
    let mut waiting: Vec<u32> = table.get(key).map(|mount| mount.id).into_iter().collect();
    let mut found = Vec::new();
    while let Some(id) = waiting.pop() {
        let below = children.remove(&id).unwrap_or_default();
        waiting.extend(below.iter().map(|mount| mount.id));
        found.extend(below);
    }
    found.into_iter()
}

/// Whether the superblock of a FUSE mount is proved gone. The next one may have its number again.
pub(super) fn superblock_is_gone(device: DeviceNumber, table: &MountTable) -> bool {
    let shows_connections = table
        .iter()
        .any(|mount| *mount.fstype == *"fusectl" && mount.mountpoint == Path::new(FUSE_CONNECTIONS));
    let entry = Path::new(FUSE_CONNECTIONS).join(connection(device).to_string());
    shows_connections
        && !table.iter().any(|mount| mount.device_number == device)
        && matches!(entry.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Where a mount for `path` is made below a private place.
pub(super) fn inside(place: &Path, path: &Path) -> PathBuf {
    place.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_mounts_where_it_should() {
        let path = Path::new("/data");
        let place = Some(Path::new("/run/p"));
        let line = |unit, option, in_scope, place| {
            let words = mount_words(unit, option, in_scope, path, place);
            let words: Vec<String> = words.into_iter().map(|word| word.into_string().unwrap()).collect();
            words.join(" ")
        };
        assert_eq!(line(None, None, false, None), "mount -- /data");
        assert_eq!(
            line(None, Some("nosharecache"), false, place),
            "mount -o nosharecache --no-canonicalize --no-mtab --target-prefix /run/p -- /data"
        );
        let in_scope = line(None, None, true, None);
        assert!(in_scope.starts_with("systemd-run --scope ") && in_scope.ends_with(" -- mount -- /data"));
        let unit = UnitSettings {
            what: "nas:/data".into(),
            fstype: Some("nfs4".into()),
            options: Some("ro,hard".into()),
        };
        assert_eq!(
            line(Some(&unit), Some("nosharecache"), false, place),
            "mount -o ro,hard,nosharecache --no-canonicalize --no-mtab -t nfs4 -- nas:/data /run/p/data"
        );
    }
}
