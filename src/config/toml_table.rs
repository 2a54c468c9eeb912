//! Reads a TOML document key by key and reports every mistake with its line. serde would stop at the first mistake and
//! does not know lines.

use super::location::Location;
use super::options::{OptionValue, options};
use super::values::{duration, with_value};
use crate::render::escape::one_line;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Maximum number of mistakes reported for one file: a file in another format would have thousands.
const MAX_PROBLEMS: usize = 20;
/// Maximum number of characters shown of an unknown key. Longer keys get no suggestion, whose search costs time for
/// each character.
const MAX_KEY: usize = 64;

pub(super) struct TomlDocument<'d> {
    file: &'d Path,
    text: &'d str,
    /// Offsets of the line ends.
    line_ends: Vec<usize>,
    /// The mistakes, with their lines.
    problems: RefCell<Vec<(Option<usize>, String)>>,
}

impl<'d> TomlDocument<'d> {
    pub(super) fn new(file: &'d Path, text: &'d str) -> TomlDocument<'d> {
        let line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset);
        TomlDocument { file, text, line_ends: line_ends.collect(), problems: RefCell::default() }
    }

    /// The outermost table, or None if the text is not TOML.
    pub(super) fn parse(&self) -> Option<TomlTable<'_>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(TomlTable::new(self, String::new(), 0, table.into_inner())),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                self.report(offset, &format!("not valid TOML: {}", error.message()));
                None
            }
        }
    }

    pub(super) fn into_problems(self) -> impl Iterator<Item = String> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(line, _)| *line);
        problems.into_iter().map(|(_, text)| text)
    }

    fn report(&self, offset: usize, text: &str) {
        let (mut problems, location) = (self.problems.borrow_mut(), self.location(offset));
        if problems.len() < MAX_PROBLEMS {
            problems.push((location.line, location.problem(text)));
        }
    }

    fn location(&self, offset: usize) -> Location {
        let line = 1 + self.line_ends.partition_point(|&end| end < offset);
        Location { file: self.file.to_path_buf(), line: Some(line) }
    }
}

/// A table whose keys are taken out one by one.
pub(super) struct TomlTable<'d> {
    document: &'d TomlDocument<'d>,
    /// The header as in the file, such as `[[rule]]`; empty for the outermost table.
    name: String,
    offset: usize,
    table: DeTable<'d>,
    source: Vec<String>,
    has_mistakes: Cell<bool>,
}

impl<'d> TomlTable<'d> {
    fn new(document: &'d TomlDocument<'d>, name: String, offset: usize, table: DeTable<'d>) -> TomlTable<'d> {
        TomlTable { document, name, offset, table, source: Vec::new(), has_mistakes: Cell::new(false) }
    }

    pub(super) fn location(&self) -> Location {
        self.document.location(self.offset)
    }

    pub(super) fn location_of(&self, key: &str) -> Option<Location> {
        Some(self.document.location(self.table.get(key)?.span().start))
    }

    /// Takes out a key and parses its value. A wrong value is reported and counts as absent.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&DeValue<'d>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.table.remove(key)?;
        let source = self.document.text.get(value.span()).unwrap_or_default();
        self.source.extend(format!("{key} = {source}").lines().map(|line| one_line(line).into_owned()));
        let shown = match value.get_ref() {
            DeValue::String(text) => Some(text.as_ref()),
            DeValue::Integer(number) => Some(number.as_str()),
            DeValue::Float(number) => Some(number.as_str()),
            _ => None,
        };
        let report = |problem: String| {
            let text = match shown {
                Some(value) => with_value(problem, value),
                None => problem,
            };
            self.report_at(value.span().start, format!("{key}: {text}"));
        };
        parse(value.get_ref()).map_err(report).ok()
    }

