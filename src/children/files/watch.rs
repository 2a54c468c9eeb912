//! Changes of files, reported by a thread.

use mio::{Events, Interest, Poll, Token};
use platform::FileWatch;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Watches files from its start until the process ends.
pub(super) struct ChangeReporter(Arc<Mutex<FileWatch>>);

impl ChangeReporter {
    /// `report` is called after changes, from another thread.
    pub(super) fn start(report: impl Fn() + Send + 'static) -> io::Result<ChangeReporter> {
        let mut poll = Poll::new()?;
        let mut watch = FileWatch::new()?;
        poll.registry().register(&mut watch, Token(0), Interest::READABLE)?;
        let watch = Arc::new(Mutex::new(watch));
        let watched = Arc::clone(&watch);
        thread::Builder::new().name("watch".into()).spawn(move || {
            let mut events = Events::with_capacity(4);
            loop {
                match poll.poll(&mut events, None) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                    Ok(()) | Err(_) => {}
                }
                let has_changed = watched.lock().unwrap_or_else(PoisonError::into_inner).take_changed();
                if has_changed.unwrap_or(false) {
                    report();
                }
            }
        })?;
        Ok(ChangeReporter(watch))
    }

    pub(super) fn set_paths(&self, paths: &[PathBuf]) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).set_paths(paths)
    }
}
