//! A machine with remedies: fstab, mount(8) with a helper for the FUSE server of the tests, and the directory of locks.

use super::common::{Lab, program};
use mount_status_monitor::children::remedy::{
    Action, BeginError, CallRecord, HowToMount, Remedies, SettingsFrom, StepDetails, StepOutcome, StepReport,
};
use mount_status_monitor::monitor::remedy::{Guard, StepKind};
use nix::mount::{MsFlags, mount};
use platform::{Mount, MountKey, MountTable};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longer than any step that does not hang.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// How the dead mounts of these tests are mounted.
pub(crate) const OPTIONS: &str = "allow_other fsname=nowhere:/x subtype=fault";

/// mount(8) by these settings.
pub(crate) fn by(settings: SettingsFrom) -> HowToMount {
    HowToMount::Program { settings, fresh_option: None, in_scope: false }
}

pub(crate) fn table() -> MountTable {
    MountTable::read().unwrap()
}

/// Of several mounts at a path, the one with the highest id.
pub(crate) fn mount_at(path: &Path) -> Arc<Mount> {
    Arc::clone(table().iter().rfind(|mount| mount.mountpoint == path).expect("a mount"))
}

pub(crate) fn exists(key: MountKey) -> bool {
    table().get(key).is_some()
}

pub(crate) fn directory(lab: &Lab) -> PathBuf {
    lab.scratch_path("remedy")
}

pub(crate) fn remedies(lab: &Lab) -> Remedies {
    Remedies::new(&directory(lab), Some(program())).unwrap()
}

pub(crate) fn is_refused(error: &BeginError, by: &Guard) -> bool {
    matches!(error, BeginError::Refused(guards) if guards.contains(by))
}

/// A FUSE mount that has died in this way. `None` where there are no unique ids.
pub(crate) fn dead_mount(lab: &mut Lab, name: &str, fault: &str) -> Option<Arc<Mount>> {
    let path = lab.mount_fuse_with(name, OPTIONS);
    lab.set_fault(fault, &path);
    let dead = mount_at(&path);
    if dead.key.0 <= u64::from(u32::MAX) >> 1 {
        lab.skip("this kernel has no unique mount ids");
        return None;
    }
    Some(dead)
}

pub(crate) fn details() -> StepDetails {
    StepDetails {
        how: Some(by(SettingsFrom::Fstab)),
        fuse_server: None,
        below: Vec::new(),
        then_shut_down: false,
        timeout: STEP_TIMEOUT,
    }
}

pub(crate) fn make(action: &mut Action<'_>, step: StepKind) -> StepReport {
    make_with(action, step, &details(), &mut |_| {})
}

pub(crate) fn make_with(
    action: &mut Action<'_>,
    step: StepKind,
    details: &StepDetails,
    on_call: &mut dyn FnMut(&CallRecord),
) -> StepReport {
    let report = action.run(step, details, on_call);
    println!("{}: {report:?}", step.as_str());
    report
}

/// Makes these steps, each of which must do what it is for.
pub(crate) fn make_all(action: &mut Action<'_>, steps: &[StepKind]) {
    for &step in steps {
        let report = make(action, step);
        let output = String::from_utf8_lossy(&report.output).into_owned();
        assert_eq!(report.outcome, StepOutcome::Done, "{}: {output}", step.as_str());
    }
}

/// Makes mount(8) serve this path of the lab: `fstab` has this type for it, and a helper that does as `script` says after
/// it has the variables SOURCE, TARGET and FAULTFS. False where the files of the system cannot be replaced.
pub(crate) fn provide_mount(lab: &Lab, path: &Path, fstype: &str, script: &str) -> bool {
    let fstab = lab.write_file("fstab", format!("nowhere:/x {} {fstype} defaults 0 0\n", path.display()));
    let bind = MsFlags::MS_BIND;
    let none = None::<&str>;
    if let Err(error) = mount(Some(&fstab), "/etc/fstab", none, bind, none) {
        lab.skip(&format!("/etc/fstab cannot be replaced: {error}"));
        return false;
    }
    let (upper, work) = (lab.scratch_path("upper"), lab.scratch_path("work"));
    for directory in [&upper, &work] {
        fs::create_dir(directory).unwrap();
    }
    let options = format!("lowerdir=/usr/sbin,upperdir={},workdir={}", upper.display(), work.display());
    let overlaid = mount(Some("x"), "/usr/sbin", Some("overlay"), MsFlags::empty(), Some(options.as_str()));
    if let Err(error) = overlaid {
        lab.skip(&format!("/usr/sbin cannot be extended by a helper of mount(8): {error}"));
        return false;
    }
    let faultfs = program().with_file_name("examples").join("faultfs");
    let text = format!("#!/bin/sh\nSOURCE=$1\nTARGET=$2\nFAULTFS={}\n{script}\n", faultfs.display());
    provide_program("mount.fuse.fault", &text);
    true
}

/// After [`provide_mount`].
pub(crate) fn provide_program(name: &str, script: &str) {
    let path = Path::new("/usr/sbin").join(name);
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A helper that starts a server of its own, which stays.
pub(crate) const SERVE: &str = r#"
(echo "mount $TARGET allow_other fsname=$SOURCE subtype=fault${MORE:+ $MORE}"; exec sleep 1000) |
    setsid "$FAULTFS" >/dev/null 2>&1 &
until grep -q " $TARGET " /proc/self/mountinfo; do sleep 0.02; done"#;

/// The directory under a mount, with whatever was written there, at another path.
pub(crate) fn underneath(lab: &Lab, path: &Path) -> PathBuf {
    let view = lab.scratch_path("underneath");
    lab.bind_mount(path.parent().unwrap(), &view);
    view.join(path.file_name().unwrap())
}
