//! One thing told, as every sink gets it.

use super::Priority;
use crate::monitor::Event;
use platform::Mount;
use std::time::SystemTime;

/// A message. Its text is one line, its names escaped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// When it happened, which may be long before it is written.
    pub time: SystemTime,
    /// How much it matters.
    pub priority: Priority,
    /// The line.
    pub text: String,
    /// What it tells; none for a notice of the daemon about itself.
    pub event: Option<Event>,
}

/// What a message occupies besides its bytes: itself, its reference count, its place in a queue.
const FIXED_COST: usize = 512;

impl Message {
    /// The memory that it holds while it waits.
    #[must_use]
    pub fn cost(&self) -> usize {
        FIXED_COST + self.text.capacity() + self.event.as_ref().map_or(0, event_cost)
    }
}

/// The memory of the event's mounts, which may exist only for it.
pub(crate) fn event_cost(event: &Event) -> usize {
    match event {
        Event::Remounted { mount, before } => mount_cost(mount) + mount_cost(before),
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
