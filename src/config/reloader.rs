//! Reads the configuration again on request and when its files change. A separate thread does this: if the files are on
//! storage that hangs, only the reload hangs.

use super::{Config, ConfigSource, FileFingerprint, files};
use mio::{Events, Interest, Poll, Token, Waker};
use platform::FileWatch;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

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

#[derive(Debug)]
pub struct ReloadResult {
    /// [`ConfigReloader::request_reload`] was called; otherwise the files have changed.
    pub requested: bool,
    pub result: Result<Arc<Config>, Vec<String>>,
}

/// Handle of the reloading thread. The thread ends when this is dropped.
#[derive(Debug)]
pub struct ConfigReloader {
    /// None in `drop`, which ends the thread.
    requests: Option<SyncSender<()>>,
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
        let mut worker = Worker {
            poll,
            watch: None,
            source,
            file: config.file.clone(),
            fstab: config.fstab.clone(),
            fingerprints: config.fingerprints.clone(),
            requests: pending_requests,
            results,
            loop_waker,
        };
        thread::Builder::new().name("config".into()).spawn(move || {
            if let Err(error) = worker.watch_files() {
                warn(format!(
                    "Cannot watch the configuration files: {error}; they are read again on SIGHUP only"
                ));
            }
            worker.run();
        })?;
        Ok(ConfigReloader { requests: Some(requests), thread_waker, results: pending_results })
    }

    /// Reads the files again, changed or not. Never waits.
    pub fn request_reload(&self) {
        let _ = self.requests.as_ref().map(|requests| requests.try_send(())); // if full, one is pending already
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
    watch: Option<FileWatch>,
    source: ConfigSource,
    file: PathBuf,
    fstab: Option<PathBuf>,
    fingerprints: Vec<FileFingerprint>,
    requests: Receiver<()>,
    results: SyncSender<ReloadResult>,
    loop_waker: Arc<Waker>,
}

impl Worker {
    fn watch_files(&mut self) -> io::Result<()> {
        let mut watch = FileWatch::new()?;
        self.poll.registry().register(&mut watch, FILES, Interest::READABLE)?;
        watch.set_paths(&self.watched_paths())?;
        self.watch = Some(watch);
        Ok(())
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(4);
        // The first and the last change since the files were read. Changes between the first read and the start of the
        // watch show in the fingerprints.
        let mut changes =
            (self.current_fingerprints() != self.fingerprints).then(|| (Instant::now(), Instant::now()));
        loop {
            let due = changes.map(|(first, last)| (last + DEBOUNCE_INTERVAL).min(first + MAX_DEBOUNCE));
            let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return; // the daemon keeps its configuration
            }
            if self.watch.as_mut().is_some_and(|watch| watch.take_changed().unwrap_or(false)) {
                let now = Instant::now();
                changes = Some((changes.map_or(now, |(first, _)| first), now));
            }
            let requested = match self.requests.try_recv() {
                Ok(()) => true,
                Err(TryRecvError::Empty) => false,
                Err(TryRecvError::Disconnected) => return,
            };
            if requested || due.is_some_and(|due| due <= Instant::now()) {
                changes = None;
                if let Some(result) = self.reload(requested) {
                    if self.results.send(ReloadResult { requested, result }).is_err() {
                        return; // the handle was dropped
                    }
                    let _ = self.loop_waker.wake(); // fails only if the loop has ended
                }
            }
        }
    }

    fn reload(&mut self, requested: bool) -> Option<Result<Arc<Config>, Vec<String>>> {
        // The watch is set before the files are read, so that no later change is missed.
        self.update_watch();
        let fingerprints = self.current_fingerprints();
        if fingerprints == self.fingerprints && !requested {
            return None;
        }
        self.fingerprints = fingerprints;
        let mut result = self.source.load();
        if let Ok(config) = &result
            && config.fstab != self.fstab
        {
            self.fstab.clone_from(&config.fstab);
            self.update_watch();
            self.fingerprints.clone_from(&config.fingerprints);
            let fingerprints = self.current_fingerprints();
            if fingerprints != self.fingerprints {
                // The new fstab changed after it was read and before it was watched.
                self.fingerprints = fingerprints;
                result = self.source.load();
            }
        }
        Some(result.map(Arc::new))
    }

    fn update_watch(&mut self) {
        let paths = self.watched_paths();
        if let Some(watch) = &mut self.watch {
            let _ = watch.set_paths(&paths); // if no more watches can be added, the existing ones stay
        }
    }

    fn watched_paths(&self) -> Vec<PathBuf> {
        let mut paths = files::watched_paths(&self.file);
        for fstab in self.fstab.iter() {
            paths.push(fstab.clone());
            paths.extend(fstab.parent().map(PathBuf::from)); // editors replace the file
        }
        paths
    }

    fn current_fingerprints(&self) -> Vec<FileFingerprint> {
        let mut fingerprints = files::fingerprints(&self.file);
        fingerprints.extend(self.fstab.as_deref().map(files::fingerprint));
        fingerprints
    }
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
