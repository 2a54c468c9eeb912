//! What the daemon shows to those who ask: the latest snapshot and the last events. The loop writes them and waits
//! for nobody; the threads that serve people (HTTP, push gateway, text file) read them and never reach the loop,
//! except to ask whether it still turns.

mod events;
mod snapshot;

pub use events::{EventLog, Missed, Numbered};
pub use snapshot::{Live, Snapshot};
