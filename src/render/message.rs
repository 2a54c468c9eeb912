//! A log message with its event, as every sink receives it.

use super::{Priority, remedy_messages};
use crate::monitor::Event;
use crate::monitor::remedy::RemedyReport;
use platform::Mount;
use std::time::SystemTime;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// When the event happened; it may be written much later.
    pub time: SystemTime,
    pub priority: Priority,
    /// One line; names are escaped.
    pub text: String,
    /// None for a notice of the daemon about itself.
    pub event: Option<Event>,
}

/// Ends the text of an event that an earlier daemon may have reported. No other text ends with it: those of events about
/// health end with a bracket.
const REPEATED: &str = " [perhaps reported before the restart]";

/// Memory of a message without its text and mounts, in bytes: the struct, its reference count, its entry in a queue.
const OVERHEAD: usize = 512;

impl Message {
    /// Marks it as one that an earlier daemon may have reported.
    #[must_use]
    pub fn as_perhaps_repeated(mut self) -> Message {
        self.text.push_str(REPEATED);
        self
    }

    #[must_use]
    pub fn is_perhaps_repeated(&self) -> bool {
        self.event.is_some() && self.text.ends_with(REPEATED)
    }

    /// Memory of a queued message in bytes.
    #[must_use]
    pub fn cost(&self) -> usize {
        OVERHEAD + self.text.capacity() + self.event.as_ref().map_or(0, event_cost)
    }
}

/// The memory of the event's mounts and texts, which may be kept only by it.
pub(crate) fn event_cost(event: &Event) -> usize {
    match event {
        Event::Remounted { mount, before } => mount_cost(mount) + mount_cost(before),
        Event::Moved { mount, from } => mount_cost(mount) + from.as_os_str().len(),
        Event::Remedy { mount, report } => {
            mount_cost(mount) + size_of::<RemedyReport>() + remedy_messages::cost(report)
        }
        event => event.mount().map_or(0, |mount| mount_cost(mount)),
    }
}

fn mount_cost(mount: &Mount) -> usize {
    size_of::<Mount>()
        + mount.root.len()
        + mount.mountpoint.as_os_str().len()
        + mount.fstype.len()
        + mount.device.len()
        + mount.options.len()
        + mount.super_options.len()
}
