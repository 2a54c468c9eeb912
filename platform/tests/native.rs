//! The contract, held on whichever system this runs: for those that are rarely at hand.

use mio::{Events, Interest, Poll, Token};
use platform::{
    Changes, FileWatch, MountTable, MountWatch, OWN_MOUNT_TABLE, ProbeOutcome, Target, probe, process_stats,
};
use std::path::Path;
use std::time::{Duration, Instant};

/// Long enough for an event that must come, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn watched() -> (MountWatch, Poll, MountTable) {
    let mut watch = MountWatch::open(Path::new(OWN_MOUNT_TABLE)).expect("open");
    let poll = Poll::new().expect("poll");
    poll.registry().register(&mut watch, Token(0), Interest::READABLE).expect("register");
    let table = watch.read().expect("read");
    (watch, poll, table)
}

#[test]
fn the_root_is_in_the_table_and_answers() {
    let (mut watch, _poll, table) = watched();
    let root = table.iter().find(|mount| mount.mountpoint == Path::new("/")).expect("there is a root");
    let outcome = probe::probe_mount(&Target::for_mount(root), |_| {});
    let ProbeOutcome::Alive(usage) = outcome else { panic!("/ does not answer: {outcome:?}") };
    assert!(usage.block_size > 0 && usage.blocks > 0, "{usage:?}");
    let astray = Target { path: "/no/such/path".into(), ..Target::for_mount(root) };
    assert_eq!(probe::probe_mount(&astray, |_| {}), ProbeOutcome::WrongMount);
    let again = watch.refresh().expect("read again");
    let same = again.get(root.key).expect("its key stays");
    assert_eq!((same.id, same.parent, &same.mountpoint), (root.id, root.parent, &root.mountpoint));
}

#[test]
fn every_mount_has_a_key_a_path_and_its_parent() {
    let (_, _, table) = watched();
    let mut ids: Vec<u32> = table.iter().map(|mount| mount.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), table.len(), "ids are shared: {table:?}");
    for mount in &table {
        assert!(mount.mountpoint.is_absolute() && !mount.fstype.is_empty(), "{mount:?}");
    }
}

#[test]
fn a_changed_file_is_told() {
    let folder = std::env::temp_dir().join(format!("msm-native-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("config.toml");
    std::fs::write(&file, "1").expect("a file");
    let mut poll = Poll::new().expect("poll");
    let mut watch = FileWatch::new().expect("watch");
    poll.registry().register(&mut watch, Token(1), Interest::READABLE).expect("register");
    watch.set_paths(&[file.clone(), folder.clone(), folder.join("later")]).expect("set");
    let _ = watch.take_changed().expect("take");
    // As editors do it: another file under the old name.
    let new = folder.join("new");
    std::fs::write(&new, "22").expect("another file");
    std::fs::rename(&new, &file).expect("rename");
    let mut events = Events::with_capacity(4);
    let start = Instant::now();
    while !watch.take_changed().expect("take") {
        assert!(start.elapsed() < PATIENCE, "nothing was told");
        poll.poll(&mut events, Some(PATIENCE)).expect("poll");
    }
    std::fs::remove_dir_all(&folder).expect("clean up");
}

#[test]
fn what_this_process_uses_is_told_or_not() {
    let Some(used) = process_stats() else { return };
    assert!(used.resident_bytes > 100_000 && used.threads >= 1 && used.open_fds >= 3, "{used:?}");
    assert!(used.max_fds >= used.open_fds, "{used:?}");
}

#[test]
fn nothing_has_happened_yet() {
    let (mut watch, _poll, _) = watched();
    assert!(!watch.take_changes().server_not_responding || cfg!(not(target_os = "linux")));
    assert_ne!(Changes { table: true, server_not_responding: false }, Changes::default());
}

/// On Linux `kernel_events` has far more of this, in namespaces of its own. Here only who may mount can run it.
#[cfg(not(target_os = "linux"))]
#[test]
fn a_mount_that_comes_and_goes_is_told() {
    use platform::{Unmount, unmount};
    use std::process::Command;
    let folder = std::env::temp_dir().join(format!("msm-mount-{}", std::process::id()));
    let point = folder.join("point");
    std::fs::create_dir_all(&point).expect("a folder");
    let (mut watch, mut poll, before) = watched();
    let image = folder.join("image.dmg");
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
    };
    let mounted = if cfg!(target_os = "macos") {
        run(
            "hdiutil",
            &[
                "create".as_ref(),
                "-size".as_ref(),
                "4m".as_ref(),
                "-fs".as_ref(),
                "HFS+".as_ref(),
                image.as_ref(),
            ],
        ) && run("hdiutil", &["attach".as_ref(), "-mountpoint".as_ref(), point.as_ref(), image.as_ref()])
    } else {
        run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "tmpfs".as_ref(), point.as_ref()])
    };
    if !mounted {
        eprintln!("SKIPPED a_mount_that_comes_and_goes_is_told: nothing can be mounted here");
        return;
    }
    let point = std::fs::read_link(&point).unwrap_or(point);
    let mut events = Events::with_capacity(4);
    let mut until = |len: usize| {
        let start = Instant::now();
        loop {
            poll.poll(&mut events, Some(PATIENCE)).expect("poll");
            let changed = watch.take_changes().table;
            let table = watch.read().expect("read");
            if changed && table.len() == len {
                return table;
            }
            assert!(start.elapsed() < PATIENCE, "no event, or not the right table: {table:?}");
        }
    };
    let table = until(before.len() + 1);
    let new = table.iter().find(|mount| before.get(mount.key).is_none()).expect("it is new");
    assert_eq!(new.mountpoint.file_name(), point.file_name());
    unmount(&new.mountpoint, Unmount::Forced).expect("unmount");
    until(before.len());
    let _ = std::fs::remove_dir_all(&folder);
}
