//! Reads `[[hook]]` and `[alertmanager]` from the configuration files.

use super::location::Location;
use super::reference::{self, names};
use super::toml_table::{TomlTable, text, texts, time};
use crate::output::alertmanager::AlertmanagerSettings;
use crate::output::hooks::{Hook, HookAction, MAX_HOOKS};
use crate::output::http_client::{Access, Credentials};
use std::ffi::OsString;
use std::path::PathBuf;
use toml::de::DeValue;

#[derive(Default)]
pub(super) struct HookReader {
    hooks: Vec<(Hook, Location)>,
    alertmanager: Option<(AlertmanagerSettings, Location)>,
}

impl HookReader {
    pub(super) fn read(&mut self, document: &mut TomlTable<'_>) {
        for mut table in document.take_tables("hook") {
            let Some(hook) = hook(&mut table) else { continue };
            match self.hooks.iter().find(|(other, _)| other.name == hook.name) {
                None => self.hooks.push((hook, table.location())),
                Some((_, other)) => {
                    table.report(format!("name: the hook at {other} also has the name {}", hook.name));
                }
            }
        }
        for mut table in document.take_tables("alertmanager") {
            let Some(alertmanager) = alertmanager(&mut table) else { continue };
            match &self.alertmanager {
                None => self.alertmanager = Some((alertmanager, table.location())),
                Some((_, other)) => table.report(format!("there is another at {other}; remove one of them")),
            }
        }
    }

    pub(super) fn into_settings(self) -> Result<(Vec<Hook>, Option<AlertmanagerSettings>), String> {
        if self.hooks.len() > MAX_HOOKS {
            return Err(format!("{} hooks exceed the limit of {MAX_HOOKS}", self.hooks.len()));
        }
        let hooks = self.hooks.into_iter().map(|(hook, _)| hook).collect();
        Ok((hooks, self.alertmanager.map(|(alertmanager, _)| alertmanager)))
    }
}

fn hook(table: &mut TomlTable<'_>) -> Option<Hook> {
    let name = table.take("name", text);
    let events = table.take("events", texts);
    let command = table.take("command", command);
    let url = table.take("url", text);
    let timeout = table.take("timeout", time);
    let access = access(table);
    table.report_unknown_keys(&names(reference::HOOK));
    if table.has_mistakes() {
        return None; // the mistake may be in a key that therefore seems to be absent
    }
    let Some(name) = name else {
        table.report("has no name");
        return None;
    };
    let action = match (command, url) {
        (Some(_), Some(_)) => Err("has a command and a url; remove one of them".to_owned()),
        (None, None) => Err("does nothing; add a command or a url".to_owned()),
        (Some(_), None) if access != Access::default() => {
            Err("user_file, token_file and ca_file work with a url only".to_owned())
        }
        (Some(words), None) => HookAction::command(words.into_iter().map(OsString::from).collect()),
        (None, Some(url)) => HookAction::post(&url, access),
    };
    let hook = action.and_then(|action| Hook::new(&name, events.as_deref(), action, timeout));
    hook.map_err(|problem| table.report(format!("{name}: {problem}"))).ok()
}

/// A program without arguments may be written as one text. A text with spaces is a shell command, which is a mistake.
fn command(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    if value.as_str().is_some_and(|text| text.contains(char::is_whitespace)) {
        return Err("no shell is used: write [\"PROGRAM\", \"ARGUMENT\", ...]".to_owned());
    }
    texts(value)
}

fn alertmanager(table: &mut TomlTable<'_>) -> Option<AlertmanagerSettings> {
    let url = table.take("url", text);
    let refresh = table.take("refresh", time);
    let labels = table.take_texts("labels").into_iter().collect();
    let access = access(table);
    table.report_unknown_keys(&names(reference::ALERTMANAGER));
    if table.has_mistakes() {
        return None;
    }
    let url = url.ok_or_else(|| "has no url".to_owned());
    let made = url.and_then(|url| AlertmanagerSettings::new(&url, access, labels, refresh));
    made.map_err(|problem| table.report(problem)).ok()
}

/// Credentials and certificates. The path must be absolute, because the daemon reads the file before each use and runs
/// in another working directory than the user who wrote it.
fn access(table: &mut TomlTable<'_>) -> Access {
    let path = |value: &DeValue<'_>| {
        let path = PathBuf::from(text(value)?);
        if path.is_absolute() { Ok(path) } else { Err("must be an absolute path".to_owned()) }
    };
    let user = table.take("user_file", path);
    let token = table.take("token_file", path);
    let ca_file = table.take("ca_file", path);
    let credentials = match (user, token) {
        (Some(_), Some(_)) => {
            table.report("has a user_file and a token_file; remove one of them");
            Credentials::None
        }
        (Some(path), None) => Credentials::User(path),
        (None, Some(path)) => Credentials::Token(path),
        (None, None) => Credentials::None,
    };
    Access { credentials, ca_file, ..Access::default() }
}
