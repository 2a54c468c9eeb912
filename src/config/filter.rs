//! Which mounts are watched at all.

use platform::Mount;
use regex::bytes::Regex;
use std::os::unix::ffi::OsStrExt;

/// The type that is not watched unless somebody wants it: an automount trigger stands for a mount, it is none.
pub const DEFAULT_FS_TYPES_EXCLUDE: &str = "^autofs$";

/// What is said when the [`Filter`] leaves nothing.
pub const NO_MOUNT_LEFT: &str = "the include and exclude options leave no mount";

/// Which mounts are watched at all: decided from the mount table, before a mount is ever touched.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// If set, only mount points that match.
    pub mount_points_include: Option<Regex>,
    /// If set, no mount points that match.
    pub mount_points_exclude: Option<Regex>,
    /// If set, only types that match.
    pub fs_types_include: Option<Regex>,
    /// If set, no types that match.
    pub fs_types_exclude: Option<Regex>,
}

impl Filter {
    /// What is watched if nobody says otherwise.
    #[must_use]
    pub fn usual() -> Filter {
        Filter { fs_types_exclude: super::name_regex(DEFAULT_FS_TYPES_EXCLUDE).ok(), ..Filter::default() }
    }

    /// Is this mount to be watched?
    #[must_use]
    pub fn admits(&self, mount: &Mount) -> bool {
        let (path, fstype) = (mount.mountpoint.as_os_str().as_bytes(), mount.fstype.as_bytes());
        let within =
            |include: &Option<Regex>, name| include.as_ref().is_none_or(|regex| regex.is_match(name));
        let without =
            |exclude: &Option<Regex>, name| !exclude.as_ref().is_some_and(|regex| regex.is_match(name));
        within(&self.mount_points_include, path)
            && without(&self.mount_points_exclude, path)
            && within(&self.fs_types_include, fstype)
            && without(&self.fs_types_exclude, fstype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::name_regex;
    use crate::config::testing::mount;
    use std::ffi::OsStr;

    #[test]
    fn filters_match_bytes() {
        let odd = mount(1, "/mnt/\u{e9}", "nfs4");
        let latin = Mount { mountpoint: OsStr::from_bytes(b"/mnt/\xe9\n").into(), ..(*odd).clone() };
        for (pattern, utf8, bytes) in [
            ("^/mnt/.+$", true, true),
            ("nt", true, true),
            ("é", true, false),
            (r"\xe9", false, true),
            ("^/x", false, false),
        ] {
            let include =
                Filter { mount_points_include: Some(name_regex(pattern).unwrap()), ..Filter::default() };
            assert_eq!((include.admits(&odd), include.admits(&latin)), (utf8, bytes), "{pattern}");
            let exclude = Filter { mount_points_exclude: include.mount_points_include, ..Filter::default() };
            assert_eq!((exclude.admits(&odd), exclude.admits(&latin)), (!utf8, !bytes), "{pattern}");
        }
        let types = Filter { fs_types_include: Some(name_regex("^nfs").unwrap()), ..Filter::default() };
        assert!(types.admits(&odd) && !types.admits(&mount(1, "/", "ext4")));
        assert_eq!(name_regex("(").unwrap_err(), "not a regular expression: unclosed group");
    }
}
