//! The file for node_exporter's textfile collector: one thread, which replaces it after each run and when a mount dies
//! or recovers. A disk that hangs holds this thread and nobody else.

mod place;
mod write;

pub use place::refusal;

use super::exporters::LogFn;
use super::publish_gate::PublishGate;
use crate::output::SharedState;
use crate::output::metrics::Renderer;
use crate::render::Priority;
use crate::render::Snapshot;
use crate::render::escape::escape_os;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// From one file to the next: nobody reads it more often.
const LEAST_GAP: Duration = Duration::from_secs(1);
/// How node_exporter knows the files that it reads.
const SUFFIX: &str = "prom";

/// The running thread.
#[derive(Debug)]
pub struct TextFile {
    bell: Arc<Bell>,
    ended: Mutex<mpsc::Receiver<()>>,
}

impl TextFile {
    /// Starts it.
    pub(super) fn start(
        path: &Path,
        renderer: &Arc<Renderer>,
        live: &SharedState,
        tell: &LogFn,
    ) -> io::Result<TextFile> {
        let bell = Arc::new(Bell::default());
        let (end, ended) = mpsc::channel();
        let worker = Worker {
            path: path.to_owned(),
            renderer: Arc::clone(renderer),
            live: live.clone(),
            tell: Arc::clone(tell),
            bell: Arc::clone(&bell),
            news: PublishGate::default(),
            trouble: None,
            _end: end,
        };
        std::thread::Builder::new().name("textfile".into()).spawn(move || worker.run())?;
        live.subscribe(&bell, |bell| bell.ring(false));
        Ok(TextFile { bell, ended: Mutex::new(ended) })
    }

    /// Has its thread ended?
    pub(super) fn is_over(&self) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.try_recv() == Err(mpsc::TryRecvError::Disconnected)
    }

    /// Begins no other file.
    pub(super) fn finish(&self) {
        self.bell.ring(true);
    }

    /// Waits for the end of a file that is being written: a temporary file that is left behind would stay.
    pub(super) fn close(&self, patience: Duration) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(patience); // nothing is ever sent: the other end is dropped, or time is up
    }
}

/// What is allowed and surely not meant.
#[must_use]
pub fn warning(path: &Path) -> Option<String> {
    let read = path.extension().is_some_and(|suffix| suffix == SUFFIX);
    (!read).then(|| format!("node_exporter reads only files that end in .{SUFFIX}, not {}", escape_os(path)))
}

/// Writes one file, in a thread; what comes of it can be waited for.
pub(super) fn write_once(
    path: &Path,
    renderer: &Arc<Renderer>,
    snapshot: &Arc<Snapshot>,
) -> io::Result<mpsc::Receiver<Result<(), String>>> {
    let (give, given) = mpsc::channel();
    let (path, renderer, snapshot) = (path.to_owned(), Arc::clone(renderer), Arc::clone(snapshot));
    std::thread::Builder::new().name("textfile".into()).spawn(move || {
        let _ = give.send(write::replace(&path, &renderer.render(&snapshot)));
    })?;
    Ok(given)
}

#[derive(Debug, Default)]
struct Bell {
    /// Rung since the last wait, and is it over?
    state: Mutex<(bool, bool)>,
    rung: Condvar,
}

impl Bell {
    fn ring(&self, over: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (true, state.1 || over);
        self.rung.notify_one();
    }

    /// Waits until it rings; is it to go on?
    fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.rung.wait_while(state, |state| !state.0).unwrap_or_else(PoisonError::into_inner);
        state.0 = false;
        !state.1
    }

    /// Lets time pass, whatever rings, but not beyond the end.
    fn pass(&self, span: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.rung.wait_timeout_while(state, span, |state| !state.1));
    }
}

struct Worker {
    path: PathBuf,
    renderer: Arc<Renderer>,
    live: SharedState,
    tell: LogFn,
    bell: Arc<Bell>,
    news: PublishGate,
    /// Why no file is written, while that is so.
    trouble: Option<Trouble>,
    /// Dropped at the end.
    _end: mpsc::Sender<()>,
}

/// The kinds of trouble, each told once when it begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Place,
    Write,
}

impl Worker {
    fn run(mut self) {
        while self.bell.wait() {
            let Some(snapshot) = self.live.latest().filter(|snapshot| self.news.is(snapshot)) else {
                continue;
            };
            let begun = Instant::now();
            self.write(&snapshot);
            self.news.sent(&snapshot);
            self.bell.pass(LEAST_GAP.saturating_sub(begun.elapsed()));
        }
    }

    fn write(&mut self, snapshot: &Snapshot) {
        let shown = escape_os(&self.path).into_owned();
        let done = match place::refusal_now(&self.path, &snapshot.status) {
            Some(reason) => Err((Trouble::Place, reason)),
            None => {
                write::replace(&self.path, &self.renderer.render(snapshot)).map_err(|e| (Trouble::Write, e))
            }
        };
        match done {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    (self.tell)(Priority::Notice, &format!("{shown} is written again"));
                }
            }
            Err((trouble, reason)) => {
                if self.trouble.replace(trouble) != Some(trouble) {
                    let text = match trouble {
                        Trouble::Place => format!("{shown} is not written any more: {reason}"),
                        Trouble::Write => {
                            format!("Cannot write {shown}: {reason}; trying again after each run")
                        }
                    };
                    (self.tell)(Priority::Warning, &text);
                }
            }
        }
    }
}
