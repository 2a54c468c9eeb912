//! The contract of the back-ends, on the system where this runs.

use mio::{Events, Interest, Poll, Token};
use platform::{
    Changes, FileWatch, MountSource, MountTable, MountTree, MountWatch, OWN_MOUNT_TABLE, ProbeOutcome,
    Target, probe, process_stats,
};
use std::path::Path;
use std::time::{Duration, Instant};

/// For an expected event on a busy machine.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

fn watched() -> (MountWatch, Poll, MountTable) {
    let mut watch = MountWatch::open(Path::new(OWN_MOUNT_TABLE), MountSource::default()).expect("open");
    let poll = Poll::new().expect("poll");
    poll.registry().register(&mut watch, Token(0), Interest::READABLE).expect("register");
    let table = watch.read(&MountTree::default()).expect("read");
    (watch, poll, table)
}

#[test]
fn root_is_in_the_table_and_responds() {
    let (mut watch, _poll, table) = watched();
    let root = table.iter().find(|mount| mount.mountpoint == Path::new("/")).expect("there is a root");
    let outcome = probe::probe_mount(&Target::for_mount(root), |_| {});
    let ProbeOutcome::Alive(usage) = outcome else { panic!("/ does not respond: {outcome:?}") };
    assert!(usage.block_size > 0 && usage.blocks > 0, "{usage:?}");
    let wrong = Target { path: "/no/such/path".into(), ..Target::for_mount(root) };
    assert_eq!(probe::probe_mount(&wrong, |_| {}), ProbeOutcome::WrongMount);
    let again = watch.read(&MountTree::new(&table)).expect("read again");
    let same = again.get(root.key).expect("the key is stable");
    assert_eq!((same.id, same.parent, &same.mountpoint), (root.id, root.parent, &root.mountpoint));
}

#[test]
fn every_mount_has_its_own_id_a_path_and_a_type() {
    let (_, _, table) = watched();
    let mut ids: Vec<u32> = table.iter().map(|mount| mount.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), table.len(), "duplicate ids: {table:?}");
    for mount in &table {
        assert!(mount.mountpoint.is_absolute() && !mount.fstype.is_empty(), "{mount:?}");
    }
}

#[test]
fn changed_file_is_reported() {
    let folder = std::env::temp_dir().join(format!("msm-native-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("config.toml");
    std::fs::write(&file, "1").expect("a file");
    let mut poll = Poll::new().expect("poll");
    let mut watch = FileWatch::new().expect("watch");
    poll.registry().register(&mut watch, Token(1), Interest::READABLE).expect("register");
    watch.set_paths(&[file.clone(), folder.clone(), folder.join("later")]).expect("set");
    let _ = watch.take_changed().expect("take");
    // As editors do: another file gets the old name.
    let new = folder.join("new");
    std::fs::write(&new, "22").expect("another file");
    std::fs::rename(&new, &file).expect("rename");
    let mut events = Events::with_capacity(4);
    let start = Instant::now();
    while !watch.take_changed().expect("take") {
        assert!(start.elapsed() < EVENT_TIMEOUT, "no change was reported");
        poll.poll(&mut events, Some(EVENT_TIMEOUT)).expect("poll");
    }
    std::fs::remove_dir_all(&folder).expect("clean up");
}

#[test]
fn process_stats_are_plausible_if_available() {
    let Some(stats) = process_stats() else { return };
    assert!(stats.resident_bytes > 100_000 && stats.threads >= 1 && stats.open_fds >= 3, "{stats:?}");
    assert!(stats.max_fds >= stats.open_fds, "{stats:?}");
}

#[test]
fn new_watch_reports_no_unresponsive_server() {
    let (mut watch, _poll, _) = watched();
    assert!(!watch.take_changes().server_not_responding || cfg!(not(target_os = "linux")));
    assert_ne!(Changes { table: true, server_not_responding: false }, Changes::default());
}

/// For systems without `kernel_events`. Needs the right to mount.
#[cfg(not(target_os = "linux"))]
#[test]
fn mount_and_unmount_are_reported() {
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
        eprintln!("SKIPPED mount_and_unmount_are_reported: no right to mount");
        return;
    }
    let point = std::fs::read_link(&point).unwrap_or(point);
    let mut events = Events::with_capacity(4);
    let mut until = |len: usize| {
        let start = Instant::now();
        loop {
            poll.poll(&mut events, Some(EVENT_TIMEOUT)).expect("poll");
            let changed = watch.take_changes().table;
            let table = watch.read(&MountTree::default()).expect("read");
            if changed && table.len() == len {
                return table;
            }
            assert!(start.elapsed() < EVENT_TIMEOUT, "no event, or not the right table: {table:?}");
        }
    };
    let table = until(before.len() + 1);
    let new = table.iter().find(|mount| before.get(mount.key).is_none()).expect("a new mount");
    assert_eq!(new.mountpoint.file_name(), point.file_name());
    unmount(&new.mountpoint, Unmount::Forced).expect("unmount");
    until(before.len());
    let _ = std::fs::remove_dir_all(&folder);
}
