//! Unmounting as it will be done for remediation, on this kernel.

#![cfg(all(target_os = "linux", not(feature = "interval")))]

mod common;

use common::{Watched, at, in_namespace, tmpfs};
use nix::errno::Errno;
use platform::{Unmount, unmount};
use std::fs::File;

#[test]
fn a_mount_in_use_goes_only_out_of_sight() {
    in_namespace("a_mount_in_use_goes_only_out_of_sight", |scratch| {
        let path = tmpfs(scratch.join("busy"));
        let mut watched = Watched::new();
        let shown = |watched: &mut Watched| at(&watched.watch.read().expect("read"), &path).is_some();
        let held = File::create(path.join("file")).expect("a file in it");
        for how in [Unmount::Plain, Unmount::Forced] {
            let error =
                unmount(&path, how).expect_err("it is in use, and has no server that could be given up");
            assert_eq!(error.raw_os_error(), Some(Errno::EBUSY as i32), "{how:?}");
            assert!(shown(&mut watched), "{how:?}");
        }
        unmount(&path, Unmount::Detached).expect("always");
        assert!(!shown(&mut watched));
        drop(held);
    });
}

#[test]
fn a_mount_nobody_uses_goes_and_nothing_else_does() {
    in_namespace("a_mount_nobody_uses_goes_and_nothing_else_does", |scratch| {
        let path = tmpfs(scratch.join("free"));
        let link = scratch.join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let error = unmount(&link, Unmount::Detached).expect_err("a link is not followed");
        assert_eq!(error.raw_os_error(), Some(Errno::EINVAL as i32));
        unmount(&path, Unmount::Plain).expect("nobody uses it");
        let error = unmount(&path, Unmount::Plain).expect_err("it is gone");
        assert_eq!(error.raw_os_error(), Some(Errno::EINVAL as i32));
        let nul = std::path::Path::new("/\0");
        assert_eq!(
            unmount(nul, Unmount::Plain).expect_err("no path").kind(),
            std::io::ErrorKind::InvalidInput
        );
    });
}
