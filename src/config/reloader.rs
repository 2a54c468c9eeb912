//! Reads the configuration again on request and when its files change. A thread waits for the children that touch the
//! files: if the files are on storage that hangs, only the reload is late.

use super::source::{LOAD_TIMEOUT, LoadError};
use super::{Config, ConfigSource};
use crate::children::files::{FileFingerprint, FileWatcher};
use mio::{Events, Poll, Token, Waker};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const FILES: Token = Token(0);
const REQUESTS: Token = Token(1);
/// Editors and package managers write several files in a row. The files are read when they have not changed for this
/// long.
const DEBOUNCE_INTERVAL: Duration = Duration::from_millis(200);
/// Files that change constantly are read after this time.
const MAX_DEBOUNCE: Duration = Duration::from_secs(2);
/// Maximum number of results that wait for the event loop. The thread waits while the queue is full: a later read
/// includes all changes.
const MAX_PENDING_RESULTS: usize = 1;
/// Links in paths of missing mounts are followed again after this time.
const LINKS_INTERVAL: Duration = Duration::from_secs(10);
/// The clock may be set while a rule is in force: its end is looked at again after this time.
const MAX_END_WAIT: Duration = Duration::from_secs(60);
/// Files that could not be read, or have mistakes, are read again after this time. That costs nothing while an earlier
/// read waits for storage.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct ReloadResult {
    /// [`ConfigReloader::request_reload`] was called; otherwise the files have changed.
    pub requested: bool,
    /// The files were not read: a rule has ended.
    pub has_rule_ended: bool,
    pub result: Result<Arc<Config>, Vec<String>>,
}

/// Handle of the reloading thread. The thread ends when this is dropped.
#[derive(Debug)]
pub struct ConfigReloader {
    /// None in `drop`, which ends the thread.
    requests: Option<SyncSender<()>>,
    are_links_requested: Arc<AtomicBool>,
    thread_waker: Waker,
    results: Receiver<ReloadResult>,
}

impl ConfigReloader {
    /// Watches the files of `config`, which was just loaded. Each result wakes `loop_waker`. If the files cannot be
    /// watched, `warn` is called and they are read only on request.
    pub fn start(
        config: &Config,
        source: ConfigSource,
        loop_waker: Arc<Waker>,
        warn: impl Fn(String) + Send + 'static,
    ) -> io::Result<ConfigReloader> {
        let poll = Poll::new()?;
        let thread_waker = Waker::new(poll.registry(), REQUESTS)?;
        let (requests, pending_requests) = mpsc::sync_channel(1);
        let (results, pending_results) = mpsc::sync_channel(MAX_PENDING_RESULTS);
        let are_links_requested = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            poll,
            watcher: FileWatcher::default(),
            is_watch_failure_logged: false,
            warn: Box::new(warn),
            source,
            file: config.file.clone(),
            others: config.other_files(),
            fingerprints: config.fingerprints.clone(),
            is_waiting: config.has_unchecked_hooks,
            failure: None,
            silent_file: config.file.clone(),
            expected: mountpoints(config),
            current: config.clone(),
            links_followed_at: None,
            requests: pending_requests,
            are_links_requested: Arc::clone(&are_links_requested),
            results,
            loop_waker,
        };
        thread::Builder::new().name("config".into()).spawn(move || worker.run())?;
        let requests = Some(requests);
        Ok(ConfigReloader { requests, are_links_requested, thread_waker, results: pending_results })
    }

    /// Reads the files again, changed or not. Never waits.
    pub fn request_reload(&self) {
        let _ = self.requests.as_ref().map(|requests| requests.try_send(())); // if full, one is pending already
        let _ = self.thread_waker.wake(); // fails only if the thread has ended
    }

    /// Follows the links in paths of expected mounts again, not more often than after an interval. There is a result if they
    /// lead elsewhere. Never waits.
    pub fn request_links(&self) {
        self.are_links_requested.store(true, Ordering::Relaxed);
        let _ = self.thread_waker.wake(); // fails only if the thread has ended
    }

    /// The next result, if there is one. Never waits.
    pub fn next_result(&self) -> Option<ReloadResult> {
        self.results.try_recv().ok()
    }
}

