//! `--print-bad-mounts`: after each run the dead mount points on standard output, which may have a reader that hangs.

use super::Sink;
use super::sink::{Delivery, SinkWriter};
use crate::monitor::Status;
use crate::render::{Message, Priority, table};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

pub(super) struct BadMountsList(Sink);

impl BadMountsList {
    pub(super) fn start() -> io::Result<BadMountsList> {
        Sink::start("stdout", Stdout).map(BadMountsList)
    }

    pub(super) fn print(&self, time: SystemTime, status: &Status) {
        let text = table::bad_mounts(status);
        if !text.is_empty() {
            self.0.offer(Arc::new(Message { time, priority: Priority::Info, text, event: None }));
        }
    }
}

struct Stdout;

impl SinkWriter for Stdout {
    fn write(&mut self, message: &Message) -> Delivery {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(message.text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Delivery::Done,
            Err(_) => Delivery::Lost,
        }
    }
}
