//! Reads the configuration again: when somebody asks, and when its files change. In a thread of its own, for the
//! files may lie on storage that hangs, and then only the reload does.

use super::{Config, FileFingerprint, files};
use mio::{Events, Interest, Poll, Token, Waker};
use platform::FileWatch;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const FILES: Token = Token(0);
const WISHES: Token = Token(1);
/// An editor or a package manager writes several files: they are read when nothing has changed for this long …
const QUIET: Duration = Duration::from_millis(200);
/// … or after this, for what never rests.
const MAX_PATIENCE: Duration = Duration::from_secs(2);

/// Reads the configuration; a line for everything that is wrong.
pub type Load = Box<dyn Fn() -> Result<Config, Vec<String>> + Send>;

/// What came of reading the files again.
#[derive(Debug)]
pub struct ReloadResult {
    /// Did somebody ask for it, or had the files changed?
    pub asked: bool,
    /// The configuration.
    pub result: Result<Config, Vec<String>>,
}

/// The handle. Dropping it ends the thread.
pub struct ConfigReloader {
    shared: Arc<Shared>,
    wish: Waker,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asked: bool,
    ended: bool,
    /// The last word; an older one that nobody took is out of date.
    loaded: Option<ReloadResult>,
    waker: Option<Arc<Waker>>,
}

impl ConfigReloader {
    /// Watches the files of `config`, which was just read.
    ///
    /// # Errors
    /// When there is no thread or no event queue. That files cannot be watched is no error: they are read when
    /// somebody asks; `warn` says so.
    pub fn start(
        config: &Config,
        load: Load,
        warn: impl Fn(String) + Send + 'static,
    ) -> io::Result<ConfigReloader> {
        let poll = Poll::new()?;
        let wish = Waker::new(poll.registry(), WISHES)?;
        let shared = Arc::new(Shared::default());
        let mut worker = Worker {
            poll,
            watch: None,
            load,
            file: config.file.clone(),
            fstab: config.fstab.clone(),
            seen: config.stamps.clone(),
            shared: Arc::clone(&shared),
        };
        thread::Builder::new().name("config".into()).spawn(move || {
            if let Err(error) = worker.open() {
                warn(format!("Cannot watch the configuration files: {error}; they are read again on SIGHUP"));
            }
            worker.run();
        })?;
        Ok(ConfigReloader { shared, wish })
    }

    /// What to wake when something was read.
    pub fn wake_with(&self, waker: Arc<Waker>) {
        let mut state = self.shared.lock();
        if state.loaded.is_some() {
            let _ = waker.wake(); // as below
        }
        state.waker = Some(waker);
    }

    /// Asks for the files to be read again, changed or not.
    pub fn ask(&self) {
        self.shared.lock().asked = true;
        let _ = self.wish.wake(); // only a thread that is gone cannot be woken
    }

    /// What was read since the last time, if anything.
    #[must_use]
    pub fn take(&self) -> Option<ReloadResult> {
        self.shared.lock().loaded.take()
    }
}

impl Drop for ConfigReloader {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        let _ = self.wish.wake(); // as above
    }
}

impl fmt::Debug for ConfigReloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    poll: Poll,
    watch: Option<FileWatch>,
    load: Load,
    file: PathBuf,
    fstab: Option<PathBuf>,
    /// What the files looked like when they were last read.
    seen: Vec<FileFingerprint>,
    shared: Arc<Shared>,
}

impl Worker {
    fn open(&mut self) -> io::Result<()> {
        let mut watch = FileWatch::new()?;
        self.poll.registry().register(&mut watch, FILES, Interest::READABLE)?;
        watch.set_paths(&self.paths())?;
        self.watch = Some(watch);
        Ok(())
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(4);
        // Since when, and since the last time, something has been changing. What changed before the watch was set, while
        // the daemon started, is seen by its looks.
        let mut changing = (self.look() != self.seen).then(|| (Instant::now(), Instant::now()));
        loop {
            let due = changing.map(|(first, last)| (last + QUIET).min(first + MAX_PATIENCE));
            let patience = due.map(|due| due.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poll.poll(&mut events, patience)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return; // nothing to wait with; the daemon goes on with what it has
            }
            if self.watch.as_mut().is_some_and(|watch| watch.take_changed().unwrap_or(false)) {
                let now = Instant::now();
                changing = Some((changing.map_or(now, |(first, _)| first), now));
            }
            let (ended, asked) = {
                let mut state = self.shared.lock();
                (state.ended, std::mem::take(&mut state.asked))
            };
            if ended {
                return;
            }
            let is_due = due.is_some_and(|due| due <= Instant::now());
            if is_due || asked {
                changing = None;
                self.read(asked);
            }
        }
    }

    /// Reads the files if that was asked for or if they look different.
    fn read(&mut self, asked: bool) {
        // Watched first: what changes after this is seen.
        self.set_watch();
        let seen = self.look();
        if seen == self.seen && !asked {
            return;
        }
        self.seen = seen;
        let mut result = (self.load)();
        if let Ok(config) = &result
            && config.fstab != self.fstab
        {
            self.fstab.clone_from(&config.fstab);
            self.set_watch();
            self.seen.clone_from(&config.stamps);
            let seen = self.look();
            if seen != self.seen {
                // It changed before it was watched.
                self.seen = seen;
                result = (self.load)();
            }
        }
        let mut state = self.shared.lock();
        // A wish whose outcome was not taken yet is answered by this one.
        let asked = asked || state.loaded.as_ref().is_some_and(|before| before.asked);
        state.loaded = Some(ReloadResult { asked, result });
        if let Some(waker) = &state.waker {
            let _ = waker.wake(); // a loop that is gone wants nothing
        }
    }

    fn set_watch(&mut self) {
        let paths = self.paths();
        if let Some(watch) = &mut self.watch {
            let _ = watch.set_paths(&paths); // without room for more watches, what is watched stays watched
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = files::to_watch(&self.file);
        for fstab in self.fstab.iter() {
            paths.push(fstab.clone());
            paths.extend(fstab.parent().map(PathBuf::from)); // editors replace it
        }
        paths
    }

    fn look(&self) -> Vec<FileFingerprint> {
        let mut seen = files::fingerprint(&self.file);
        seen.extend(self.fstab.as_deref().map(files::stamped));
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Filter;
    use crate::output::http::HttpSettings;
    use crate::output::http::SocketChoice;

    fn config(file: PathBuf) -> Config {
        let stamps = files::fingerprint(&file);
        Config {
            settings: Default::default(),
            filter: Filter::default(),
            report: Default::default(),
            once_only: false,
            print_bad_mounts: false,
            metrics: Default::default(),
            hooks: Default::default(),
            http: HttpSettings { listen: None, socket: SocketChoice::Off },
            mount_namespace: None,
            rules: Default::default(),
            fstab: None,
            expected: Vec::new(),
            file,
            files: Vec::new(),
            stamps,
            shown: Vec::new(),
        }
    }

    #[test]
    fn what_changes_before_the_watch_is_set_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "timeout = 1").unwrap();
        let before = config(file.clone());
        std::fs::write(&file, "timeout = 20").unwrap();
        let keeper =
            ConfigReloader::start(&before, Box::new(move || Ok(config(file.clone()))), |_| {}).unwrap();
        let mut poll = Poll::new().unwrap();
        keeper.wake_with(Arc::new(Waker::new(poll.registry(), WISHES).unwrap()));
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
        assert!(keeper.take().is_some_and(|loaded| !loaded.asked));
    }
}
