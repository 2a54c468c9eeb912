//! The status page: one HTML document that is complete without its script. The script only requests the page again when
//! something has changed, and replaces what differs.

mod cards;
mod html;
mod query;
#[cfg(test)]
mod tests;

pub use query::PageQuery;

use super::escape::escape_os;
use super::rows;
use super::status_summary::mounts;
use super::timestamp::{clock, rfc3339};
use super::{HumanDuration, Message, Snapshot, StatusSummary};
use super::{notices, remedy_state};
use crate::monitor::{Health, MountStatus, Time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use html::{Html, age};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Placeholders are `@NAME@`; there is no other `@`.
const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Maximum number of rows on one page: about 300 KB, which every browser draws quickly.
const MAX_ROWS: usize = 500;
/// Maximum number of vital events, and of others, on the page.
pub const MAX_EVENTS: usize = 50;
/// Maximum number of dead or missing mounts shown with details. The table has all dead mounts.
const MAX_DETAILED: usize = 50;

/// The content of the page.
pub struct StatusPage<'a> {
    /// The mounts.
    pub snapshot: &'a Snapshot,
    /// Deaths, recoveries and the like, newest first.
    pub history: &'a [Arc<Message>],
    /// The other events, newest first.
    pub other_events: &'a [Arc<Message>],
    /// The name of this host.
    pub host: &'a str,
    /// What was requested.
    pub query: &'a PageQuery,
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

/// The mounts that match the query.
struct Selection<'a> {
    rows: Vec<&'a MountStatus>,
    /// Dead ones with details.
    dead: Vec<&'a MountStatus>,
    dead_count: usize,
    count: usize,
    page: usize,
    pages: usize,
}

