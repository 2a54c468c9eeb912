//! Text and times as HTML.

use crate::monitor::Time;
use crate::render::timestamp::{clock, rfc3339};
use crate::render::{HumanDuration, Snapshot};
use std::fmt::{self, Write as _};

/// Displays text escaped for HTML content and attributes.
pub(super) struct Html<'a>(pub(super) &'a str);

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

/// An age: `text` with the age in the place of `%`. The script keeps it up to date.
pub(super) fn age(snapshot: &Snapshot, time: Time, text: &str) -> String {
    let wall = snapshot.wall_at(time);
    let age = HumanDuration::in_seconds(snapshot.at.since(time)).to_string();
    format!(
        "<time datetime=\"{}\" title=\"{}\" data-text=\"{text}\">{}</time>",
        rfc3339(wall),
        clock(wall),
        text.replace('%', &age)
    )
}

/// `for 2m4s (since 2026-01-31 12:00:00 UTC)`
pub(super) fn since(snapshot: &Snapshot, time: Time) -> String {
    format!("{} (since {})", age(snapshot, time, "for %"), clock(snapshot.wall_at(time)))
}
