//! A file for node_exporter's textfile collector as an exporter.

mod refusal;
mod write;

pub use refusal::refusal;

use super::exporters::{ExportError, Exporter};
use super::metrics::Renderer;
use crate::render::Snapshot;
use crate::render::escape::escape_os;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// node_exporter reads files with this suffix.
const SUFFIX: &str = "prom";

/// What is probably a mistake in the path.
pub fn warning(path: &Path) -> Option<String> {
    let is_ignored = path.extension().is_none_or(|suffix| suffix != SUFFIX);
    is_ignored
        .then(|| format!("node_exporter reads only files that end in .{SUFFIX}, not {}", escape_os(path)))
}

pub(super) struct TextFileExporter {
    path: PathBuf,
    renderer: Arc<Renderer>,
}

impl TextFileExporter {
    pub(super) fn new(path: &Path, renderer: &Arc<Renderer>) -> TextFileExporter {
        TextFileExporter { path: path.to_owned(), renderer: Arc::clone(renderer) }
    }
}

impl Exporter for TextFileExporter {
    const NAME: &'static str = "textfile";
    /// node_exporter does not read it more often.
    const MIN_INTERVAL: Duration = Duration::from_secs(1);
    const RETRY_PAUSES: Option<(Duration, Duration)> = None;

    /// Blocks: this is the only task of its thread.
    async fn export(&mut self, snapshot: &Snapshot) -> Result<(), ExportError> {
        let path = escape_os(&self.path);
        if let Some(reason) = refusal::refusal_by_status(&self.path, &snapshot.status) {
            return Err(ExportError::Refused(format!("{path} is not written any more: {reason}")));
        }
        write::replace(&self.path, &self.renderer.render(snapshot))
            .map_err(|error| ExportError::Failed(format!("Cannot write {path}: {error}")))
    }

    fn recovery_line(&self) -> String {
        format!("{} is written again", escape_os(&self.path))
    }
}
