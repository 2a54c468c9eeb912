//! Unmounting on this kernel.

#![cfg(all(target_os = "linux", not(feature = "interval")))]

mod common;

use common::{Watched, at, in_namespace, tmpfs};
use nix::errno::Errno;
use platform::{Unmount, unmount};
use std::fs::File;

#[test]
fn busy_mount_can_only_be_detached() {
    in_namespace(|scratch| {
        let path = tmpfs(scratch.join("busy"));
        let mut watched = Watched::new();
        let shown = |watched: &mut Watched| at(&watched.read(), &path).is_some();
        let open_file = File::create(path.join("file")).expect("a file in it");
        for how in [Unmount::Plain, Unmount::Forced] {
            let error = unmount(&path, how).expect_err("it is busy, and has no server to abort");
            assert_eq!(error.raw_os_error(), Some(Errno::EBUSY as i32), "{how:?}");
            assert!(shown(&mut watched), "{how:?}");
        }
        unmount(&path, Unmount::Detached).expect("detaching a busy mount");
        assert!(!shown(&mut watched));
        drop(open_file);
    });
}

#[test]
fn idle_mount_is_unmounted_and_a_link_is_not_followed() {
    in_namespace(|scratch| {
        let path = tmpfs(scratch.join("free"));
        let link = scratch.join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let error = unmount(&link, Unmount::Detached).expect_err("links are not followed");
        assert_eq!(error.raw_os_error(), Some(Errno::EINVAL as i32));
        unmount(&path, Unmount::Plain).expect("it is idle");
        let error = unmount(&path, Unmount::Plain).expect_err("it is gone");
        assert_eq!(error.raw_os_error(), Some(Errno::EINVAL as i32));
        let nul = std::path::Path::new("/\0");
        assert_eq!(
            unmount(nul, Unmount::Plain).expect_err("no path").kind(),
            std::io::ErrorKind::InvalidInput
        );
    });
}
