//! The status page: one HTML document that is complete without its script; the script keeps it up to date.

use super::escape::escape_os;
use super::evidence::evidence_lines;
use super::messages::{cause, consequence, requirement, source};
use super::rows;
use super::status_summary::mounts;
use super::timestamp::{clock, rfc3339};
use super::{HumanDuration, Message, Snapshot, StatusSummary};
use crate::monitor::{Event, ExpectedStatus, MountStatus, Time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use platform::evidence::MAX_NAMED_TASKS;
use sha2::{Digest as _, Sha256};
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Placeholders are `@NAME@`; there is no other `@`.
const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Maximum number of rows in the document; the script shows the rest. Every browser draws this many quickly.
const MAX_ROWS: usize = 500;
/// Maximum number of events on the page, also in the script.
const MAX_EVENTS: usize = 50;
/// Maximum number of dead or missing mounts shown with details, also in the script; the table has all dead mounts.
const MAX_DETAILED: usize = 50;

/// The content of the page.
pub struct StatusPage<'a> {
    /// The mounts.
    pub snapshot: &'a Snapshot,
    /// The latest events, oldest first.
    pub events: &'a [Arc<Message>],
    /// The number of the last event: the script requests those after it.
    pub last_event: u64,
    /// The name of this host.
    pub host: &'a str,
    /// Only mounts that contain all words of it are shown.
    pub filter: &'a str,
}

/// Allows the style, the script and the API of this page, and nothing else.
#[must_use]
pub fn content_security_policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