impl Drop for ConfigReloader {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.thread_waker.wake(); // fails only if the thread has ended
    }
}

struct Worker {
    poll: Poll,
    watcher: FileWatcher,
    is_watch_failure_logged: bool,
    warn: Box<dyn Fn(String) + Send>,
    source: ConfigSource,
    file: PathBuf,
    /// Files besides the configuration files.
    others: Vec<PathBuf>,
    fingerprints: Vec<FileFingerprint>,
    /// The files could not be read the last time, or have mistakes: what they name may appear where nothing is watched.
    is_waiting: bool,
    /// Why, if so.
    failure: Option<LoadError>,
    /// The last of them that did not answer.
    silent_file: PathBuf,
    /// The mount points of the expected mounts.
    expected: Vec<PathBuf>,
    links_followed_at: Option<Instant>,
    /// The configuration in force.
    current: Config,
    requests: Receiver<()>,
    are_links_requested: Arc<AtomicBool>,
    results: SyncSender<ReloadResult>,
    loop_waker: Arc<Waker>,
}

impl Worker {
    fn run(mut self) {
        let mut events = Events::with_capacity(4);
        // The first and the last change since the files were read. Changes between the first read and the start of the
        // watch show in the fingerprints.
        let current = self.update_watch().and_then(|()| self.current_fingerprints());
        if let Err(error) = &current {
            self.is_waiting = true;
            self.remember_silent_file(error);
        }
        let has_changed = current.is_ok_and(|current| current != self.fingerprints);
        let mut changes = has_changed.then(|| (Instant::now(), Instant::now()));
        loop {
            let retry = self.is_waiting.then(|| Instant::now() + RETRY_INTERVAL);
            let due =
                changes.map(|(first, last)| (last + DEBOUNCE_INTERVAL).min(first + MAX_DEBOUNCE)).or(retry);
            let ending = self
                .current
                .rules
                .next_end()
                .map(|end| end.duration_since(SystemTime::now()).unwrap_or_default().min(MAX_END_WAIT));
            let waiting = due.map(|due| due.saturating_duration_since(Instant::now()));
            let timeout = [ending, waiting].into_iter().flatten().min();
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return; // the daemon keeps its configuration
            }
            if self.watcher.take_changed() {
                let now = Instant::now();
                changes = Some((changes.map_or(now, |(first, _)| first), now));
            }
            let requested = match self.requests.try_recv() {
                Ok(()) => true,
                Err(TryRecvError::Empty) => false,
                Err(TryRecvError::Disconnected) => return,
            };
            let are_links_requested = self.are_links_requested.swap(false, Ordering::Relaxed);
            let is_due = due.is_some_and(|due| due <= Instant::now());
            let has_ended = self.current.rules.next_end().is_some_and(|end| end <= SystemTime::now());
            if is_due || requested || are_links_requested || has_ended {
                let reads_files = is_due || requested;
                let has_rule_ended = has_ended && !reads_files;
                let result = if reads_files {
                    changes = None;
                    self.reload(requested)
                } else if has_ended {
                    let mut config = self.current.clone(); // the files may have mistakes by now
                    config.end_rules(SystemTime::now());
                    Some(Ok(Arc::new(config)))
                } else {
                    self.follow_links().map(Ok)
                };
                if let Some(result) = result {
                    if let Ok(config) = &result {
                        (self.expected, self.current) = (mountpoints(config), Config::clone(config));
                    }
                    if self.results.send(ReloadResult { requested, has_rule_ended, result }).is_err() {
                        return; // the handle was dropped
                    }
                    let _ = self.loop_waker.wake(); // fails only if the loop has ended
                }
            }
        }
    }

    /// `None` if nothing has changed, or if the failure is known.
    fn reload(&mut self, requested: bool) -> Option<Result<Arc<Config>, Vec<String>>> {
        let was_waiting = std::mem::take(&mut self.is_waiting);
        let before = self.failure.take();
        let result = match self.update_and_load(requested || was_waiting) {
            Ok(None) => return None,
            Ok(Some(config)) => {
                self.is_waiting = config.has_unchecked_hooks;
                Ok(Arc::new(config))
            }
            Err(error) => {
                self.is_waiting = true;
                self.remember_silent_file(&error);
                let is_known = before.is_some_and(|before| before.is_like(&error));
                let problems = error.problems.clone();
                self.failure = Some(error);
                if is_known && !requested {
                    return None;
                }
                Err(problems)
            }
        };
        Some(result)
    }

    /// The configuration if its links lead elsewhere.
    fn follow_links(&mut self) -> Option<Arc<Config>> {
        if self.links_followed_at.is_some_and(|at| at.elapsed() < LINKS_INTERVAL) {
            return None;
        }
        self.links_followed_at = Some(Instant::now());
        let config = self.source.try_load().ok()?;
        (mountpoints(&config) != self.expected).then(|| Arc::new(config))
    }

    fn update_and_load(&mut self, forced: bool) -> Result<Option<Config>, LoadError> {
        self.source.check_storage().map_err(|error| LoadError::unreadable(&self.silent_file, &error))?;
        // The watch is set before the files are read, so that no later change is missed.
        self.watch_files()?;
        let have_changed = self.have_changed()?;
        if !have_changed && !forced {
            return Ok(None);
        }
        let config = self.source.try_load()?;
        let others = config.other_files();
        if others == self.others {
            return Ok(Some(config));
        }
        self.others = others;
        self.watch_files()?;
        self.fingerprints.clone_from(&config.fingerprints);
        // Else a new file changed after it was read and before it was watched.
        let have_changed = self.have_changed()?;
        Ok(Some(if have_changed { self.source.try_load()? } else { config }))
    }

    fn current_fingerprints(&self) -> Result<Vec<FileFingerprint>, LoadError> {
        self.source.fingerprints(&self.others)
    }

    /// Whether the files differ from those of the last call.
    fn have_changed(&mut self) -> Result<bool, LoadError> {
        let current = self.current_fingerprints()?;
        let has_changed = current != self.fingerprints;
        self.fingerprints = current;
        Ok(has_changed)
    }

    fn remember_silent_file(&mut self, error: &LoadError) {
        if let Some(file) = &error.silent_file {
            self.silent_file.clone_from(file);
        }
    }

    /// Fails if a file does not answer: which one, as the watch itself does not tell.
    fn watch_files(&mut self) -> Result<(), LoadError> {
        self.current_fingerprints()?;
        self.update_watch()
    }

    /// Whether the storage of the files answers. If they cannot be watched for another reason, they are still read.
    fn update_watch(&mut self) -> Result<(), LoadError> {
        let paths = (self.file.as_path(), self.others.as_slice());
        let Err(error) = self.watcher.set_paths(self.poll.registry(), FILES, paths, LOAD_TIMEOUT) else {
            return Ok(());
        };
        if error.kind() == io::ErrorKind::TimedOut {
            return Err(LoadError::unreadable(&self.silent_file, &error));
        }
        if !std::mem::replace(&mut self.is_watch_failure_logged, true) {
            let text = "Cannot watch the configuration files";
            (self.warn)(format!("{text}: {error}; they are read again on SIGHUP only"));
        }
        Ok(())
    }
}

fn mountpoints(config: &Config) -> Vec<PathBuf> {
    config.expected.iter().map(|expected| expected.mountpoint.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_before_the_watch_starts_is_reloaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "timeout = 1").unwrap();
        let source = ConfigSource::new(Some(file.clone()), Vec::new());
        let before = source.load().unwrap();
        std::fs::write(&file, "timeout = 20").unwrap();
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), REQUESTS).unwrap());
        let reloader = ConfigReloader::start(&before, source, waker, |_| {}).unwrap();
        poll.poll(&mut Events::with_capacity(1), Some(Duration::from_secs(30))).unwrap();
        assert!(reloader.next_result().is_some_and(|reload| !reload.requested));
    }
}
