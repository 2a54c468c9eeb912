//! The mount that an argument of `diagnose` means: any path in it, also through symbolic links. Decided from the mount
//! table; links are followed in a child, because what they are on may hang.

use super::mount_namespace;
use crate::children::files::FileWorker;
use crate::config::{Config, fstab};
use crate::render::escape::escape_os;
use anyhow::Context as _;
use platform::MountTable;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For following links: what answers at all does so in milliseconds.
const LINKS_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct DiagnosedMount {
    pub(super) mountpoint: PathBuf,
    /// How the argument led to it, unless it is the mount point; a line.
    pub(super) explanation: Option<String>,
}

impl DiagnosedMount {
    pub(super) fn find(config: &Config, argument: &Path) -> anyhow::Result<DiagnosedMount> {
        let path = mount_namespace::resolve(config, argument);
        let namespace = mount_namespace::open(config.mount_namespace.as_deref());
        let Ok(table) = namespace.and_then(|namespace| mount_namespace::table(namespace.as_ref())) else {
            // Only the daemon may see the namespace: it knows whether this is a mount point.
            return Ok(DiagnosedMount { mountpoint: path, explanation: None });
        };
        if table.iter().any(|mount| mount.mountpoint == path) {
            return Ok(DiagnosedMount { mountpoint: path, explanation: None });
        }
        // Links mean something only in our own namespace.
        let (followed, problem) = match config.mount_namespace {
            None => follow_links(&path),
            Some(_) => (path.clone(), None),
        };
        let mountpoint = mount_point_of(&table, &followed)
            .with_context(|| format!("no mount contains {}", escape_os(&followed)))?;
        if let Some((missing, origin)) = missing_mount(config, &followed, &mountpoint) {
            let (missing, mountpoint) = (escape_os(&missing), escape_os(&mountpoint));
            anyhow::bail!(
                "{missing} is not mounted, but {origin} has it; its path is on the mount {mountpoint}"
            );
        }
        let name =
            if followed == path { String::new() } else { format!(" is {}, which", escape_os(&followed)) };
        let problem = problem.map(|problem| format!(" (links were not followed: {problem})"));
        let explanation = format!(
            "{}{name} is inside the mount {}{}\n",
            escape_os(&path),
            escape_os(&mountpoint),
            problem.unwrap_or_default()
        );
        Ok(DiagnosedMount { mountpoint, explanation: Some(explanation) })
    }
}

/// The mount that should contain this path, below the mount that does, and where it is configured: the other one has
/// nothing to do with it.
fn missing_mount(config: &Config, path: &Path, mountpoint: &Path) -> Option<(PathBuf, String)> {
    let between: Vec<&Path> = path.ancestors().take_while(|above| *above != mountpoint).collect();
    // A file that cannot be read tells nothing.
    if let Ok(config) = config.clone().with_expected_mounts()
        && let Some(expected) = config.expected.iter().find(|it| between.contains(&it.mountpoint.as_path()))
    {
        return Some((expected.mountpoint.clone(), expected.origin.clone()));
    }
    if config.mount_namespace.is_some() {
        return None;
    }
    let worker = FileWorker::new();
    let text =
        worker.begin(LINKS_TIMEOUT).and_then(|mut session| session.read(fstab::FSTAB.as_ref())).ok()?;
    between.into_iter().find_map(|above| {
        let (line, _) = fstab::line_about(&text, above)?;
        Some((above.to_owned(), format!("{}:{line}", fstab::FSTAB)))
    })
}

/// The path without links, except on mounts that may hang, or the path and why they were not followed.
fn follow_links(path: &Path) -> (PathBuf, Option<String>) {
    let worker = FileWorker::new();
    let followed =
        worker.begin(LINKS_TIMEOUT).and_then(|mut session| session.follow_links(&[path.to_owned()]));
    match followed.map(|paths| paths.into_iter().next()) {
        Ok(Some(followed)) => (followed, None),
        Ok(None) => (path.to_owned(), None),
        Err(error) => (path.to_owned(), Some(error.to_string())),
    }
}

/// The longest mount point that the path is, or is below.
fn mount_point_of(table: &MountTable, path: &Path) -> Option<PathBuf> {
    let above = table.iter().map(|mount| &mount.mountpoint).filter(|mountpoint| path.starts_with(mountpoint));
    above.max_by_key(|mountpoint| mountpoint.as_os_str().len()).map(|mountpoint| mountpoint.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::mount;

    #[test]
    fn longest_prefix_of_whole_names_is_the_mount() {
        let table = MountTable::new(vec![
            mount(1, "/", "ext4"),
            mount(2, "/srv/a", "nfs4"),
            mount(3, "/srv/a/b", "tmpfs"),
            mount(4, "/srv/a/b", "nfs4"),
        ]);
        for (path, expected) in
            [("/srv/a/b/c/d", "/srv/a/b"), ("/srv/a/bc", "/srv/a"), ("/srv/a", "/srv/a"), ("/srv/ab", "/")]
        {
            assert_eq!(mount_point_of(&table, Path::new(path)), Some(expected.into()), "{path}");
        }
        assert_eq!(mount_point_of(&MountTable::default(), Path::new("/a")), None);
    }
}
