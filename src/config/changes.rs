//! What is different in another configuration, for people.

use super::Config;

/// Changes that are listed one by one; more are counted.
const MAX_LISTED: usize = 8;

/// `timeout 3 -> 5s, rules`, or nothing.
#[must_use]
pub fn changes(before: &Config, after: &Config) -> String {
    let mut changes = Vec::new();
    for option in &after.shown {
        let old = before.shown.iter().find(|old| old.key == option.key).and_then(|old| old.value.as_deref());
        let new = option.value.as_deref();
        if old != new {
            let word = |value: Option<&str>| value.unwrap_or("nothing").to_owned();
            changes.push(format!("{} {} -> {}", option.key, word(old), word(new)));
        }
    }
    if before.rules != after.rules {
        changes.push(counted("rule", before.rules.iter().count(), after.rules.iter().count()));
    }
    if before.expected != after.expected {
        changes.push(counted("expected mount", before.expected.len(), after.expected.len()));
    }
    if before.hooks != after.hooks {
        changes.push("hooks changed".to_owned());
    }
    if before.alertmanager != after.alertmanager {
        changes.push("alertmanager changed".to_owned());
    }
    let more = changes.len().saturating_sub(MAX_LISTED);
    changes.truncate(MAX_LISTED);
    if more > 0 {
        changes.push(format!("and {more} more"));
    }
    changes.join(", ")
}

fn counted(what: &str, before: usize, after: usize) -> String {
    if before == after { format!("{what}s changed") } else { format!("{what}s {before} -> {after}") }
}
