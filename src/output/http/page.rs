//! The status page: complete as it comes, without a script; its script keeps it live. One answer holds it all, and
//! its policy lets nothing else in.

use super::limits::{PAGE_EVENTS, PAGE_ROWS};
use super::{State, reply};
use crate::monitor::{Event, Failure, Health, MountStatus, Reason, Time};
use crate::render::HumanDuration;
use crate::render::Message;
use crate::render::Snapshot;
use crate::render::StatusSummary;
use crate::render::escape::escape_os;
use crate::render::evidence;
use crate::render::messages;
use crate::render::timestamp::rfc3339;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use platform::evidence::MAX_NAMED_TASKS;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Dead mounts that are told in full; the table has them all.
const DEAD_IN_FULL: usize = 50;

/// Nothing but what this page brings may run or be shown, and it may ask nobody but this server.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    HeaderValue::try_from(policy).expect("it is ASCII")
});

static HOST: LazyLock<String> =
    LazyLock::new(|| hostname::get().map_or_else(|_| "this host".to_owned(), |name| escape_os(&name).into()));

/// The page with the mounts in which all words of `wanted` are found.
pub(super) fn answer(state: &State, wanted: &str) -> Response {
    let latest = state.told.live.latest();
    let mut response = match &latest {
        Some(snapshot) => reply::bytes(page(state, snapshot, wanted), "text/html; charset=utf-8"),
        None => reply::text(StatusCode::SERVICE_UNAVAILABLE, "no data yet; try again in a second"),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn page(state: &State, snapshot: &Snapshot, wanted: &str) -> String {
    let log = state.told.live.events();
    let last_event = log.last();
    let mounts = in_order(snapshot, wanted);
    let dead: Vec<&MountStatus> =
        snapshot.status.mounts.iter().filter(|mount| mount.health.failure().is_some()).collect();
    let mut text = String::with_capacity(64 * 1024);
    let mut parts = TEMPLATE.split('@');
    // Every second part is a name. What is filled in is never looked at again.
    while let Some(plain) = parts.next() {
        text.push_str(plain);
        match parts.next() {
            None => break,
            Some("TITLE") => {
                let count = if dead.is_empty() { String::new() } else { format!("({} dead) ", dead.len()) };
                write!(text, "{count}Mounts on {}", Html(&HOST)).expect(INFALLIBLE);
            }
            Some("STYLE") => text.push_str(STYLE),
            Some("SCRIPT") => text.push_str(SCRIPT),
            Some("HOST") => write!(text, "{}", Html(&HOST)).expect(INFALLIBLE),
            Some("VERSION") => text.push_str(env!("CARGO_PKG_VERSION")),
            Some("LAST_EVENT") => write!(text, "{last_event}").expect(INFALLIBLE),
            Some("ROWS_LIMIT") => write!(text, "{PAGE_ROWS}").expect(INFALLIBLE),
            Some("QUERY") => write!(text, "{}", Html(wanted)).expect(INFALLIBLE),
            Some("SUMMARY") => text.push_str(&summary(snapshot)),
            Some("DEAD_CLASS") => text.push_str(if dead.is_empty() { "" } else { "some" }),
            Some("DEAD_TITLE") => text.push_str(&match dead.len() {
                0 => "No mount is dead".to_owned(),
                1 => "1 mount is dead".to_owned(),
                n => format!("{n} mounts are dead"),
            }),
            Some("DEAD") => dead_ones(&mut text, snapshot, &dead),
            Some("MISSING_HIDDEN") => {
                text.push_str(if snapshot.status.missing() == 0 { "hidden" } else { "" });
            }
            Some("MISSING_TITLE") => text.push_str(&match snapshot.status.missing() {
                1 => "1 expected mount is missing".to_owned(),
                n => format!("{n} expected mounts are missing"),
            }),
            Some("MISSING") => missing_ones(&mut text, snapshot),
            Some("NOTE") => text.push_str(&note(snapshot, mounts.len(), wanted)),
            Some("ROWS") => mounts.iter().take(PAGE_ROWS).for_each(|mount| row(&mut text, snapshot, mount)),
            Some("EVENTS") => events(&mut text, state, last_event),
            Some(other) => debug_assert!(false, "@{other}@ is nothing"),
        }
    }
    text
}

const INFALLIBLE: &str = "a String takes everything";

/// Dead first, then slow, hidden last; otherwise as in the mount table.
fn in_order<'a>(snapshot: &'a Snapshot, wanted: &str) -> Vec<&'a MountStatus> {
    let wanted = wanted.to_lowercase();
    let words: Vec<&str> = wanted.split_whitespace().collect();
    let mut mounts: Vec<&MountStatus> =
        snapshot.status.mounts.iter().filter(|mount| words.is_empty() || has(mount, &words)).collect();
    mounts.sort_by_key(|mount| match mount.health {
        Health::Dead(_) => 0,
        Health::Slow => 1,
        Health::Ok | Health::Pending | Health::Denied(_) => 2,
        Health::Hidden => 3,
    });
    mounts
}

