//! The time limit of a monitoring plugin: whatever the check waits for, one line is printed, and the process ends.

use crate::render::{HumanDuration, nagios};
use platform::process::exit_now;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A pipe takes one line at once, unless it is full.
const WRITE_TIMEOUT: Duration = Duration::from_millis(200);

/// Who prints the line: it is printed once.
static PRINTER: AtomicU8 = AtomicU8::new(NOBODY);
const NOBODY: u8 = 0;
const CHECK: u8 = 1;
const LIMIT: u8 = 2;

/// Starts the limit. Without a thread, the check is limited by its own timeouts.
pub fn limit_plugin(limit: Duration) {
    let end = Instant::now() + limit;
    let _ = thread::Builder::new().name("limit".into()).spawn(move || {
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            thread::park_timeout(left);
        }
        give_up(limit)
    });
}

/// To be called before the result is printed. Does not return if the time is up.
pub(super) fn begin_result() {
    while PRINTER.compare_exchange(NOBODY, CHECK, Ordering::SeqCst, Ordering::SeqCst) == Err(LIMIT) {
        thread::park();
    }
}

fn give_up(limit: Duration) -> ! {
    // A result that nobody reads keeps standard output locked.
    if PRINTER.compare_exchange(NOBODY, LIMIT, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        let line =
            nagios::unknown(&format!("no result in {} (--plugin-timeout)", HumanDuration(limit))) + "\n";
        let (sender, written) = mpsc::channel();
        let print = move || sender.send(io::stdout().write_all(line.as_bytes()).is_ok());
        let _ = thread::Builder::new().name("result".into()).spawn(print); // its reader may not read
        let _ = written.recv_timeout(WRITE_TIMEOUT);
    }
    exit_now(nagios::State::Unknown.exit_status().into())
}
