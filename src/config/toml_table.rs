//! Reads a TOML document key by key and reports every mistake with its line. serde would stop at the first mistake and
//! does not know lines.

use super::diagnostic::{Diagnostic, Location};
use super::options::OptionValue;
use super::values::duration;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Mistakes reported for one file: a file in another format would have thousands.
const MAX_DIAGNOSTICS: usize = 20;
/// Characters shown of an unknown key. Longer keys get no suggestion, which costs time for each character.
const MAX_KEY: usize = 64;

/// A document and the mistakes found in it.
pub(super) struct TomlDocument<'d> {
    file: &'d Path,
    text: &'d str,
    /// Offsets of the line ends.
    line_ends: Vec<usize>,
    diagnostics: RefCell<Vec<Diagnostic>>,
}

impl<'d> TomlDocument<'d> {
    pub(super) fn new(file: &'d Path, text: &'d str) -> TomlDocument<'d> {
        let line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset);
        TomlDocument { file, text, line_ends: line_ends.collect(), diagnostics: RefCell::default() }
    }

    /// The outermost table, or None if the text is not TOML.
    pub(super) fn parse(&self) -> Option<TomlTable<'_>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(TomlTable::new(self, String::new(), 1, table.into_inner())),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                self.report(self.line_at(offset), format!("not valid TOML: {}", error.message()));
                None
            }
        }
    }

    /// The mistakes in the order of their lines.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics.into_inner();
        diagnostics.sort_by_key(|diagnostic| diagnostic.location.as_ref().and_then(|location| location.line));
        diagnostics
    }

    fn report(&self, line: usize, text: String) {
        let mut diagnostics = self.diagnostics.borrow_mut();
        if diagnostics.len() < MAX_DIAGNOSTICS {
            diagnostics.push(Diagnostic { location: Some(self.location(line)), text });
        }
    }

    fn location(&self, line: usize) -> Location {
        Location { file: self.file.to_path_buf(), line: Some(line) }
    }

    fn line_at(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|&end| end < offset)
    }
}

/// A table whose keys are taken out one by one.
pub(super) struct TomlTable<'d> {
    document: &'d TomlDocument<'d>,
    /// As in the file, `[[rule]]`; empty for the outermost table.
    name: String,
    line: usize,
    table: DeTable<'d>,
    has_mistakes: Cell<bool>,
}

impl<'d> TomlTable<'d> {
    fn new(document: &'d TomlDocument<'d>, name: String, line: usize, table: DeTable<'d>) -> TomlTable<'d> {
        TomlTable { document, name, line, table, has_mistakes: Cell::new(false) }
    }

    pub(super) fn location(&self) -> Location {
        self.document.location(self.line)
    }

    /// Takes out a key and parses its value. A wrong value is reported and counts as absent.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&TomlValue<'d>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take_value(key)?;
        parse(&value).map_err(|text| self.report_at(value.line, format!("{key}: {text}"))).ok()
    }

    pub(super) fn take_value(&mut self, key: &str) -> Option<TomlValue<'d>> {
        let value = self.table.remove(key)?;
        Some(TomlValue { document: self.document, line: self.document.line_at(value.span().start), value })
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

    /// Takes out a table with free keys and text values. Other values are reported and left out.
    pub(super) fn take_texts(&mut self, key: &str) -> Vec<(String, String)> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let Some(table) = self.subtable(key, value.span().start, value.into_inner()) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (name, value) in table.table {
            match value.get_ref().as_str() {
                Some(text) => texts.push((name.into_inner().into_owned(), text.to_owned())),
                None => {
                    let text = format!("{key}: {} must be a text in quotes", name.get_ref());
                    self.report_at(self.document.line_at(value.span().start), text);
                }
            }
        }
        texts
    }

    /// Another value than a table is reported.
    fn subtable(&self, name: &str, offset: usize, value: DeValue<'d>) -> Option<TomlTable<'d>> {
        let line = self.document.line_at(offset);
        match value {
            DeValue::Table(table) => Some(TomlTable::new(self.document, name.to_owned(), line, table)),
            value => {
                let found = with_article(value.type_str());
                self.report_at(line, format!("{name} must be a table, not {found}"));
                None
            }
        }
    }

    /// Reports every key that was not taken. `known` are the keys of this table, `outermost` those of the outermost
    /// table: an option that is written below a `[[rule]]` belongs to the rule for TOML.
    pub(super) fn report_unknown_keys(&self, known: &[&str], outermost: &[&str]) {
        for key in self.table.keys() {
            let line = self.document.line_at(key.span().start);
            let key = key.get_ref();
            if outermost.contains(&key.as_ref()) {
                let text = format!("{key} is an option of the daemon: write it above the first [table]");
                self.report_at(line, text);
                continue;
            }
            let candidates = known.iter().filter(|_| key.len() <= MAX_KEY);
            let scored = candidates.map(|known| (strsim::jaro_winkler(known, key), known));
            let nearest = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
            let suggestion = nearest.map_or(String::new(), |(_, known)| format!("; did you mean {known}?"));
            let key: String = key.chars().take(MAX_KEY).collect();
            self.report_at(line, format!("unknown key {key}{suggestion}"));
        }
    }

    /// A mistake in this table was reported.
    pub(super) fn has_mistakes(&self) -> bool {
        self.has_mistakes.get()
    }

    /// Reports a mistake in the table as a whole.
    pub(super) fn report(&self, text: impl AsRef<str>) {
        self.report_at(self.line, text);
    }

    pub(super) fn report_at(&self, line: usize, text: impl AsRef<str>) {
        self.has_mistakes.set(true);
        let separator = if self.name.is_empty() { "" } else { " " };
        self.document.report(line, format!("{}{separator}{}", self.name, text.as_ref()));
    }
}

/// A value with its line.
pub(super) struct TomlValue<'d> {
    document: &'d TomlDocument<'d>,
    pub(super) line: usize,
    value: Spanned<DeValue<'d>>,
}

impl<'d> TomlValue<'d> {
    pub(super) fn location(&self) -> Location {
        self.document.location(self.line)
    }

    pub(super) fn text(&self) -> Result<String, String> {
        self.value.get_ref().as_str().map(str::to_owned).ok_or_else(|| self.must_be("a text in quotes"))
    }

    /// One text or a list of texts.
    pub(super) fn texts(&self) -> Result<Vec<String>, String> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(vec![text.to_string()]),
            DeValue::Array(items) => {
                let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(|| "must be a list of texts in quotes".to_owned())
            }
            _ => Err(self.must_be("a text in quotes, or a list of them")),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, String> {
        self.value.get_ref().as_bool().ok_or_else(|| self.must_be("true or false"))
    }

    pub(super) fn duration(&self) -> Result<Duration, String> {
        match self.option_value() {
            Ok(OptionValue::Text(text)) => duration(&text.to_string_lossy()),
            _ => Err(self.must_be("a number of seconds or a text such as \"30s\"")),
        }
    }

    /// The value of an option of the daemon. Numbers stay as written.
    pub(super) fn option_value(&self) -> Result<OptionValue, String> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(OptionValue::from(text.as_ref())),
            DeValue::Integer(number) if number.radix() == 10 => Ok(OptionValue::from(number.as_str())),
            DeValue::Float(number) => Ok(OptionValue::from(number.as_str())),
            DeValue::Boolean(flag) => Ok(OptionValue::Flag(*flag)),
            _ => Err(self.must_be("a text, a number, or true or false")),
        }
    }

    fn must_be(&self, wanted: &str) -> String {
        format!("must be {wanted}, not {}", with_article(self.value.get_ref().type_str()))
    }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}
