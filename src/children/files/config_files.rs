//! The configuration files: the main file, and the drop-ins `conf.d/*.toml` beside it.

use super::fields::pack;
use super::request::Reply;
use super::trust::{Finding, TrustCheck};
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directory beside the main file. Its `*.toml` files are read after the main file, in the order of their names.
const DROP_IN_DIRECTORY: &str = "conf.d";
/// Maximum file size; a larger file is not a configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Maximum number of files; a directory with more is not a drop-in directory.
const MAX_DROP_INS: usize = 100;

/// What an item of [`read_config`] is.
pub(super) const TEXT: u8 = 0;
pub(super) const PROBLEM: u8 = 1;
pub(super) const WARNING: u8 = 2;

/// An item about a path; a part of the path may be what it is about.
fn item(kind: u8, path: &Path, text: &[u8], part: Option<&Path>) -> Vec<u8> {
    let part = part.map(|part| part.as_os_str().as_bytes());
    pack([&[kind][..], path.as_os_str().as_bytes(), text].into_iter().chain(part))
}

/// Items about what was found about a path.
pub(super) fn findings(path: &Path, found: io::Result<Vec<Finding>>) -> Vec<Vec<u8>> {
    match found {
        Ok(findings) => findings
            .iter()
            .map(|Finding { part, text, is_refused }| {
                item(if *is_refused { PROBLEM } else { WARNING }, path, text.as_bytes(), Some(part))
            })
            .collect(),
        Err(error) => vec![problem(path, &reason(&error))],
    }
}

fn problem(path: &Path, text: &str) -> Vec<u8> {
    item(PROBLEM, path, text.as_bytes(), None)
}

/// Paths to watch for changes: the files, and the directories in which files may appear.
pub(super) fn watched_paths(path: &Path, others: &[PathBuf]) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut paths = vec![directory.to_path_buf(), directory.join(DROP_IN_DIRECTORY)];
    // A directory that does not exist yet will appear in its parent.
    paths.extend(directory.parent().filter(|_| !directory.exists()).map(Path::to_path_buf));
    // The target of a symbolic link changes outside the directory.
    paths.extend(candidates(path, false).0.into_iter().map(|(path, _)| path));
    for other in others {
        paths.push(other.clone());
        paths.extend(other.parent().map(Path::to_path_buf)); // editors replace the file
    }
    paths
}

pub(super) fn fingerprints(path: &Path) -> Vec<Vec<u8>> {
    candidates(path, false).0.iter().map(|(path, _)| fingerprint(path)).collect()
}

/// Differs after every change of the file. Unlike a missing file, a dangling link is in the list.
#[allow(clippy::disallowed_methods)] // in a child
pub(super) fn fingerprint(path: &Path) -> Vec<u8> {
    let metadata = fs::metadata(path).ok().map(|file| {
        let times =
            [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()].map(i64::cast_unsigned);
        let numbers = [file.dev(), file.ino(), file.size()].into_iter().chain(times);
        numbers.flat_map(u64::to_le_bytes).collect::<Vec<u8>>()
    });
    pack([path.as_os_str().as_bytes()].into_iter().chain(metadata.as_deref()))
}

/// The fingerprints, then the text of every file in the order in which they apply, with problems and warnings. Only the
/// main file may be missing, unless `required`. `checked` asks who may replace the files.
pub(super) fn read_config(path: &Path, required: bool, checked: bool) -> Reply {
    // Taken first, so that a change while the files are read is seen as a change.
    let fingerprints = pack(fingerprints(path));
    let (candidates, failure) = candidates(path, required);
    let mut items: Vec<Vec<u8>> = failure.into_iter().collect();
    let mut trust = TrustCheck::new();
    for (path, required) in candidates {
        match read_regular(&path, MAX_FILE_BYTES) {
            Ok((file, text)) => {
                if checked {
                    items.extend(findings(&path, trust.check(&path, Some(&file))));
                }
                items.push(item(TEXT, &path, &text, None));
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !required => {}
            Err(error) => items.push(problem(&path, &unreadable(&error))),
        }
    }
    Reply::new([vec![fingerprints], items].concat())
}

/// The main file and the drop-ins, each with whether it must exist, and perhaps a problem.
fn candidates(path: &Path, required: bool) -> (Vec<(PathBuf, bool)>, Option<Vec<u8>>) {
    let mut candidates = vec![(path.to_path_buf(), required)];
    let directory = path.parent().unwrap_or(Path::new("/")).join(DROP_IN_DIRECTORY);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return (candidates, None);
        }
        Err(error) => return (candidates, Some(problem(&directory, &unreadable(&error)))),
    };
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
    let mut drop_ins: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml") && !is_hidden(path))
        .take(MAX_DROP_INS + 1)
        .collect();
    if drop_ins.len() > MAX_DROP_INS {
        return (
            candidates,
            Some(problem(&directory, &format!("more than {MAX_DROP_INS} files end in .toml"))),
        );
    }
    drop_ins.sort_unstable();
    candidates.extend(drop_ins.into_iter().map(|path| (path, true)));
    (candidates, None)
}

/// A regular file and its contents. A FIFO would block until it has a writer.
#[allow(clippy::disallowed_methods)] // in a child
pub(super) fn read_regular(path: &Path, limit: u64) -> io::Result<(fs::File, Vec<u8>)> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidData, "not a regular file"));
    }
    let (file, mut bytes) = (fs::File::open(path)?, Vec::new());
    (&file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("larger than {} KiB", limit >> 10)));
    }
    Ok((file, bytes))
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot read this file: {}", reason(error))
}

/// Without the error number, which the text already explains.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
