//! The configuration files: the main file, and the drop-ins `conf.d/*.toml` beside it.

use super::location::Location;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directory beside the main file. Its `*.toml` files are read after the main file, in the order of their names.
const DROP_IN_DIRECTORY: &str = "conf.d";
/// Maximum file size; a larger file is not a configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Maximum number of files; a directory with more is not a drop-in directory.
const MAX_DROP_INS: usize = 100;

/// Paths to watch for changes: the files, and the directories in which files may appear.
pub(super) fn watched_paths(path: &Path) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut paths = vec![directory.to_path_buf(), directory.join(DROP_IN_DIRECTORY)];
    // A directory that does not exist yet will appear in its parent.
    paths.extend(directory.parent().filter(|_| !directory.exists()).map(Path::to_path_buf));
    // The target of a symbolic link changes outside the directory.
    paths.extend(candidates(path, false, &mut Vec::new()).into_iter().map(|(path, _)| path));
    paths
}

/// A file and its metadata, None if it cannot be read. It differs after every change of the file.
pub type FileFingerprint = (PathBuf, Option<Metadata>);

/// Device, inode, size, and the times of modification and change in seconds and nanoseconds.
type Metadata = (u64, u64, u64, [i64; 4]);

pub(super) fn fingerprints(path: &Path) -> Vec<FileFingerprint> {
    candidates(path, false, &mut Vec::new()).iter().map(|(path, _)| fingerprint(path)).collect()
}

/// The fingerprint of one file. Unlike a missing file, a dangling link is in the list.
#[allow(clippy::disallowed_methods)] // our own file, at the start or on the reloading thread
pub(super) fn fingerprint(path: &Path) -> FileFingerprint {
    let times = |file: &fs::Metadata| [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
    let metadata = fs::metadata(path).ok();
    (path.to_path_buf(), metadata.map(|file| (file.dev(), file.ino(), file.size(), times(&file))))
}

/// Path and text of every file, in the order in which they apply. Only the main file may be missing, unless `required`.
pub(super) fn read_all(path: &Path, required: bool, problems: &mut Vec<String>) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for (path, required) in candidates(path, required, problems) {
        match read_text(&path) {
            Ok(text) => files.push((path, text)),
            Err(error) if error.kind() == ErrorKind::NotFound && !required => {}
            Err(error) => problems.push(unreadable(&path, &error)),
        }
    }
    files
}

/// The main file and the drop-ins, each with whether it must exist.
fn candidates(path: &Path, required: bool, problems: &mut Vec<String>) -> Vec<(PathBuf, bool)> {
    let mut candidates = vec![(path.to_path_buf(), required)];
    let directory = path.parent().unwrap_or(Path::new("/")).join(DROP_IN_DIRECTORY);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) => {
            if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
                problems.push(unreadable(&directory, &error));
            }
            return candidates;
        }
    };
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
    let mut drop_ins: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml") && !is_hidden(path))
        .take(MAX_DROP_INS + 1)
        .collect();
    if drop_ins.len() > MAX_DROP_INS {
        problems.push(problem(&directory, &format!("more than {MAX_DROP_INS} files end in .toml")));
        drop_ins.clear();
    }
    drop_ins.sort_unstable();
    candidates.extend(drop_ins.into_iter().map(|path| (path, true)));
    candidates
}

fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        invalid(format!("line {line} is not UTF-8"))
    })
}

/// The contents of a regular file. A FIFO would block until it has a writer.
#[allow(clippy::disallowed_methods)] // our own file, at the start or on the reloading thread
pub(super) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(invalid("not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid(format!("larger than {} KiB", MAX_FILE_BYTES >> 10)));
    }
    Ok(bytes)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> String {
    // Without the error number, which the text already explains.
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    problem(path, &format!("cannot read this file: {reason}"))
}

/// A line about the file as a whole.
pub(super) fn problem(file: &Path, text: &str) -> String {
    Location { file: file.to_path_buf(), line: None }.problem(text)
}