impl StatusPage<'_> {
    /// The HTML document.
    #[must_use]
    pub fn html(&self) -> String {
        let summary = StatusSummary::of(&self.snapshot.status);
        let matching = self.matching();
        let mut html = String::with_capacity(64 * 1024);
        for (index, part) in TEMPLATE.split('@').enumerate() {
            if index % 2 == 0 {
                html.push_str(part);
            } else {
                html.push_str(&self.fill(part, &summary, &matching));
            }
        }
        html
    }

    fn fill(&self, placeholder: &str, summary: &StatusSummary, matching: &[&MountStatus]) -> String {
        match placeholder {
            "TITLE" if summary.dead == 0 => format!("Mounts on {}", Html(self.host)),
            "TITLE" => format!("({} dead) Mounts on {}", summary.dead, Html(self.host)),
            "STYLE" => STYLE.to_owned(),
            "SCRIPT" => SCRIPT.to_owned(),
            "HOST" => Html(self.host).to_string(),
            "VERSION" => env!("CARGO_PKG_VERSION").to_owned(),
            "LAST_EVENT" => self.last_event.to_string(),
            "ROWS_LIMIT" => MAX_ROWS.to_string(),
            "QUERY" => Html(self.filter).to_string(),
            "SUMMARY" => {
                format!("{}; {} dead{}", mounts(summary.total), summary.dead, summary.other_counts())
            }
            "DEAD_CLASS" => match (summary.dead, summary.unjudged()) {
                (0, 0) => "",
                (0, _) => "unsure",
                _ => "some",
            }
            .to_owned(),
            "DEAD_TITLE" => match summary.dead {
                0 if summary.unjudged() > 0 => format!("{} could not be judged", mounts(summary.unjudged())),
                0 => "No mount is dead".to_owned(),
                1 => "1 mount is dead".to_owned(),
                n => format!("{n} mounts are dead"),
            },
            "DEAD" => self.dead_mounts(summary.dead),
            "MISSING_HIDDEN" => if summary.missing == 0 { "hidden" } else { "" }.to_owned(),
            "MISSING_TITLE" => match summary.missing {
                1 => "1 expected mount is missing".to_owned(),
                n => format!("{n} expected mounts are missing"),
            },
            "MISSING" => {
                let missing = self.snapshot.status.missing_mounts().take(MAX_DETAILED);
                missing.map(|mount| self.missing_mount(mount)).collect()
            }
            "NOTE" => self.note(matching.len()),
            "ROWS" => matching.iter().take(MAX_ROWS).map(|mount| self.row(mount)).collect(),
            "EVENTS" => self.event_list(),
            unknown => unreachable!("@{unknown}@ is no placeholder"),
        }
    }

    fn matching(&self) -> Vec<&MountStatus> {
        let filter = self.filter.to_lowercase();
        let words: Vec<&str> = filter.split_whitespace().collect();
        let mounts = self.snapshot.status.mounts.iter();
        let mut mounts: Vec<&MountStatus> = mounts.filter(|mount| contains(mount, &words)).collect();
        rows::sort(&mut mounts);
        mounts
    }

    fn note(&self, found: usize) -> String {
        let all = self.snapshot.status.mounts.len();
        let mut notes = Vec::new();
        if !self.filter.trim().is_empty() {
            notes.push(format!("{found} of {all} mounts match"));
        }
        if found > MAX_ROWS {
            notes.push(format!("the first {MAX_ROWS} of {found} are shown; use the filter to see others"));
        }
        notes.join("; ")
    }

    fn dead_mounts(&self, count: usize) -> String {
        let mounts = self.snapshot.status.mounts.iter();
        let mut dead: Vec<&MountStatus> = mounts.filter(|mount| mount.health.failure().is_some()).collect();
        rows::sort(&mut dead);
        let mut html: String = dead.iter().take(MAX_DETAILED).map(|mount| self.dead_mount(mount)).collect();
        if let Some(more @ 1..) = count.checked_sub(MAX_DETAILED) {
            html += &format!("<li class=\"more\">and {more} more at the top of the table</li>");
        }
        html
    }

    fn dead_mount(&self, status: &MountStatus) -> String {
        let Some(failure) = status.health.failure() else { return String::new() };
        let mount = &status.mount;
        let evidence = match &failure.evidence {
            Some(record) => evidence_lines(failure, &record.evidence, MAX_NAMED_TASKS).join("; "),
            None => String::new(),
        };
        let evidence = match evidence.as_str() {
            "" => String::new(),
            text => format!("<span class=\"evidence\">{}</span>", Html(text)),
        };
        format!(
            "<li>{}<span class=\"path\">{}</span><span class=\"what\"><b>{}: {}</b> · {} · {}{evidence}</span></li>",
            badge(status, self.snapshot.at),
            Html(&escape_os(&mount.mountpoint)),
            failure.reason.as_str(),
            Html(&cause(failure)),
            self.since(status.since),
            Html(&source(mount)),
        )
    }

    fn missing_mount(&self, status: &ExpectedStatus) -> String {
        format!(
            "<li><span class=\"badge missing\">missing</span><span class=\"path\">{}</span><span class=\"what\">\
             <b>{}</b> · {} · {}</span></li>",
            Html(&escape_os(&status.expected.mountpoint)),
            Html(&consequence(&status.expected, status.containing_mount.as_deref())),
            self.since(status.missing_since.unwrap_or_default()),
            Html(&requirement(&status.expected)),
        )
    }

    fn row(&self, status: &MountStatus) -> String {
        let mount = &status.mount;
        let unknown = || "–".to_owned();
        let meter = |percent: f64| {
            format!(
                "<meter min=\"0\" max=\"100\" high=\"90\" optimum=\"0\" value=\"{percent:.1}\" aria-hidden=\"true\">\
                 </meter>{:.0}%",
                percent.ceil()
            )
        };
        let last = status.last_response.map(|response| self.time_element(response.at, "% ago"));
        let cell = |label: &str, class: &str, html: &str| {
            format!("<td role=\"cell\" data-label=\"{label}\" class=\"{class}\">{html}</td>")
        };
        let name = |name| Html(&escape_os(name)).to_string();
        [
            format!("<tr role=\"row\"><td role=\"cell\">{}</td>", badge(status, self.snapshot.at)),
            format!(
                "<th role=\"rowheader\" scope=\"row\" class=\"path\">{}{}</th>",
                name(mount.mountpoint.as_os_str()),
                if rows::is_read_only(status) { "<span class=\"ro\">read-only</span>" } else { "" },
            ),
            cell(
                "Latency",
                "n",
                &Html(&rows::latency(status, self.snapshot.at).unwrap_or_else(unknown)).to_string(),
            ),
            cell("Last response", "n", &last.unwrap_or_else(|| "never".to_owned())),
            cell("Use", "n", &rows::use_percent(status).map_or_else(unknown, meter)),
            cell("Type", "", &name(&mount.fstype)),
            cell("Device", "device", &name(&mount.device)),
            "</tr>\n".to_owned(),
        ]
        .concat()
    }

    fn event_list(&self) -> String {
        // Runs are routine; their results have events of their own.
        let events =
            self.events.iter().rev().filter(|message| !matches!(message.event, Some(Event::Run { .. })));
        let item = |message: &Arc<Message>| {
            format!(
                "<li class=\"{}\"><time datetime=\"{}\">{}</time><span>{}</span></li>",
                message.priority.as_str(),
                rfc3339(message.time),
                clock(message.time),
                Html(&message.text)
            )
        };
        let html: String = events.take(MAX_EVENTS).map(item).collect();
        if html.is_empty() { "<li class=\"empty\">No events yet</li>".to_owned() } else { html }
    }

    fn since(&self, time: Time) -> String {
        format!("{} (since {})", self.time_element(time, "for %"), clock(self.snapshot.wall_at(time)))
    }

    /// The script updates the age, which replaces `%` in the text.
    fn time_element(&self, time: Time, text: &str) -> String {
        let wall = self.snapshot.wall_at(time);
        let age = HumanDuration::in_seconds(self.snapshot.at.since(time)).to_string();
        format!(
            "<time datetime=\"{}\" title=\"{}\" data-text=\"{text}\">{}</time>",
            rfc3339(wall),
            clock(wall),
            text.replace('%', &age)
        )
    }
}

