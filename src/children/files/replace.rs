//! Replaces a file atomically.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Not synced: after a crash of the machine the next run writes the file again. The name of the temporary file contains
/// `owner`, the process id of the daemon, so that a child that was killed leaves at most one.
pub(super) fn replace(path: &Path, owner: u32, mode: u32, text: &[u8]) -> io::Result<()> {
    let no_name = || io::Error::new(ErrorKind::InvalidInput, "the path has no file name");
    let name = path.file_name().ok_or_else(no_name)?;
    // node_exporter does not read it: it begins with a dot and does not end in .prom.
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{owner}.tmp"));
    let temporary = path.with_file_name(temporary);
    write(&temporary, mode, text).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary); // may not exist
    })
}

fn write(temporary: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
    // An earlier child, or a process with the same id, may have left this file. A link prepared by another user is not
    // followed.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
    file.set_permissions(Permissions::from_mode(mode))?; // regardless of the umask
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODE: u32 = 0o640;

    #[test]
    fn no_temporary_file_remains_after_success_or_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mounts.prom");
        for text in ["one\n", "two\n"] {
            replace(&path, 1, MODE, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::File::open(&path).unwrap().metadata().unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let is_folder = folder.path().join("is a folder");
        fs::create_dir(&is_folder).unwrap();
        assert!(replace(&is_folder, 1, MODE, b"x").is_err());
        let missing = replace(&folder.path().join("none/x"), 1, MODE, b"x").unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn link_at_the_temporary_path_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.prom");
        let link = folder.path().join(".x.prom.7.tmp");
        let victim = folder.path().join("victim");
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        replace(&path, 7, MODE, b"x").unwrap();
        assert!(!victim.exists() && !fs::symlink_metadata(&path).unwrap().is_symlink());
    }
}
