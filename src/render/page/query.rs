//! The parameters of the page: which mounts are shown, and in which order.

use super::html::Html;
use crate::monitor::{Health, MountStatus, Status, Time};
use crate::render::escape::{escape, escape_os};
use crate::render::metrics::server;
use crate::render::rows;
use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Maximum number of servers that the form lists; others can be named in the address.
const MAX_SERVERS: usize = 100;

/// The values of `state`, and how the form names them.
const STATES: [(&str, &str); 12] = [
    ("", "any"),
    ("problems", "all but ok"),
    ("dead", "dead"),
    ("hung", "hung"),
    ("failed", "failed"),
    ("unknown", "unknown"),
    ("slow", "slow"),
    ("denied", "denied"),
    ("pending", "pending"),
    ("ok", "ok"),
    ("hidden", "hidden"),
    ("missing", "missing"),
];

/// The values of `sort`, and how the form names them.
const ORDERS: [(&str, &str, Order); 6] = [
    ("", "problems first", Order::State),
    ("since", "last change first", Order::Since),
    ("latency", "slowest first", Order::Latency),
    ("use", "fullest first", Order::Use),
    ("path", "mount point", Order::Path),
    ("server", "server", Order::Server),
];

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Order {
    #[default]
    State,
    Since,
    Latency,
    Use,
    Path,
    Server,
}

/// What was requested.
#[derive(Default, Debug)]
pub struct PageQuery {
    /// Only mounts that contain all words of it.
    text: String,
    state: &'static str,
    server: String,
    order: Order,
    /// Begins with 0.
    page: usize,
    ignored: Vec<String>,
}

impl PageQuery {
    /// Parameters that are not known are ignored, and the page says so.
    #[must_use]
    pub fn new(parameters: &[(String, String)]) -> PageQuery {
        let mut query = PageQuery::default();
        for (key, value) in parameters {
            let value = value.trim();
            let is_known = match key.as_str() {
                "q" => {
                    value.clone_into(&mut query.text);
                    true
                }
                "server" => {
                    value.clone_into(&mut query.server);
                    true
                }
                "state" => {
                    let known = STATES.iter().find(|(name, _)| *name == value);
                    query.state = known.map_or(query.state, |(name, _)| name);
                    known.is_some()
                }
                "sort" => {
                    let known =
                        ORDERS.iter().find(|(name, ..)| *name == if value == "state" { "" } else { value });
                    query.order = known.map_or(query.order, |(.., order)| *order);
                    known.is_some()
                }
                "page" => {
                    let number = value.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                    query.page = number.unwrap_or(query.page);
                    number.is_some()
                }
                _ => false,
            };
            if !is_known {
                query.ignored.push(format!("{key}={value}"));
            }
        }
        query
    }

    /// Are all mounts shown?
    pub(super) fn selects_all(&self) -> bool {
        self.text.is_empty() && self.state.is_empty() && self.server.is_empty()
    }

