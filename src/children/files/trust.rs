//! Who may replace a file that decides what runs with the rights of the daemon: the file, the folders above it, and
//! those of the targets of links belong to root or to the daemon's user, and nobody else can write them.

use super::walk::walk;
use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const GROUP_WRITABLE: u32 = 0o020;
const WORLD_WRITABLE: u32 = 0o002;
/// Entries of such a folder are renamed and removed by their owners only.
const STICKY: u32 = 0o1000;

/// What was found about one file or folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Finding {
    pub(super) part: PathBuf,
    pub(super) text: String,
    /// Another user can change it; else it is a warning.
    pub(super) is_refused: bool,
}

/// Checks several files, and the folders that they share only once.
pub(super) struct TrustCheck {
    user: u32,
    seen: BTreeSet<PathBuf>,
}

impl TrustCheck {
    pub(super) fn new() -> TrustCheck {
        TrustCheck { user: platform::user_id(), seen: BTreeSet::new() }
    }

    /// Checks a file that may not exist, and everything on the way to it. `opened` is what was read, if it was.
    pub(super) fn check(&mut self, path: &Path, opened: Option<&File>) -> io::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        walk(
            path,
            |_| true,
            |part, metadata| {
                if self.seen.insert(part.to_owned()) {
                    findings.extend(judge(part, metadata, self.user));
                }
            },
        )?;
        if let Some(file) = opened {
            findings.extend(judge(path, &file.metadata()?, self.user));
        }
        findings.sort();
        findings.dedup();
        Ok(findings)
    }
}

fn judge(path: &Path, metadata: &Metadata, user: u32) -> Option<Finding> {
    let (text, is_refused) =
        judge_mode(metadata.mode(), metadata.is_dir(), metadata.is_symlink(), metadata.uid(), user)?;
    // Nobody changes anything there: how Kubernetes mounts a ConfigMap, whose folder is writable for all.
    let place = if metadata.is_symlink() { path.parent().unwrap_or(path) } else { path };
    (!platform::is_read_only(place)).then(|| Finding { part: path.to_owned(), text, is_refused })
}

/// A text, and whether it is refused.
fn judge_mode(mode: u32, is_folder: bool, is_link: bool, owner: u32, user: u32) -> Option<(String, bool)> {
    if owner != 0 && owner != user {
        return Some((format!("belongs to user {owner}"), true));
    }
    if is_link || (is_folder && mode & STICKY != 0) {
        return None; // the mode of a link has no meaning
    }
    if mode & WORLD_WRITABLE != 0 {
        return Some(("can be written by every user".to_owned(), true));
    }
    (mode & GROUP_WRITABLE != 0).then(|| ("can be written by its group".to_owned(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_and_mode_decide() {
        let refused = |text: &str| Some((text.to_owned(), true));
        let every = || refused("can be written by every user");
        let group = || Some(("can be written by its group".to_owned(), false));
        for (mode, is_folder, is_link, owner, expected) in [
            (0o644, false, false, 0, None),
            (0o600, false, false, 1000, None),
            (0o644, false, false, 1001, refused("belongs to user 1001")),
            (0o664, false, false, 0, group()),
            (0o666, false, false, 0, every()),
            (0o646, false, false, 1000, every()),
            (0o755, true, false, 0, None),
            (0o777, true, false, 0, every()),
            (0o1777, true, false, 0, None),
            (0o1777, true, false, 1001, refused("belongs to user 1001")),
            (0o1666, false, false, 0, every()),
            (0o775, true, false, 0, group()),
            (0o777, false, true, 0, None),
            (0o777, false, true, 1001, refused("belongs to user 1001")),
        ] {
            assert_eq!(judge_mode(mode, is_folder, is_link, owner, 1000), expected, "{mode:o} {owner}");
        }
    }
}
