//! Dead and missing mounts with all that is known about them.

use super::html::{Html, age, since};
use crate::monitor::{ExpectedStatus, Failure, MountStatus, Severity};
use crate::render::escape::escape_os;
use crate::render::evidence::evidence_lines;
use crate::render::messages::{cause, consequence, requirement, source};
use crate::render::next_steps::{NextStep, next_steps};
use crate::render::{Snapshot, remedy_state};
use platform::evidence::MAX_NAMED_TASKS;

/// With so few dead mounts their next steps are open.
pub(super) const MAX_OPEN: usize = 3;

/// A dead mount.
pub(super) fn dead(status: &MountStatus, snapshot: &Snapshot, is_open: bool) -> String {
    let Some(failure) = status.health.failure() else { return String::new() };
    let path = escape_os(&status.mount.mountpoint);
    let answered = match status.last_response {
        Some(response) => age(snapshot, response.at, "last response % ago"),
        None => "no response so far".to_owned(),
    };
    format!(
        "<li><p class=\"name\">{}<span class=\"path\">{}</span>{}</p><p class=\"what\"><b>{}: {}</b> · {} · {answered} · \
         {}</p>{}{}{}</li>\n",
        super::badge(status),
        Html(&path),
        super::tags(status, snapshot.at) + severity(status.settings.severity),
        failure.reason.as_str(),
        Html(&cause(failure)),
        since(snapshot, status.since),
        Html(&source(&status.mount)),
        evidence(failure, snapshot),
        remedy(status, snapshot),
        steps(&path, &next_steps(&status.mount, failure), is_open),
    )
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "",
        Severity::Warning => "<span class=\"tag\">severity warning</span>",
        Severity::Info => "<span class=\"tag\">severity info</span>",
    }
}

fn evidence(failure: &Failure, snapshot: &Snapshot) -> String {
    let Some(record) = &failure.evidence else { return String::new() };
    let known = evidence_lines(failure, &record.evidence, MAX_NAMED_TASKS).join("; ");
    if known.is_empty() {
        return known;
    }
    let found = age(snapshot, record.at, "found % ago");
    format!("<p class=\"evidence\">{} <span class=\"found\">({found})</span></p>", Html(&known))
}

fn remedy(status: &MountStatus, snapshot: &Snapshot) -> String {
    let Some(remedy) = remedy_state::of_mount(&snapshot.remedies, status) else { return String::new() };
    format!("<p class=\"evidence remedy\">{}</p>", Html(&remedy_state::words_at(remedy, snapshot.at)))
}

/// The same words as those of `diagnose`.
fn steps(path: &str, steps: &[NextStep], is_open: bool) -> String {
    let mut html = format!(
        "<details data-key=\"{}\"{}><summary>Next steps</summary><ol>",
        Html(path),
        if is_open { " open" } else { "" }
    );
    for NextStep { command, effect } in steps {
        let command = command.as_deref().map(|text| format!("<code>{}</code> ", Html(text)));
        html += &format!("<li>{}{}</li>", command.unwrap_or_default(), Html(effect));
    }
    html + "</ol></details>"
}

/// An expected mount that is missing.
pub(super) fn missing(status: &ExpectedStatus, snapshot: &Snapshot) -> String {
    format!(
        "<li><p class=\"name\"><span class=\"badge missing\">missing</span><span class=\"path\">{}</span></p>\
         <p class=\"what\"><b>{}</b> · {} · {}</p></li>\n",
        Html(&escape_os(&status.expected.mountpoint)),
        Html(&consequence(&status.expected, status.containing_mount.as_deref())),
        since(snapshot, status.missing_since.unwrap_or_default()),
        Html(&requirement(&status.expected)),
    )
}
