//! The include and exclude options.

use platform::Mount;
use regex::bytes::Regex;
use std::os::unix::ffi::OsStrExt;

/// Default of `fs_types_exclude`: an automount trigger is not a mount of storage.
pub(super) const DEFAULT_FS_TYPES_EXCLUDE: &str = "^autofs$";

pub const NO_MOUNT_LEFT: &str = "the include and exclude options leave no mount";

/// Selects the mounts to watch. It uses only the mount table, so an excluded mount is never touched.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub mount_points_include: Option<Regex>,
    pub mount_points_exclude: Option<Regex>,
    pub fs_types_include: Option<Regex>,
    pub fs_types_exclude: Option<Regex>,
}

impl Filter {
    pub fn admits(&self, mount: &Mount) -> bool {
        let (path, fstype) = (mount.mountpoint.as_os_str().as_bytes(), mount.fstype.as_bytes());
        let admits = |include: &Option<Regex>, exclude: &Option<Regex>, name| {
            include.as_ref().is_none_or(|regex| regex.is_match(name))
                && exclude.as_ref().is_none_or(|regex| !regex.is_match(name))
        };
        admits(&self.mount_points_include, &self.mount_points_exclude, path)
            && admits(&self.fs_types_include, &self.fs_types_exclude, fstype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::mount;
    use crate::config::values::name_regex;
    use std::ffi::OsStr;

    #[test]
    fn patterns_match_bytes_that_are_not_utf8() {
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