fn has(status: &MountStatus, words: &[&str]) -> bool {
    let mount = &status.mount;
    let reason = status.health.failure().map_or("", |failure| failure.reason.as_str());
    let text = format!(
        "{} {reason} {} {} {}",
        state_of(&status.health),
        escape_os(&mount.mountpoint),
        escape_os(&mount.fstype),
        escape_os(&mount.device)
    );
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word))
}

fn state_of(health: &Health) -> String {
    let errno = match health {
        Health::Dead(failure) => failure.errno,
        Health::Denied(errno) => Some(*errno),
        Health::Pending | Health::Ok | Health::Slow | Health::Hidden => None,
    };
    errno.map_or_else(|| health.as_str().to_owned(), |errno| format!("{} {}", health.as_str(), errno.name()))
}

fn summary(snapshot: &Snapshot) -> String {
    let verdict = StatusSummary::of(&snapshot.status);
    let mut summary = format!("{} mounts; {} dead", verdict.total, verdict.dead);
    for (count, what) in [
        (verdict.missing, "missing"),
        (verdict.slow, "slow"),
        (verdict.denied, "cannot be checked"),
        (verdict.pending, "could not be judged"),
        (verdict.hidden, "hidden under other mounts"),
    ] {
        if count > 0 {
            write!(summary, "; {count} {what}").expect(INFALLIBLE);
        }
    }
    summary
}

fn note(snapshot: &Snapshot, found: usize, wanted: &str) -> String {
    let all = snapshot.status.mounts.len();
    let mut parts = Vec::new();
    if !wanted.trim().is_empty() {
        parts.push(format!("{found} of {all} mounts match"));
    }
    if found > PAGE_ROWS {
        parts.push(format!("the first {PAGE_ROWS} of {found} are shown; use the filter to see others"));
    }
    parts.join("; ")
}

fn dead_ones(text: &mut String, snapshot: &Snapshot, dead: &[&MountStatus]) {
    for status in dead.iter().take(DEAD_IN_FULL) {
        let Some(failure) = status.health.failure() else { continue };
        let mount = &status.mount;
        let wall = rfc3339(snapshot.wall_at(status.since));
        let from = if mount.device.is_empty() { "" } else { " from " };
        write!(
            text,
            "<li>{}<span class=\"path\">{}</span><span class=\"what\"><b>{}: {}</b> · {} (since {}) · {}{from}{}\
             {}</span></li>",
            badge(&status.health),
            Html(&escape_os(&mount.mountpoint)),
            failure.reason.as_str(),
            Html(&messages::cause(failure)),
            ago(&wall, "for %", snapshot, status.since),
            clock(&wall),
            Html(&escape_os(&mount.fstype)),
            Html(&escape_os(&mount.device)),
            known(failure),
        )
        .expect(INFALLIBLE);
    }
    if dead.len() > DEAD_IN_FULL {
        write!(
            text,
            "<li class=\"more\">and {} more at the top of the table</li>",
            dead.len() - DEAD_IN_FULL
        )
        .expect(INFALLIBLE);
    }
}

/// What was learned about it.
fn known(failure: &Failure) -> String {
    let Some(findings) = &failure.evidence else { return String::new() };
    let said = evidence::sentences(failure, &findings.evidence, MAX_NAMED_TASKS).join("; ");
    if said.is_empty() { said } else { format!("<span class=\"known\">{}</span>", Html(&said)) }
}

fn missing_ones(text: &mut String, snapshot: &Snapshot) {
    for status in snapshot.status.missing_mounts().take(DEAD_IN_FULL) {
        let Some(since) = status.missing_since else { continue };
        let wall = rfc3339(snapshot.wall_at(since));
        write!(
            text,
            "<li><span class=\"badge missing\">missing</span><span class=\"path\">{}</span><span class=\"what\"><b>{}</b> · \
             {} (since {}) · {}</span></li>",
            Html(&escape_os(&status.expected.mountpoint)),
            Html(&messages::meanwhile(&status.expected, status.containing_mount.as_deref())),
            ago(&wall, "for %", snapshot, since),
            clock(&wall),
            Html(&messages::wanted(&status.expected)),
        )
        .expect(INFALLIBLE);
    }
}