impl StatusPage<'_> {
    /// The HTML document.
    #[must_use]
    pub fn html(&self) -> String {
        let summary = StatusSummary::of(&self.snapshot.status);
        let selection = self.selection();
        let mut html = String::with_capacity(64 * 1024);
        for (index, part) in TEMPLATE.split('@').enumerate() {
            if index % 2 == 0 {
                html.push_str(part);
            } else {
                html.push_str(&self.fill(part, &summary, &selection));
            }
        }
        html
    }

    fn fill(&self, placeholder: &str, summary: &StatusSummary, selection: &Selection<'_>) -> String {
        let status = &self.snapshot.status;
        match placeholder {
            "TITLE" if summary.dead == 0 => format!("Mounts on {}", Html(self.host)),
            "TITLE" => format!("({} dead) Mounts on {}", summary.dead, Html(self.host)),
            "STYLE" => STYLE.to_owned(),
            "SCRIPT" => SCRIPT.to_owned(),
            "HOST" => Html(self.host).to_string(),
            "VERSION" => env!("CARGO_PKG_VERSION").to_owned(),
            "QUERY" => Html(self.query.text()).to_string(),
            "STATES" => self.query.state_choices(),
            "SERVERS" => self.query.server_choices(status),
            "ORDERS" => self.query.order_choices(),
            "SUMMARY" => self.counts(summary),
            "CHECKED" => match status.last_run {
                Some(run) => age(self.snapshot, run.at, "checked % ago"),
                None => "the first check is not complete".to_owned(),
            },
            "NOTICES" => {
                let notices = notices::of_daemon(self.snapshot);
                notices.lines().take(MAX_DETAILED).map(|line| format!("<li>{}</li>", Html(line))).collect()
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
            "DEAD" => self.dead_mounts(selection, summary.dead),
            "MISSING_HIDDEN" => if summary.missing == 0 { "hidden" } else { "" }.to_owned(),
            "MISSING_TITLE" => match summary.missing {
                1 => "1 expected mount is missing".to_owned(),
                n => format!("{n} expected mounts are missing"),
            },
            "MISSING" => {
                let missing = status.missing_mounts().take(MAX_DETAILED);
                let cards: String = missing.map(|mount| cards::missing(mount, self.snapshot)).collect();
                cards + &more(summary.missing.saturating_sub(MAX_DETAILED), "")
            }
            "NOTE" => self.note(selection),
            "ROWS" => selection.rows.iter().map(|mount| self.row(mount)).collect(),
            "PAGES_HIDDEN" => if selection.pages == 1 { "hidden" } else { "" }.to_owned(),
            "PAGES" => self.pages(selection),
            "HISTORY" => event_list(self.history, "Nothing has failed since the start of the daemon"),
            "OTHER_EVENTS" => event_list(self.other_events, "No events yet"),
            unknown => unreachable!("@{unknown}@ is no placeholder"),
        }
    }

    fn counts(&self, summary: &StatusSummary) -> String {
        let remedies = remedy_state::totals(self.snapshot).map(|totals| format!("; {totals}"));
        let (all, others) = (mounts(summary.total), summary.other_counts());
        format!("{all}; {} dead{others}{}", summary.dead, remedies.unwrap_or_default())
    }

    fn selection(&self) -> Selection<'_> {
        let now = self.snapshot.at;
        let mut matching = self.query.matching(&self.snapshot.status);
        let mut dead: Vec<_> =
            matching.iter().copied().filter(|mount| mount.health.failure().is_some()).collect();
        let pages = matching.len().div_ceil(MAX_ROWS).max(1);
        let page = self.query.page_among(pages);
        Selection {
            rows: self.query.page_of(&mut matching, page, MAX_ROWS, now).to_vec(),
            dead_count: dead.len(),
            dead: self.query.page_of(&mut dead, 0, MAX_DETAILED, now).to_vec(),
            count: matching.len(),
            page,
            pages,
        }
    }

    fn dead_mounts(&self, selection: &Selection<'_>, all: usize) -> String {
        let is_open = selection.dead_count <= cards::MAX_OPEN;
        let cards = selection.dead.iter().map(|mount| cards::dead(mount, self.snapshot, is_open));
        cards.collect::<String>()
            + &more(selection.dead_count - selection.dead.len(), "; the filter finds their next steps")
            + &match all - selection.dead_count {
                0 => String::new(),
                n if n == all => "<li class=\"more\">the filter matches none of them</li>".to_owned(),
                n => format!("<li class=\"more\">{n} more do not match the filter</li>"),
            }
    }

    fn note(&self, selection: &Selection<'_>) -> String {
        let all = self.snapshot.status.mounts.len();
        let &Selection { count, page, pages, .. } = selection;
        let mut notes = Vec::new();
        if !self.query.selects_all() {
            notes.push(format!("{count} of {all} mounts match (<a href=\"?\">show all</a>)"));
        }
        if pages > 1 && page == 0 {
            notes.push(format!("the first {MAX_ROWS} of {count} are shown"));
        } else if pages > 1 {
            let (first, last) = (page * MAX_ROWS + 1, count.min((page + 1) * MAX_ROWS));
            notes.push(format!("{first} to {last} of {count} are shown"));
        }
        let ignored = self.query.ignored().iter();
        notes.extend(ignored.map(|parameter| format!("{} is not known and ignored", Html(parameter))));
        notes.join("; ")
    }

    fn pages(&self, Selection { page, pages, .. }: &Selection<'_>) -> String {
        let link = |id: &str, text: &str, page: Option<usize>| match page.filter(|page| page < pages) {
            Some(page) => {
                format!("<a id=\"{id}\" rel=\"nofollow\" href=\"{}\">{text}</a>", self.query.address(page))
            }
            None => format!("<span class=\"off\">{text}</span>"),
        };
        format!(
            "{} <span id=\"page\">{} of {pages}</span> {}",
            link("previous", "Previous", page.checked_sub(1)),
            page + 1,
            link("next", "Next", Some(page + 1))
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
        let last = status.last_response.map(|response| age(self.snapshot, response.at, "% ago"));
        let cell = |label: &str, class: &str, html: &str| {
            format!("<td role=\"cell\" data-label=\"{label}\" class=\"{class}\">{html}</td>")
        };
        let name = |name| Html(&escape_os(name)).to_string();
        let latency = rows::latency(status, self.snapshot.at).unwrap_or_else(unknown);
        [
            format!("<tr role=\"row\"><td role=\"cell\">{}</td>", badge(status)),
            format!(
                "<th role=\"rowheader\" scope=\"row\" class=\"path\">{}{}{}</th>",
                name(mount.mountpoint.as_os_str()),
                tags(status, self.snapshot.at),
                if rows::is_read_only(status) { "<span class=\"tag\">read-only</span>" } else { "" },
            ),
            cell("Since", "n", &age(self.snapshot, status.since, "%")),
            cell("Latency", "n", &Html(&latency).to_string()),
            cell("Last response", "n", &last.unwrap_or_else(|| "never".to_owned())),
            cell("Use", "n", &rows::use_percent(status).map_or_else(unknown, meter)),
            cell("Type", "", &name(&mount.fstype)),
            cell("Device", "device", &name(&mount.device)),
            "</tr>\n".to_owned(),
        ]
        .concat()
    }
}

fn more(count: usize, hint: &str) -> String {
    if count == 0 { String::new() } else { format!("<li class=\"more\">and {count} more{hint}</li>") }
}

fn event_list(events: &[Arc<Message>], empty: &str) -> String {
    let item = |message: &Arc<Message>| {
        format!(
            "<li class=\"{}\"><time datetime=\"{}\">{}</time><span>{}</span></li>\n",
            message.priority.as_str(),
            rfc3339(message.time),
            clock(message.time),
            Html(&message.text)
        )
    };
    let html: String = events.iter().take(MAX_EVENTS).map(item).collect();
    if html.is_empty() { format!("<li class=\"empty\">{empty}</li>") } else { html }
}

fn badge(status: &MountStatus) -> String {
    let state = rows::state(&status.health);
    format!("<span class=\"badge {}\">{}</span>", status.health.as_str(), Html(&state))
}

/// What else there is to know about the state, apart from it, so that it stays short.
fn tags(status: &MountStatus, now: Time) -> String {
    let mut tags = String::new();
    if status.flapping.is_some() {
        tags += "<span class=\"tag warn\">flapping</span>";
    }
    if status.has_unexpected_options == Some(true) {
        tags += "<span class=\"tag warn\">unexpected options</span>";
    }
    if let Some(age) = status.outdated_at(now)
        && !matches!(status.health, Health::Unknown { .. })
    {
        tags += &format!("<span class=\"tag warn\">{} old</span>", HumanDuration::in_seconds(age));
    }
    tags
}