    /// The words of the filter.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The mounts that match, in no order.
    pub(super) fn matching<'a>(&self, status: &'a Status) -> Vec<&'a MountStatus> {
        let text = self.text.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let is_matching = |mount: &&MountStatus| {
            self.has_state(&mount.health) && self.has_server(mount) && contains(mount, &words)
        };
        status.mounts.iter().filter(is_matching).collect()
    }

    fn has_state(&self, health: &Health) -> bool {
        match self.state {
            "" => true,
            "dead" => health.failure().is_some(),
            "problems" => !matches!(health, Health::Ok | Health::Hidden),
            name => name == health.as_str(),
        }
    }

    fn has_server(&self, status: &MountStatus) -> bool {
        self.server.is_empty()
            || server(&status.mount).is_some_and(|name| escape(name).eq_ignore_ascii_case(&self.server))
    }

    /// Sorts the mounts of one page, and returns them. Nothing else is sorted: there may be very many.
    pub(super) fn page_of<'a, 'm>(
        &self,
        mounts: &'m mut [&'a MountStatus],
        page: usize,
        size: usize,
        now: Time,
    ) -> &'m [&'a MountStatus] {
        let compare = |a: &&MountStatus, b: &&MountStatus| self.compare(a, b, now);
        let (start, end) = (page.saturating_mul(size).min(mounts.len()), mounts.len().min((page + 1) * size));
        if end < mounts.len() {
            mounts.select_nth_unstable_by(end, compare);
        }
        mounts[..end].sort_by(compare);
        &mounts[start..end]
    }

    fn compare(&self, a: &MountStatus, b: &MountStatus, now: Time) -> Ordering {
        let order = match self.order {
            Order::Path => Ordering::Equal,
            Order::State => by(a, b, rows::attention),
            Order::Since => by(a, b, |mount| Reverse(mount.since)),
            Order::Latency => by(a, b, |mount| Reverse(rows::latency_time(mount, now))),
            Order::Use => {
                let percent = |mount: &MountStatus| rows::use_percent(mount).unwrap_or(-1.0);
                percent(b).total_cmp(&percent(a))
            }
            // Those without one are last.
            Order::Server => match (server(&a.mount), server(&b.mount)) {
                (Some(a), Some(b)) => a.cmp(b),
                (a, b) => a.is_none().cmp(&b.is_none()),
            }
            .then_with(|| by(a, b, rows::attention)),
        };
        order.then_with(|| rows::path(a).cmp(rows::path(b))).then_with(|| by(a, b, |mount| mount.mount.key))
    }

    /// The number of the page, of so many.
    pub(super) fn page_among(&self, pages: usize) -> usize {
        self.page.min(pages - 1)
    }

    /// The address of another page of the same selection.
    pub(super) fn address(&self, page: usize) -> String {
        let order = ORDERS.iter().find(|(.., order)| *order == self.order).map_or("", |(name, ..)| name);
        let number = if page == 0 { String::new() } else { (page + 1).to_string() };
        let mut address = String::from("?");
        for (key, value) in [
            ("q", &*self.text),
            ("state", self.state),
            ("server", &self.server),
            ("sort", order),
            ("page", &number),
        ] {
            if !value.is_empty() {
                let separator = if address.len() > 1 { "&amp;" } else { "" };
                let _ = write!(address, "{separator}{key}={}", encoded(value)); // a string accepts all
            }
        }
        address
    }

    pub(super) fn state_choices(&self) -> String {
        STATES.iter().map(|(name, label)| choice(name, label, *name == self.state)).collect()
    }

    pub(super) fn order_choices(&self) -> String {
        ORDERS.iter().map(|(name, label, order)| choice(name, label, *order == self.order)).collect()
    }

    pub(super) fn server_choices(&self, status: &Status) -> String {
        let mut servers: BTreeSet<Cow<'_, str>> = BTreeSet::new();
        for name in status.mounts.iter().filter_map(|mount| server(&mount.mount)) {
            servers.insert(escape(name));
            if servers.len() > MAX_SERVERS {
                servers.pop_last();
            }
        }
        let is_chosen = |name: &str| name.eq_ignore_ascii_case(&self.server);
        if !servers.iter().any(|name| is_chosen(name)) && !self.server.is_empty() {
            servers.insert(self.server.as_str().into());
        }
        let any = choice("", "any", self.server.is_empty());
        any + &servers.iter().map(|name| choice(name, name, is_chosen(name))).collect::<String>()
    }
}

fn by<K: Ord>(a: &MountStatus, b: &MountStatus, key: impl Fn(&MountStatus) -> K) -> Ordering {
    key(a).cmp(&key(b))
}

fn choice(value: &str, label: &str, is_chosen: bool) -> String {
    let selected = if is_chosen { " selected" } else { "" };
    format!("<option value=\"{}\"{selected}>{}</option>", Html(value), Html(label))
}

/// For the query of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(byte.into());
            }
            byte => {
                let _ = write!(encoded, "%{byte:02X}"); // a string accepts all
            }
        }
    }
    encoded
}

fn contains(status: &MountStatus, words: &[&str]) -> bool {
    if words.is_empty() {
        return true;
    }
    let mount = &status.mount;
    let failure = status.health.failure();
    let text = format!(
        "{} {} {} {} {}",
        rows::state(&status.health),
        failure.map_or("", |failure| failure.reason.as_str()),
        escape_os(&mount.mountpoint),
        escape_os(&mount.fstype),
        escape_os(&mount.device)
    )
    .to_lowercase();
    words.iter().all(|word| text.contains(word))
}