fn row(text: &mut String, snapshot: &Snapshot, status: &MountStatus) {
    let mount = &status.mount;
    let usage = status.last_response.and_then(|answer| answer.usage);
    let read_only = mount.read_only() || usage.is_some_and(|usage| usage.read_only);
    let alive = matches!(status.health, Health::Ok | Health::Slow);
    let used = usage.filter(|_| alive).and_then(|usage| usage.percent());
    let used = used.map_or_else(
        || "–".to_owned(),
        |percent| {
            format!(
                "<meter min=\"0\" max=\"100\" high=\"90\" optimum=\"0\" value=\"{percent:.1}\" \
                 aria-hidden=\"true\"></meter>{:.0}%",
                percent.ceil()
            )
        },
    );
    let last = status.last_response.map_or_else(
        || "never".to_owned(),
        |answer| ago(&rfc3339(snapshot.wall_at(answer.at)), "% ago", snapshot, answer.at),
    );
    writeln!(
        text,
        "<tr role=\"row\"><td role=\"cell\">{}</td><th role=\"rowheader\" scope=\"row\" class=\"path\">{}{}</th><td role=\"cell\" data-label=\"Latency\" class=\"n\">{}</td>\
         <td role=\"cell\" data-label=\"Last response\" class=\"n\">{last}</td><td role=\"cell\" data-label=\"Use\" class=\"n\">{used}</td>\
         <td role=\"cell\" data-label=\"Type\">{}</td><td role=\"cell\" data-label=\"Device\" class=\"device\">{}</td></tr>",
        badge(&status.health),
        Html(&escape_os(&mount.mountpoint)),
        if read_only { "<span class=\"ro\">read-only</span>" } else { "" },
        Html(&latency(snapshot, status)),
        Html(&escape_os(&mount.fstype)),
        Html(&escape_os(&mount.device)),
    )
    .expect(INFALLIBLE);
}

fn latency(snapshot: &Snapshot, status: &MountStatus) -> String {
    match (&status.health, status.last_response, status.waiting_since) {
        (Health::Ok | Health::Slow, Some(answer), _) => HumanDuration(answer.took).to_string(),
        (Health::Dead(failure), _, None) if failure.reason == Reason::Hung => {
            format!(">{}", HumanDuration(failure.waited))
        }
        (Health::Dead(_) | Health::Pending, _, Some(since)) => {
            format!(">{}", HumanDuration(snapshot.at.since(since)))
        }
        _ => "–".to_owned(),
    }
}

fn badge(health: &Health) -> String {
    format!("<span class=\"badge {}\">{}</span>", health.as_str(), Html(&state_of(health)))
}

fn ago(wall: &str, words: &str, snapshot: &Snapshot, since: Time) -> String {
    let seconds = Duration::from_secs(snapshot.at.since(since).as_secs());
    let text = words.replace('%', &HumanDuration(seconds).to_string());
    format!("<time datetime=\"{wall}\" title=\"{}\" data-words=\"{words}\">{text}</time>", clock(wall))
}

/// `2025-11-02 08:05:09 UTC`, from RFC 3339.
fn clock(wall: &str) -> String {
    format!("{} UTC", wall.get(..19).unwrap_or(wall).replace('T', " "))
}

fn events(text: &mut String, state: &State, last: u64) {
    let (mut events, _) = state.told.live.events().after(0, usize::MAX);
    events.retain(|event| event.number <= last && is_shown(&event.message));
    if events.is_empty() {
        text.push_str("<li class=\"empty\">No events yet</li>");
    }
    for event in events.iter().rev().take(PAGE_EVENTS) {
        let (message, wall) = (&event.message, rfc3339(event.message.time));
        write!(
            text,
            "<li class=\"{}\"><time datetime=\"{wall}\">{}</time><span>{}</span></li>",
            message.priority.as_str(),
            clock(&wall),
            Html(&message.text)
        )
        .expect(INFALLIBLE);
    }
}

/// Runs come all the time; what happened in them has events of its own.
fn is_shown(message: &Message) -> bool {
    !matches!(message.event, Some(Event::Run { .. }))
}

/// Text that is nothing but text in HTML, in attributes too.
struct Html<'a>(&'a str);

impl std::fmt::Display for Html<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
