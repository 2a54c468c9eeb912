//! A file that is replaced at once, or not at all.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// node_exporter runs as another user.
const MODE: u32 = 0o644;

/// Puts this text where the path is. Not synced: after a crash of the machine the next run writes it anew.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<(), String> {
    let name = path.file_name().ok_or("the path has no file name")?;
    // Begins with a dot and does not end in .prom: node_exporter does not read it.
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let written = write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary); // most likely for the same reason it cannot be there
        error.to_string()
    })
}

fn write(temporary: &Path, text: &[u8]) -> io::Result<()> {
    // A process with our number may have left one behind, and a link that somebody made in advance is not followed.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(temporary)?;
    file.set_permissions(Permissions::from_mode(MODE))?; // whatever the umask is
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mounts.prom");
        for text in ["one\n", "two\n"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::File::open(&path).unwrap().metadata().unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("is a folder");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"x").is_err());
        assert!(replace(&folder.path().join("none/x"), b"x").unwrap_err().contains("No such file"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_laid_out_for_us_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.prom");
        let trap = folder.path().join(format!(".x.prom.{}.tmp", std::process::id()));
        let victim = folder.path().join("victim");
        std::os::unix::fs::symlink(&victim, &trap).unwrap();
        replace(&path, b"x").unwrap();
        assert!(!victim.exists() && !fs::symlink_metadata(&path).unwrap().is_symlink());
    }
}
