//! Lines about files of the configuration.

use super::location::Location;
use crate::children::files::{ConfigItem, ConfigItemKind};
use crate::render::escape::escape_os;
use std::io;
use std::path::Path;

/// A line about the file as a whole.
pub(super) fn problem(file: &Path, text: &str) -> String {
    Location { file: file.to_path_buf(), line: None }.problem(text)
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> String {
    // Without the error number, which the text already explains.
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    problem(path, &format!("cannot read this file: {reason}"))
}

/// The text of a file, or adds a line about it to the problems or the warnings.
pub(super) fn text_or_report(
    item: ConfigItem,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Option<(std::path::PathBuf, Vec<u8>)> {
    let ConfigItem { path, kind } = item;
    match kind {
        ConfigItemKind::Text(bytes) => return Some((path, bytes)),
        ConfigItemKind::Problem(text) => problems.push(problem(&path, &text)),
        ConfigItemKind::Refused { part, why } => {
            let part = escape_os(&part);
            let text = format!("refused: {part} {why}, who could decide what runs with the daemon's rights");
            problems.push(problem(&path, &text));
        }
        ConfigItemKind::Warning { part, why } => {
            let part = escape_os(&part);
            let text = format!("{part} {why}, which can decide what runs with the daemon's rights");
            warnings.push(problem(&path, &text));
        }
    }
    None
}
