//! The exporter to a file for node_exporter's textfile collector. The file is not written if it is on a watched mount
//! that may hang. The mount table decides this; the path itself is not touched.

use super::exporters::{ExportError, Exporter};
use super::metrics::Renderer;
use crate::children::files::FileWorker;
use crate::monitor::{Health, Status};
use crate::render::Snapshot;
use crate::render::escape::escape_os;
use platform::{DeviceNumber, FsKind, Mount, MountTable, mount_containing};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A write must be complete within this time: file systems that take longer are dead.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked up on which mount the file is. That reads the whole mount table; a file that hangs meanwhile
/// delays only a child.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(60);
/// node_exporter reads files with this suffix.
const SUFFIX: &str = "prom";

/// A warning about a path that is probably a mistake.
pub fn warning(path: &Path) -> Option<String> {
    let is_ignored = path.extension().is_none_or(|suffix| suffix != SUFFIX);
    is_ignored
        .then(|| format!("node_exporter reads only files that end in .{SUFFIX}, not {}", escape_os(path)))
}

pub(super) struct TextFileExporter {
    path: PathBuf,
    worker: FileWorker,
    renderer: Arc<Renderer>,
    /// The mount that contains the file, and when it was looked up.
    place: Option<(Instant, Option<Mount>)>,
}

impl TextFileExporter {
    pub(super) fn new(path: &Path, renderer: &Arc<Renderer>) -> TextFileExporter {
        let (path, renderer) = (path.to_owned(), Arc::clone(renderer));
        TextFileExporter { path, worker: FileWorker::new(), renderer, place: None }
    }
}

impl Exporter for TextFileExporter {
    const NAME: &'static str = "textfile";
    const OUTPUT: &'static str = "textfile";
    /// Minimum interval between writes: node_exporter does not read the file more often.
    const MIN_INTERVAL: Duration = Duration::from_secs(1);
    const RETRY_PAUSES: Option<(Duration, Duration)> = None;

    /// Blocks: this is the only task of its thread.
    async fn export(&mut self, snapshot: &Snapshot) -> Result<(), ExportError> {
        let path = escape_os(&self.path).into_owned();
        if let Some(reason) = self.refusal_by_status(&snapshot.status) {
            return Err(ExportError::Refused(format!("{path} is no longer written: {reason}")));
        }
        let text = self.renderer.render(snapshot);
        let written =
            self.worker.begin(WRITE_TIMEOUT).and_then(|mut session| session.replace(&self.path, text));
        written.map_err(|error| ExportError::Failed(format!("Cannot write {path}: {error}")))
    }

    fn target(&self) -> String {
        escape_os(&self.path).into_owned()
    }

    fn recovery_line(&self) -> String {
        format!("{} is written again", escape_os(&self.path))
    }
}

impl TextFileExporter {
    /// The same check as [`refusal`] with a status of the monitor. The watched mounts may be those of another namespace
    /// with other paths, so the path is looked up in our own table; file systems are compared by device number.
    fn refusal_by_status(&mut self, status: &Status) -> Option<String> {
        let visible = status.mounts.iter().filter(|mount| mount.health != Health::Hidden);
        let hanging: HashSet<DeviceNumber> =
            visible.filter(|known| may_hang(&known.mount)).map(|known| known.mount.device_number).collect();
        if hanging.is_empty() {
            return None; // saves reading the table
        }
        if self.place.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOOKUP_INTERVAL) {
            let table = match MountTable::read() {
                Ok(table) => table,
                Err(error) => return Some(format!("the mount table cannot be read: {error}")),
            };
            let mount = mount_containing(table.iter().map(|mount| &**mount), &self.path).cloned();
            self.place = Some((Instant::now(), mount));
        }
        let (_, mount) = self.place.as_ref()?;
        refusal_of(mount.as_ref()?, |mount| hanging.contains(&mount.device_number))
    }
}

/// Why this path must not be written, if so.
pub fn refusal(table: &MountTable, is_watched: impl Fn(&Mount) -> bool, path: &Path) -> Option<String> {
    refusal_of(mount_containing(table.iter().map(|mount| &**mount), path)?, is_watched)
}

fn refusal_of(mount: &Mount, is_watched: impl Fn(&Mount) -> bool) -> Option<String> {
    (may_hang(mount) && is_watched(mount)).then(|| {
        format!(
            "it lies on {} ({}), which is watched because it may hang",
            escape_os(&mount.mountpoint),
            escape_os(&mount.fstype)
        )
    })
}

fn may_hang(mount: &Mount) -> bool {
    !matches!(mount.kind(), FsKind::Autofs | FsKind::Local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing;

    #[test]
    fn path_on_a_watched_network_or_fuse_mount_is_refused() {
        let mount = |(key, path, fstype): (u64, &str, &str)| {
            Arc::new(Mount { fstype: fstype.into(), ..testing::mount(key, path) })
        };
        let table = [
            (1, "/", "ext4"),
            (2, "/home", "nfs4"),
            (3, "/home/local", "xfs"),
            (4, "/fuse", "fuse.sshfs"),
            (5, "/covered", "nfs4"),
            (6, "/covered", "tmpfs"),
            (7, "/skipped", "nfs4"),
        ];
        let table = MountTable::new(table.into_iter().map(mount).collect());
        for (path, refused) in [
            ("/var/lib/x.prom", false),
            ("/home/x.prom", true),
            ("/home/a/b/x.prom", true),
            ("/homely/x.prom", false),
            ("/home", false),
            ("/home/local/x.prom", false),
            ("/fuse/x.prom", true),
            ("/covered/x.prom", false),
            ("/skipped/x.prom", false),
        ] {
            let refusal = refusal(&table, |mount| mount.key.0 != 7, Path::new(path));
            assert_eq!(refusal.is_some(), refused, "{path}: {refusal:?}");
        }
        let reason = refusal(&table, |_| true, Path::new("/fuse/x.prom")).unwrap();
        assert_eq!(reason, "it lies on /fuse (fuse.sshfs), which is watched because it may hang");
    }
}
