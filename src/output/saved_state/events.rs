//! The last deaths and recoveries, as far as `watch --last` and the status page show them.

use crate::monitor::{Event, Expected, SavedHealth, SavedIdentity, SavedName};
use crate::output::{EventLog, NumberedMessage};
use crate::render::{Message, Priority};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Maximum number of events: twice as many as the status page shows.
const MAX_EVENTS: usize = 100;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedEvent {
    number: u64,
    /// Since 1970.
    time: Duration,
    priority: String,
    text: String,
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Kind {
    Failed { mount: SavedIdentity, health: SavedHealth },
    Unmounted { mount: SavedIdentity, health: SavedHealth, lasted: Duration },
    Recovered { mount: SavedIdentity, lasted: Duration, took: Duration, was: String },
    Missing { path: SavedName, what: String, origin: String },
    Found { path: SavedName, what: String, origin: String, mount: SavedIdentity, lasted: Duration },
}

/// The last deaths and recoveries in the log, the oldest first.
pub(super) fn last_events(log: &EventLog) -> Vec<SavedEvent> {
    let mut numbers = log.last_vital(MAX_EVENTS);
    numbers.reverse();
    log.vital(&numbers).iter().filter_map(SavedEvent::of).collect()
}

impl SavedEvent {
    /// `None` for another kind of event.
    pub(super) fn of((number, message): &NumberedMessage) -> Option<SavedEvent> {
        Some(SavedEvent {
            number: *number,
            time: message.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            priority: message.priority.as_str().to_owned(),
            text: message.text.clone(),
            kind: Kind::of(message.event.as_ref()?)?,
        })
    }

    /// `None` if it is not what this version writes.
    pub(super) fn to_message(&self) -> Option<NumberedMessage> {
        let message = Message {
            time: SystemTime::UNIX_EPOCH.checked_add(self.time)?,
            priority: self.priority.parse::<Priority>().ok()?,
            text: self.text.clone(),
            event: Some(self.kind.to_event()?),
        };
        Some((self.number, Arc::new(message)))
    }
}

impl Kind {
    fn of(event: &Event) -> Option<Kind> {
        let path = |expected: &Expected| SavedName::of(expected.mountpoint.as_os_str());
        Some(match event {
            Event::Failed { mount, failure } => {
                Kind::Failed { mount: SavedIdentity::of(mount), health: SavedHealth::of_failure(failure) }
            }
            Event::Unmounted { mount, health, lasted } => Kind::Unmounted {
                mount: SavedIdentity::of(mount),
                health: SavedHealth::of(health),
                lasted: *lasted,
            },
            Event::Recovered { mount, lasted, took, was } => Kind::Recovered {
                mount: SavedIdentity::of(mount),
                lasted: *lasted,
                took: *took,
                was: (*was).to_owned(),
            },
            Event::Missing { expected, containing_mount: _ } => Kind::Missing {
                path: path(expected),
                what: expected.what.clone(),
                origin: expected.origin.clone(),
            },
            Event::Found { expected, mount, lasted } => Kind::Found {
                path: path(expected),
                what: expected.what.clone(),
                origin: expected.origin.clone(),
                mount: SavedIdentity::of(mount),
                lasted: *lasted,
            },
            _ => return None,
        })
    }

    fn to_event(&self) -> Option<Event> {
        let restored = |mount: &SavedIdentity| Arc::new(mount.to_mount());
        let expected = |path: &SavedName, what: &str, origin: &str| {
            let path = path.to_os_string().into();
            Arc::new(Expected::new(path, what.to_owned(), origin.to_owned(), |_| false))
        };
        Some(match self {
            Kind::Failed { mount, health } => {
                let failure = health.to_health()?.failure()?.clone();
                Event::Failed { mount: restored(mount), failure }
            }
            Kind::Unmounted { mount, health, lasted } => {
                Event::Unmounted { mount: restored(mount), health: health.to_health()?, lasted: *lasted }
            }
            Kind::Recovered { mount, lasted, took, was } => {
                let was = ["hung", "failed", "slow", "unknown"].into_iter().find(|known| known == was)?;
                Event::Recovered { mount: restored(mount), lasted: *lasted, took: *took, was }
            }
            Kind::Missing { path, what, origin } => {
                Event::Missing { expected: expected(path, what, origin), containing_mount: None }
            }
            Kind::Found { path, what, origin, mount, lasted } => Event::Found {
                expected: expected(path, what, origin),
                mount: restored(mount),
                lasted: *lasted,
            },
        })
    }
}
