//! A table of a TOML document, read key by key: what is wrong is told with its line, and nothing is left unread
//! without a word. serde would stop at the first wrong key and know no line.

use super::diagnostic::{Diagnostic, Location};
use super::values::duration;
use std::path::Path;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong is told up to here: who mistook the format altogether needs no thousand lines.
const MAX_PROBLEMS: usize = 20;
/// So much of an unknown key is shown; a longer one is like none that is known.
const MAX_KEY: usize = 64;

/// A document, and what is wrong in it.
pub(super) struct TomlDocument<'d> {
    file: &'d Path,
    text: &'d str,
    pub(super) problems: Vec<Diagnostic>,
}

impl<'d> TomlDocument<'d> {
    pub(super) fn new(file: &'d Path, text: &'d str) -> TomlDocument<'d> {
        TomlDocument { file, text, problems: Vec::new() }
    }

    /// Its outermost table, unless it is no TOML at all.
    pub(super) fn parse(&mut self) -> Option<TomlTable<'d>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(TomlTable { name: String::new(), line: 1, table: table.into_inner() }),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                self.complain(self.line(at), format!("this is no TOML: {}", error.message()));
                None
            }
        }
    }

    pub(super) fn place(&self, line: usize) -> Location {
        Location { file: self.file.to_path_buf(), line: Some(line) }
    }

    pub(super) fn complain(&mut self, line: usize, text: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            let problem = Diagnostic { place: self.place(line), text: text.into() };
            self.problems.push(problem);
        }
    }

    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }
}

/// A table that is being read.
pub(super) struct TomlTable<'d> {
    /// As it is written in the file; empty for the outermost.
    name: String,
    pub(super) line: usize,
    table: DeTable<'d>,
}

impl<'d> TomlTable<'d> {
    /// Takes out a key, as `read` understands it. What it does not understand is told, and then the key counts as
    /// not written.
    pub(super) fn take<T>(
        &mut self,
        document: &mut TomlDocument<'d>,
        key: &str,
        read: impl FnOnce(&Value<'d>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(document, key)?;
        match read(&value) {
            Ok(read) => Some(read),
            Err(text) => {
                document.complain(value.line, format!("{}{key}: {text}", self.prefix()));
                None
            }
        }
    }

    /// Takes out a key as it is.
    pub(super) fn value(&mut self, document: &TomlDocument<'d>, key: &str) -> Option<Value<'d>> {
        let value = self.table.remove(key)?;
        Some(Value { line: document.line(value.span().start), value })
    }

    /// Takes out the tables under a name, `[[NAME]]` or a single `[NAME]`.
    pub(super) fn sections(&mut self, document: &mut TomlDocument<'d>, key: &str) -> Vec<TomlTable<'d>> {
        let Some(Value { line, value }) = self.value(document, key) else { return Vec::new() };
        let values = match value.into_inner() {
            DeValue::Array(values) => values,
            DeValue::Table(table) => {
                return vec![TomlTable { name: format!("[{key}]"), line, table }];
            }
            other => {
                let text = format!("{key} has to be a table, [[{key}]], not {}", article(other.type_str()));
                document.complain(line, text);
                return Vec::new();
            }
        };
        let mut sections = Vec::new();
        for value in values {
            let line = document.line(value.span().start);
            match value.into_inner() {
                DeValue::Table(table) => sections.push(TomlTable { name: format!("[[{key}]]"), line, table }),
                other => document.complain(
                    line,
                    format!("{key} has to be a table, [[{key}]], not {}", article(other.type_str())),
                ),
            }
        }
        sections
    }

    /// The rest of a table of free keys, each with its value.
    pub(super) fn rest(self, document: &TomlDocument<'d>) -> Vec<(String, Value<'d>)> {
        let with_line =
            |value: Spanned<DeValue<'d>>| Value { line: document.line(value.span().start), value };
        self.table.into_iter().map(|(key, value)| (key.into_inner().into_owned(), with_line(value))).collect()
    }

    /// Complains about every key that nobody took. `known` are those of this table, `outer` those of the outermost:
    /// whoever writes one of these after a `[[rule]]` has put it into the rule.
    pub(super) fn finish(self, document: &mut TomlDocument<'d>, known: &[&str], outer: &[&str]) {
        let prefix = self.prefix();
        let mut left: Vec<_> = self.table.keys().map(|key| (key.span().start, key.get_ref())).collect();
        left.sort_unstable();
        for (at, key) in left {
            let line = document.line(at);
            if outer.contains(&key.as_ref()) {
                let text = format!("{prefix}{key} is an option of the daemon: write it above the first [ ]");
                document.complain(line, text);
                continue;
            }
            let near = known.iter().filter(|_| key.len() <= MAX_KEY);
            let near = near.map(|known| (strsim::jaro_winkler(known, key), known));
            let nearest = near.max_by(|(one, _), (other, _)| one.total_cmp(other));
            let advice = nearest.map_or(String::new(), |(_, known)| format!("; did you mean {known}?"));
            let key: String = key.chars().take(MAX_KEY).collect();
            document.complain(line, format!("{prefix}unknown key {key}{advice}"));
        }
    }

    fn prefix(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("{} ", self.name) }
    }
}

/// A value with its line.
pub(super) struct Value<'d> {
    pub(super) line: usize,
    value: Spanned<DeValue<'d>>,
}

impl<'d> Value<'d> {
    pub(super) fn text(&self) -> Result<String, String> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self.not("a text in quotes")),
        }
    }

    /// One text or a list of them.
    pub(super) fn texts(&self) -> Result<Vec<String>, String> {
        let item = |value: &Spanned<DeValue<'d>>| value.get_ref().as_str().map(str::to_owned);
        match self.value.get_ref() {
            DeValue::String(text) => Ok(vec![text.to_string()]),
            DeValue::Array(items) => items
                .iter()
                .map(item)
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| "has to be a list of texts in quotes".to_owned()),
            _ => Err(self.not("a text in quotes, or a list of them")),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, String> {
        self.value.get_ref().as_bool().ok_or_else(|| self.not("true or false"))
    }

    pub(super) fn duration(&self) -> Result<Duration, String> {
        match self.word() {
            Ok(OptionValue::Text(text)) => duration(&text),
            _ => Err(self.not("a number of seconds or a text such as \"30s\"")),
        }
    }

    /// A value as it would be written on a command line.
    pub(super) fn word(&self) -> Result<OptionValue, String> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(OptionValue::Text(text.to_string())),
            DeValue::Integer(number) if number.radix() == 10 => {
                Ok(OptionValue::Text(number.as_str().to_owned()))
            }
            DeValue::Float(number) => Ok(OptionValue::Text(number.as_str().to_owned())),
            DeValue::Boolean(flag) => Ok(OptionValue::Flag(*flag)),
            _ => Err(self.not("a text, a number, or true or false")),
        }
    }

    pub(super) fn into_section(self, name: &str) -> Result<TomlTable<'d>, String> {
        let (line, name, complaint) = (self.line, name.to_owned(), self.not("a table"));
        match self.value.into_inner() {
            DeValue::Table(table) => Ok(TomlTable { name, line, table }),
            _ => Err(complaint),
        }
    }

    fn not(&self, wanted: &str) -> String {
        format!("has to be {wanted}, not {}", article(self.value.get_ref().type_str()))
    }
}

/// A value of a command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OptionValue {
    /// What follows the option.
    Text(String),
    /// The option is there or not.
    Flag(bool),
}

fn article(word: &str) -> String {
    let vowel = word.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {word}", if vowel { "an" } else { "a" })
}
