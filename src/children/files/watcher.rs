//! Changes of the configuration files, as a source of events.

use super::config_files;
use super::helper::{Helper, LeftBehind, is_left_behind, no_answer, still_no_answer, uses_children};
use super::request::Request;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use platform::FileWatch;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Watches the configuration files and other files. Its child is started again if it has ended.
#[derive(Default)]
pub struct FileWatcher {
    watcher: Option<Watcher>,
    /// A child that waits for storage.
    left_behind: Option<LeftBehind>,
}

enum Watcher {
    Child(Helper),
    /// Without children, in tests.
    InPlace(FileWatch),
}

impl FileWatcher {
    /// Watches these files from now on, and reports their changes with this token.
    ///
    /// # Errors
    /// Those of [`FileWatch`], after which the files are watched as before; `TimedOut` and those of starting a process,
    /// after which nothing is watched.
    pub fn set_paths(
        &mut self,
        registry: &Registry,
        token: Token,
        (path, others): (&Path, &[PathBuf]),
        timeout: Duration,
    ) -> io::Result<()> {
        let deadline = Instant::now() + timeout;
        if self.left_behind.is_some_and(is_left_behind) {
            return Err(still_no_answer());
        }
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => none.insert(Watcher::start(registry, token)?),
        };
        let result = match watcher {
            Watcher::InPlace(watch) => watch.set_paths(&config_files::watched_paths(path, others)),
            Watcher::Child(helper) => {
                let request = Request::Watch { path: path.to_owned(), others: others.to_vec() };
                helper.call(&request, &[], deadline).map(drop).map_err(|error| match error.kind() {
                    ErrorKind::TimedOut if error.raw_os_error().is_none() => no_answer(timeout),
                    _ => error,
                })
            }
        };
        if result.as_ref().is_err_and(|error| error.raw_os_error().is_none()) {
            self.end(); // it does not answer
        }
        result
    }

    /// Whether anything happened since the last call; never waits.
    pub fn take_changed(&mut self) -> bool {
        let changed = match &mut self.watcher {
            None => return false,
            Some(Watcher::InPlace(watch)) => watch.take_changed(),
            Some(Watcher::Child(helper)) => helper.take_changed(),
        };
        changed.unwrap_or_else(|_| {
            self.end(); // its child was killed
            true
        })
    }

    fn end(&mut self) {
        if let Some(Watcher::Child(helper)) = self.watcher.take() {
            self.left_behind = helper.end();
        }
    }
}

impl Watcher {
    fn start(registry: &Registry, token: Token) -> io::Result<Watcher> {
        if uses_children() {
            let helper = Helper::start()?;
            SourceFd(&helper.descriptor()).register(registry, token, Interest::READABLE)?;
            Ok(Watcher::Child(helper))
        } else {
            let mut watch = FileWatch::new()?;
            watch.register(registry, token, Interest::READABLE)?;
            Ok(Watcher::InPlace(watch))
        }
    }
}