    /// Takes out the tables `[[key]]`, or a single table `[key]`.
    pub(super) fn take_tables(&mut self, key: &str) -> Vec<TomlTable<'d>> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let offset = value.span().start;
        match value.into_inner() {
            DeValue::Array(items) => items
                .into_iter()
                .filter_map(|item| self.subtable(&format!("[[{key}]]"), item.span().start, item.into_inner()))
                .collect(),
            value => self.subtable(&format!("[{key}]"), offset, value).into_iter().collect(),
        }
    }

    /// Takes out the table `key` of this table.
    pub(super) fn take_table(&mut self, key: &str) -> Option<TomlTable<'d>> {
        let value = self.table.remove(key)?;
        let mut table = self.subtable(key, value.span().start, value.into_inner())?;
        table.name = format!("{} {key}", self.name);
        Some(table)
    }

    /// The lines of a table that was taken out of this one count as lines of this one.
    pub(super) fn add_source(&mut self, key: &str, table: TomlTable<'d>) {
        self.source.extend(table.into_source().iter().map(|line| format!("{key}.{line}")));
    }

    /// Takes out a table with free keys and text values. Other values are reported and left out.
    pub(super) fn take_texts(&mut self, key: &str) -> Vec<(String, String)> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let Some(table) = self.subtable(key, value.span().start, value.into_inner()) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (name, value) in table.table {
            let name = name.into_inner().into_owned();
            match text(value.get_ref()) {
                Ok(text) => texts.push((name, text)),
                Err(problem) => self.report_at(value.span().start, format!("{key}: {name} {problem}")),
            }
        }
        texts
    }

    fn subtable(&self, name: &str, offset: usize, value: DeValue<'d>) -> Option<TomlTable<'d>> {
        match value {
            DeValue::Table(table) => Some(TomlTable::new(self.document, name.to_owned(), offset, table)),
            value => {
                self.report_at(offset, format!("{name} {}", must_be("a table", &value)));
                None
            }
        }
    }

    /// Reports every key that was not taken. `known` are the keys of this table.
    pub(super) fn report_unknown_keys(&self, known: &[&str]) {
        for key in self.table.keys() {
            let (offset, key) = (key.span().start, key.get_ref());
            // For TOML an option that is written below a [[rule]] is a key of the rule.
            if !self.name.is_empty() && options().any(|option| option.key == key) {
                let text = format!("{key} is an option of the daemon: write it above the first [table]");
                self.report_at(offset, text);
                continue;
            }
            let candidates = known.iter().filter(|_| key.len() <= MAX_KEY);
            let scored = candidates.map(|known| (strsim::jaro_winkler(known, key), known));
            let nearest = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
            let suggestion = nearest.map_or(String::new(), |(_, known)| format!("; did you mean {known}?"));
            let key: String = key.chars().take(MAX_KEY).collect();
            self.report_at(offset, format!("unknown key {key}{suggestion}"));
        }
    }

    pub(super) fn into_source(self) -> Vec<String> {
        self.source
    }

    pub(super) fn has_mistakes(&self) -> bool {
        self.has_mistakes.get()
    }

    pub(super) fn report(&self, text: impl AsRef<str>) {
        self.report_at(self.offset, text);
    }

    fn report_at(&self, offset: usize, text: impl AsRef<str>) {
        self.has_mistakes.set(true);
        let separator = if self.name.is_empty() { "" } else { " " };
        self.document.report(offset, &format!("{}{separator}{}", self.name, text.as_ref()));
    }
}

pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| must_be("a text in quotes", value))
}

pub(super) fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::String(text) => Ok(vec![text.to_string()]),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or_else(|| "must be a list of texts in quotes".to_owned())
        }
        _ => Err(must_be("a text in quotes, or a list of them", value)),
    }
}

pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| must_be("true or false", value))
}

pub(super) fn time(value: &DeValue<'_>) -> Result<Duration, String> {
    match option_value(value) {
        Ok(OptionValue::Text(text)) => duration(&text.to_string_lossy()),
        _ => Err(must_be("a number of seconds or a text such as \"30s\"", value)),
    }
}

/// The value of an option of the daemon. Numbers stay as written.
pub(super) fn option_value(value: &DeValue<'_>) -> Result<OptionValue, String> {
    match value {
        DeValue::String(text) => Ok(OptionValue::from(text.as_ref())),
        DeValue::Integer(number) if number.radix() == 10 => Ok(OptionValue::from(number.as_str())),
        DeValue::Float(number) => Ok(OptionValue::from(number.as_str())),
        DeValue::Boolean(flag) => Ok(OptionValue::Flag(*flag)),
        _ => Err(must_be("a text, a number, or true or false", value)),
    }
}

fn must_be(wanted: &str, value: &DeValue<'_>) -> String {
    let found = value.type_str();
    let article = if found.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("must be {wanted}, not {article} {found}")
}