fn contains(status: &MountStatus, words: &[&str]) -> bool {
    if words.is_empty() {
        return true;
    }
    let mount = &status.mount;
    let text = format!(
        "{} {} {} {} {}",
        rows::state(&status.health),
        status.health.failure().map_or("", |failure| failure.reason.as_str()),
        escape_os(&mount.mountpoint),
        escape_os(&mount.fstype),
        escape_os(&mount.device)
    )
    .to_lowercase();
    words.iter().all(|word| text.contains(word))
}

fn badge(status: &MountStatus, now: Time) -> String {
    let state = rows::state_at(status, now);
    format!("<span class=\"badge {}\">{}</span>", status.health.as_str(), Html(&state))
}

/// Displays text escaped for HTML content and attributes.
struct Html<'a>(&'a str);

impl fmt::Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Health;
    use crate::render::samples::{self, at};
    use crate::render::table::tests::sample;

    #[test]
    fn page_shows_dead_mounts_filtered_rows_and_escapes_text() {
        let snapshot = Snapshot { at: at(12.0), ..samples::snapshot(sample()) };
        let page =
            |filter| StatusPage { snapshot: &snapshot, events: &[], last_event: 7, host: "<h>", filter };
        let html = page("").html();
        for part in [
            "<title>(2 dead) Mounts on &lt;h&gt;</title>",
            "data-last-event=\"7\"",
            "6 mounts; 2 dead; 1 slow; 1 cannot be checked;",
            "<b>hung: no response in 3s</b> · <time datetime=\"1970-01-01T00:01:36.000Z\"",
            "<span class=\"evidence\">NFS server 10.0.0.5:2049 refuses connections; 14 tasks blocked: bash[311], ",
            "class=\"badge failed\">failed ESTALE</span>",
            "No events yet",
        ] {
            assert!(html.contains(part), "{part} is not in\n{html}");
        }
        assert_eq!(html.matches("<tr role=\"row\"><td").count(), 7);
        assert!(html.find("/mnt/hung</th>") < html.find("/mnt/日本</th>"), "{html}");
        let filtered = page("ESTALE nfs\"").html();
        assert!(filtered.contains("value=\"ESTALE nfs&quot;\"") && filtered.contains("0 of 7 mounts match"));
        assert_eq!(page("estale nfs").html().matches("<tr role=\"row\"><td").count(), 1);
    }

    #[test]
    fn page_does_not_call_unknown_mounts_well() {
        let unknown = samples::mount("/u", "nfs4", "nas:/u", "rw", "rw");
        let unknown = samples::status_of(unknown, Health::Unknown { was: "ok" });
        let snapshot = samples::snapshot(samples::status(vec![unknown]));
        let page = StatusPage { snapshot: &snapshot, events: &[], last_event: 0, host: "h", filter: "" };
        let html = page.html();
        assert!(html.contains("1 mount could not be judged") && html.contains("unknown (was ok)"), "{html}");
        assert!(!html.contains(">No mount is dead<"), "{html}");
    }
}
