//! `[[hook]]` and `[alertmanager]`.

use super::diagnostic::Location;
use super::reference::{self, names};
use super::toml_table::{TomlDocument, TomlTable, Value};
use crate::output::alertmanager::AlertmanagerSettings;
use crate::output::hooks::Hook;
use crate::output::hooks::HookAction;
use crate::output::hooks::HookSettings;
use crate::output::http_client::{Access, Credentials};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Hooks that are read from all files together.
#[derive(Default)]
pub(super) struct Hooks {
    hooks: Vec<(Hook, Location)>,
    alertmanager: Option<(AlertmanagerSettings, Location)>,
}

impl Hooks {
    /// Reads every `[[hook]]` and the `[alertmanager]` of a document.
    pub(super) fn read<'d>(
        &mut self,
        table: &mut TomlTable<'d>,
        document: &mut TomlDocument<'d>,
        outer: &[&str],
    ) {
        for section in table.sections(document, "hook") {
            let place = document.place(section.line);
            if let Some(hook) = hook(section, document, outer) {
                if let Some((_, other)) = self.hooks.iter().find(|(other, _)| other.name == hook.name) {
                    let text = format!("[[hook]] name: {} is the name of the one at {other}", hook.name);
                    document.complain(place.line.unwrap_or(1), text);
                }
                self.hooks.push((hook, place));
            }
        }
        for section in table.sections(document, "alertmanager") {
            let (line, place) = (section.line, document.place(section.line));
            let Some(alertmanager) = alertmanager(section, document, outer) else { continue };
            match &self.alertmanager {
                None => self.alertmanager = Some((alertmanager, place)),
                Some((_, other)) => {
                    document.complain(line, format!("[alertmanager] there is one already at {other}"));
                }
            }
        }
    }

    /// All of them together.
    pub(super) fn settings(self) -> Result<(HookSettings, Option<AlertmanagerSettings>), String> {
        let hooks = self.hooks.into_iter().map(|(hook, _)| hook).collect();
        Ok((HookSettings::new(hooks)?, self.alertmanager.map(|(alertmanager, _)| alertmanager)))
    }
}

fn hook<'d>(mut section: TomlTable<'d>, document: &mut TomlDocument<'d>, outer: &[&str]) -> Option<Hook> {
    let line = section.line;
    let before = document.problems.len();
    let name = section.take(document, "name", Value::text);
    let events = section.take(document, "events", Value::texts);
    let command = section.take(document, "command", command);
    let url = section.take(document, "url", Value::text);
    let timeout = section.take(document, "timeout", Value::duration);
    let access = access(&mut section, document);
    section.finish(document, &names(reference::HOOK), outer);
    if document.problems.len() > before {
        return None; // the wrong key may be the one that is missing
    }
    let action = match (command, url) {
        (Some(_), Some(_)) => Err("has a command and a url; give it one of them".to_owned()),
        (None, None) => Err("does nothing; give it a command or a url".to_owned()),
        (Some(_), None) if access.is_some() => {
            Err("user_file, token_file and ca_file are for a url".to_owned())
        }
        (Some(words), None) => HookAction::command(words.into_iter().map(OsString::from).collect()),
        (None, Some(url)) => HookAction::post(&url, access.unwrap_or_default()),
    };
    let Some(name) = name else {
        document.complain(line, "[[hook]] has no name");
        return None;
    };
    match action.and_then(|action| Hook::new(&name, events.as_deref(), action, timeout)) {
        Ok(hook) => Some(hook),
        Err(problem) => {
            document.complain(line, format!("[[hook]] {name}: {problem}"));
            None
        }
    }
}

/// A program alone may stand without brackets. With arguments after it, it would be a program of that odd name, which
/// is found out when it is needed.
fn command(value: &Value<'_>) -> Result<Vec<String>, String> {
    if value.text().is_ok_and(|text| text.contains(char::is_whitespace)) {
        return Err("there is no shell: write [\"PROGRAM\", \"ARGUMENT\", ...]".to_owned());
    }
    value.texts()
}

fn alertmanager<'d>(
    mut section: TomlTable<'d>,
    document: &mut TomlDocument<'d>,
    outer: &[&str],
) -> Option<AlertmanagerSettings> {
    let line = section.line;
    let before = document.problems.len();
    let url = section.take(document, "url", Value::text);
    let refresh = section.take(document, "refresh", Value::duration);
    let labels = section.value(document, "labels").map(|labels| (labels.line, labels.into_section("labels")));
    let labels = match labels {
        None => BTreeMap::new(),
        Some((line, Err(problem))) => {
            document.complain(line, format!("[alertmanager] labels: {problem}"));
            BTreeMap::new()
        }
        Some((_, Ok(labels))) => read_labels(labels, document),
    };
    let access = access(&mut section, document);
    section.finish(document, &names(reference::ALERTMANAGER), outer);
    if document.problems.len() > before {
        return None;
    }
    let made = url.ok_or_else(|| "has no url".to_owned());
    match made.and_then(|url| AlertmanagerSettings::new(&url, access.unwrap_or_default(), labels, refresh)) {
        Ok(alertmanager) => Some(alertmanager),
        Err(problem) => {
            document.complain(line, format!("[alertmanager] {problem}"));
            None
        }
    }
}

fn read_labels<'d>(labels: TomlTable<'d>, document: &mut TomlDocument<'d>) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    for (name, value) in labels.rest(document) {
        match value.text() {
            Ok(text) => drop(read.insert(name, text)),
            Err(problem) => document.complain(value.line, format!("[alertmanager] label {name}: {problem}")),
        }
    }
    read
}

/// Secrets, if any are given. Their files are read before each use, from a daemon that is in another directory by
/// then.
fn access<'d>(section: &mut TomlTable<'d>, document: &mut TomlDocument<'d>) -> Option<Access> {
    let line = section.line;
    let path = |value: &Value<'d>| {
        let path = PathBuf::from(value.text()?);
        if path.is_absolute() { Ok(path) } else { Err("has to be an absolute path".to_owned()) }
    };
    let user = section.take(document, "user_file", path);
    let token = section.take(document, "token_file", path);
    let ca_file = section.take(document, "ca_file", path);
    let credentials = match (user, token) {
        (Some(_), Some(_)) => {
            document.complain(line, "user_file and token_file: give one of them");
            Credentials::None
        }
        (Some(path), None) => Credentials::User(path),
        (None, Some(path)) => Credentials::Token(path),
        (None, None) => Credentials::None,
    };
    let access = Access { credentials, ca_file };
    (access != Access::default()).then_some(access)
}
