//! Differences between two configurations, for the log.

use super::{Config, EffectiveOption, options};

const MAX_LISTED: usize = 8;

/// For example `timeout 3 -> 5s, rules changed`. Empty if nothing has changed.
pub fn changes(before: &Config, after: &Config) -> String {
    let value = |option: &EffectiveOption| option.value.clone().unwrap_or_else(|| "unset".to_owned());
    let mut changes: Vec<String> = changed_options(before, after)
        .map(|(old, new)| format!("{} {} -> {}", new.key, value(old), value(new)))
        .collect();
    if before.rules != after.rules {
        changes.push(count_change("rule", before.rules.iter().count(), after.rules.iter().count()));
    }
    if before.expected != after.expected {
        changes.push(count_change("expected mount", before.expected.len(), after.expected.len()));
    }
    if before.hooks != after.hooks {
        changes.push("hooks changed".to_owned());
    }
    if before.alertmanager != after.alertmanager {
        changes.push("alertmanager changed".to_owned());
    }
    if before.http.web_access != after.http.web_access {
        changes.push("web configuration changed".to_owned());
    }
    let more = changes.len().saturating_sub(MAX_LISTED);
    changes.truncate(MAX_LISTED);
    if more > 0 {
        changes.push(format!("and {more} more"));
    }
    changes.join(", ")
}

/// The options that have changed and take effect only at the next start.
pub fn options_for_next_start<'c>(
    before: &'c Config,
    after: &'c Config,
) -> impl Iterator<Item = &'static str> + 'c {
    let is_fixed = |key| options().any(|option| option.key == key && !option.is_reloadable);
    changed_options(before, after).map(|(_, new)| new.key).filter(move |key| is_fixed(*key))
}

fn changed_options<'c>(
    before: &'c Config,
    after: &'c Config,
) -> impl Iterator<Item = (&'c EffectiveOption, &'c EffectiveOption)> {
    // Both have all options in the order of the table.
    before.options.iter().zip(&after.options).filter(|(old, new)| old.value != new.value)
}

fn count_change(what: &str, before: usize, after: usize) -> String {
    if before == after { format!("{what}s changed") } else { format!("{what}s {before} -> {after}") }
}
