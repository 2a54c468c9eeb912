//! Reads `[[rule]]` from the configuration files.

use super::globs::{Globs, MAX_GLOBS};
use super::options::OptionValue;
use super::rules::Rule;
use super::toml_table::{TomlTable, flag, option_value, text, texts, time};
use super::values::flap_changes;
use super::{data_path_reader, reference, remedy_reader};
use crate::monitor::ExpectedOptions;
use crate::render::timestamp;
use std::time::SystemTime;
use toml::de::DeValue;

/// Maximum number of rules in all files. Each new mount is compared with all of them, even when thousands of mounts
/// appear at once.
const MAX_RULES: usize = 1000;

/// Reads every `[[rule]]` of a document. `rules` are those of earlier documents.
pub(super) fn read(document: &mut TomlTable<'_>, rules: &mut Vec<Rule>) {
    let mut globs: usize = rules.iter().map(glob_count).sum();
    for mut table in document.take_tables("rule") {
        if rules.len() == MAX_RULES {
            return table.report(format!("more than {MAX_RULES} rules"));
        }
        let mut rule = rule(&mut table);
        table.report_unknown_keys(&reference::names(reference::RULE));
        if !table.has_mistakes() {
            check(&rule, &table); // otherwise the mistake may be in a key that therefore seems to be absent
        }
        globs += glob_count(&rule);
        if globs > MAX_GLOBS {
            return table.report(format!("more than {MAX_GLOBS} globs in all rules"));
        }
        rule.source = table.into_source();
        rules.push(rule);
    }
}

fn glob_count(rule: &Rule) -> usize {
    [&rule.mountpoint, &rule.fstype, &rule.device].into_iter().flatten().map(Globs::count).sum()
}

fn rule(table: &mut TomlTable<'_>) -> Rule {
    let paths = |value: &DeValue<'_>| Globs::new(&texts(value)?, true);
    let names = |value: &DeValue<'_>| Globs::new(&texts(value)?, false);
    Rule {
        location: table.location(),
        source: Vec::new(),
        mountpoint: table.take("mountpoint", paths),
        fstype: table.take("fstype", names),
        device: table.take("device", names),
        poll_interval: table.take("poll_interval", time),
        timeout: table.take("timeout", time),
        slow_after: table.take("slow_after", time),
        flap_changes: table.take("flap_changes", number_of_changes),
        flap_window: table.take("flap_window", time),
        exclude: table.take("exclude", flag).unwrap_or(false),
        expected: table.take("expected", flag).unwrap_or(false),
        expected_options: table.take("expected_options", |value| ExpectedOptions::new(texts(value)?)),
        until: table.take("until", date_time),
        severity: table.take("severity", |value| text(value)?.parse()).unwrap_or_default(),
        hooks: table.take("hook", texts),
        remedy: remedy_reader::take(table),
        data_path: data_path_reader::take(table),
    }
}

pub(super) fn date_time(value: &DeValue<'_>) -> Result<SystemTime, String> {
    let text = match value {
        DeValue::Datetime(time) => time.to_string(),
        value => text(value)?,
    };
    timestamp::parse(&text).ok_or_else(|| {
        format!("write a date and time with a time zone, such as 2026-12-01T18:00:00Z, not \"{text}\"")
    })
}

fn number_of_changes(value: &DeValue<'_>) -> Result<u32, String> {
    match option_value(value) {
        Ok(OptionValue::Text(text)) => flap_changes(&text.to_string_lossy()),
        _ => flap_changes(""),
    }
}

fn check(rule: &Rule, table: &TomlTable<'_>) {
    if rule.mountpoint.is_none() && rule.fstype.is_none() && rule.device.is_none() {
        table.report("needs a mountpoint, fstype or device to match");
    } else if rule.expected && rule.exclude {
        table.report("a mount cannot be both expected and excluded");
    } else if rule.expected_options.is_some() && rule.exclude {
        table.report("an excluded mount has no expected_options");
    } else if let Some(problem) = remedy_reader::problem(rule) {
        table.report(problem);
    } else if let Some(problem) = rule.data_path.problem(rule) {
        table.report(problem);
    } else if rule.expected && !rule.mountpoint.as_ref().is_some_and(Globs::are_literal_paths) {
        table.report("expected needs a mountpoint without * ? [ {");
    }
}
