//! `--print-bad-mounts`: prints the dead mount points after each run on standard output, whose reader may hang.

use super::sink::{Delivery, SinkWriter};
use crate::monitor::Status;
use crate::render::{Message, Priority, table};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

/// The list as a message; none if no mount is dead.
pub(super) fn message(time: SystemTime, status: &Status) -> Option<Arc<Message>> {
    let text = table::bad_mounts(status);
    (!text.is_empty()).then(|| Arc::new(Message { time, priority: Priority::Info, text, event: None }))
}

pub(super) struct Stdout;

impl SinkWriter for Stdout {
    fn write(&mut self, message: &Message) -> Delivery {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(message.text.as_bytes()).and_then(|()| stdout.flush());
        if written.is_ok() { Delivery::Done } else { Delivery::Lost }
    }
}
