//! What the monitor knows and decides. Pure: no I/O, no clock, no threads, no logging.

mod event;
mod health;
mod settings;
mod status;
mod time;

pub use event::Event;
pub use health::{Failure, Health, Reason};
pub use settings::Settings;
pub use status::{Answered, MountStatus, Status};
pub use time::Time;
