//! The file in which a daemon leaves its state for the next one, and the lock of the daemon that uses it.

use super::request::Reply;
use super::socket::make_folder;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Locks the state, and reads what the last daemon has left: the records in the file of the lock (empty if it does not lie
/// in memory), and the text. A text that cannot be used is no error: the reply has one more field, which says why, or is
/// empty if there is no text.
pub(super) fn open(path: &Path, limit: u64, records: u64) -> io::Result<Reply> {
    if path.parent() == Path::new(platform::DEFAULT_SOCKET).parent() {
        make_folder(path); // if that fails, so does the next call
    }
    let mut lock = OsString::from(path);
    lock.push(".lock");
    let lock = platform::lock_private(Path::new(&lock))?;
    let lock = lock.ok_or_else(|| io::Error::new(ErrorKind::WouldBlock, "another daemon uses it"))?;
    let records = platform::reserve_in_memory(&lock, records).unwrap_or_default();
    let fields = match platform::read_private(path, limit) {
        Ok(text) => vec![records, text],
        Err(error) if error.kind() == ErrorKind::NotFound => vec![records, Vec::new(), Vec::new()],
        Err(error) => vec![records, Vec::new(), error.to_string().into_bytes()],
    };
    Ok(Reply { fields, descriptor: Some(lock.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    /// The text, or why there is none.
    fn opened(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
        let fields = open(path, limit, 64).unwrap().fields;
        match &fields[..] {
            [_, text] => Ok(text.clone()),
            [_, _, why] => Err(String::from_utf8(why.clone()).unwrap()),
            _ => panic!("{fields:?}"),
        }
    }

    #[test]
    fn only_a_regular_file_that_nobody_else_can_write_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        let write = |name: &str, mode| {
            fs::write(path(name), "text").unwrap();
            fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        };
        write("good", 0o600);
        assert_eq!(opened(&path("good"), 4), Ok(b"text".to_vec()));
        let why = |name: &str, limit| opened(&path(name), limit).unwrap_err();
        assert_eq!(why("good", 3), "it is larger than 0 KiB");
        write("shared", 0o620);
        assert_eq!(why("shared", 9), "others may write it (mode 620)");
        fs::create_dir(path("directory")).unwrap();
        assert_eq!(why("directory", 9), "it is not a regular file");
        symlink(path("good"), path("link")).unwrap();
        assert!(!why("link", 9).is_empty());
        assert_eq!(why("none", 9), "");
    }

    #[test]
    fn one_daemon_uses_a_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = open(&path, 9, 64).unwrap();
        assert_eq!(open(&path, 9, 64).unwrap_err().to_string(), "another daemon uses it");
        drop(first);
        let mode = folder.path().join("state.lock").metadata().unwrap().permissions().mode();
        assert!(open(&path, 9, 64).is_ok() && mode & 0o777 == 0o600);
        assert!(open(&folder.path().join("none/state"), 9, 64).is_err());
    }
}
