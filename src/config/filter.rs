//! The include and exclude options.

use crate::children::remedy::REMEDY_DIRECTORY;
use platform::Mount;
use regex::bytes::Regex;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

/// Default of `fs_types_exclude`: an automount trigger is not a mount of storage.
pub(super) const DEFAULT_FS_TYPES_EXCLUDE: &str = "^autofs$";

/// The same with `preset = "storage"`: pseudo file systems and images, as node_exporter leaves them out.
pub(super) const STORAGE_FS_TYPES_EXCLUDE: &str = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|\
    efivarfs|erofs|fuse\\.lxcfs|fuse\\.portal|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|pstore|rpc_pipefs|\
    securityfs|selinuxfs|squashfs|sysfs|tracefs)$";
/// Likewise, the default of `mount_points_exclude` with this preset: what the system and containers mount for themselves.
pub(super) const STORAGE_MOUNT_POINTS_EXCLUDE: &str =
    "^/(dev|proc|sys|run/credentials/.+|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";

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
        // A mount that a remedy makes is watched when it has its place.
        let is_private = mount.mountpoint.starts_with(REMEDY_DIRECTORY);
        !is_private
            && admits(&self.mount_points_include, &self.mount_points_exclude, path)
            && admits(&self.fs_types_include, &self.fs_types_exclude, fstype)
    }
}

/// Which mounts are left out if the options say nothing about them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Preset {
    #[default]
    All,
    Storage,
}

impl FromStr for Preset {
    type Err = String;
    fn from_str(name: &str) -> Result<Preset, String> {
        match name {
            "all" => Ok(Preset::All),
            "storage" => Ok(Preset::Storage),
            _ => Err("use all or storage".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::mount;
    use crate::config::values::name_regex;
    use std::ffi::OsStr;

    #[test]
    fn private_places_of_remedies_are_never_watched() {
        let admits = |path: &str| Filter::default().admits(&mount(1, path, "nfs4"));
        assert!(!admits("/run/mount_status_monitor/remedy/new-1/data"));
        assert!(admits("/run/mount_status_monitor/remedy2") && admits("/data"));
    }

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
