//! Reads `remedy` of a `[[rule]]`.

use super::globs::Globs;
use super::options::OptionValue;
use super::reference;
use super::rule_reader::date_time;
use super::rules::Rule;
use super::toml_table::{TomlTable, option_value, text, texts, time};
use crate::monitor::remedy::{Mode, RemedySettings};
use std::ffi::OsStr;
use std::time::SystemTime;
use toml::de::DeValue;

/// More attempts on one mount do not help, and each may cost waiting users something.
const MAX_ATTEMPTS: u32 = 10;

/// The remedy of a rule.
#[derive(Clone, PartialEq, Debug)]
pub struct RemedyRule {
    pub settings: RemedySettings,
    /// When it ends by itself.
    pub until: Option<SystemTime>,
}

/// Takes `remedy` out of the table of a rule.
pub(super) fn take(rule: &mut TomlTable<'_>) -> Option<RemedyRule> {
    let mut table = rule.take_table("remedy")?;
    let mode = table.take("mode", |value| text(value)?.parse());
    let mut settings = RemedySettings::new(mode.unwrap_or(Mode::Off));
    set(&mut settings.after, table.take("after", time));
    set(&mut settings.steps, table.take("steps", words));
    set(&mut settings.allow, table.take("allow", words));
    set(&mut settings.remount, table.take("remount", |value| text(value)?.parse()));
    set(&mut settings.max_attempts, table.take("max_attempts", attempts));
    set(&mut settings.window, table.take("window", time));
    let until = table.take("until", date_time);
    table.report_unknown_keys(&reference::names(reference::REMEDY));
    if mode.is_none() && !table.has_mistakes() {
        table.report("needs a mode: \"off\", \"dry-run\" or \"act\"");
    }
    let is_valid = !table.has_mistakes();
    rule.add_source("remedy", table);
    is_valid.then_some(RemedyRule { settings, until })
}

/// Why this rule cannot have its remedy.
pub(super) fn problem(rule: &Rule) -> Option<&'static str> {
    let RemedyRule { settings, .. } = rule.remedy.as_ref()?;
    let matches_root = |globs: &Globs| globs.matches(OsStr::new("/"));
    let names_storage = rule.fstype.is_some() || rule.device.is_some();
    match settings.mode {
        Mode::Off => None,
        _ if rule.exclude => Some("an excluded mount has no remedy"),
        _ if rule.mountpoint.as_ref().is_some_and(matches_root) => {
            Some("remedy: this mountpoint also matches /, which must never be unmounted")
        }
        Mode::Act if rule.mountpoint.is_none() || !names_storage => {
            Some("remedy: mode = \"act\" needs a mountpoint, and a device or fstype")
        }
        Mode::Act | Mode::DryRun => None,
    }
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

fn words<T: std::str::FromStr<Err = String>>(value: &DeValue<'_>) -> Result<Vec<T>, String> {
    texts(value)?.iter().map(|word| word.parse()).collect()
}

fn attempts(value: &DeValue<'_>) -> Result<u32, String> {
    let number = match option_value(value) {
        Ok(OptionValue::Text(text)) => text.to_str().and_then(|text| text.parse().ok()),
        _ => None,
    };
    let number = number.filter(|number| (1..=MAX_ATTEMPTS).contains(number));
    number.ok_or_else(|| format!("must be a number from 1 to {MAX_ATTEMPTS}"))
}
