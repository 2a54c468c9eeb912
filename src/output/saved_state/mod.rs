//! The state that a daemon leaves for the next one, in a file in the runtime directory: a restart then repeats no alarm,
//! keeps since when mounts are dead, and loses no recovery. The file has a meaning only until the machine is started
//! again, so it is not synchronized to a disk. A thread of its own writes it, through a child; only the thread of the
//! outputs waits for it, briefly, before it hands over an alarm (see `saver`).

mod document;
mod events;
mod records;
mod saver;

pub use document::Restored;
pub(super) use records::{Doubt, HandedOver, Records, Versions};

use super::hooks::Hooks;
use super::http::SocketChoice;
use super::{LogFn, SharedState, Sink, lock};
use crate::children::files::{FileWorker, OpenedState, StateText};
use crate::monitor::{Event, SavedStatus, Time};
use crate::render::escape::escape_os;
use crate::render::{Priority, Snapshot};
use document::{Content, Context, MAX_BYTES, decode, encode};
use platform::{DEFAULT_SOCKET, FsKind, MountTable, mount_containing};
use saver::{Schedule, Step};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// In the directory of the default socket; the file of another socket has its name and this suffix.
const NAME: &str = "state";
/// The daemon starts without the state if it cannot be read within this time.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Of a write: file systems in memory take milliseconds.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// An alarm waits so long for the file. If it takes longer, later alarms do not wait until it is written.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_millis(250);
/// Maximum number of announced alarms that are kept: one for every mount of a machine with ten thousand.
const MAX_ANNOUNCED: usize = 10_000;
/// A stop waits so long until log lines are written, after which the state is settled.
const STOP_DELIVERY: Duration = Duration::from_millis(100);

/// The file, which this daemon has locked.
pub struct StateFile {
    path: PathBuf,
    context: Context,
    worker: FileWorker,
    /// Until the daemon ends.
    lock: Lock,
    /// As in the file, if there is one that can be used.
    content: Content,
    exists: bool,
    handed_over: HandedOver,
}

enum Lock {
    Held {
        _file: OwnedFd,
    },
    /// Its file has the records of what outputs were handed.
    WithRecords(Arc<Records>),
}

/// Where the state of a daemon with this socket is; `None` without one.
#[must_use]
pub fn path(socket: &SocketChoice) -> Option<PathBuf> {
    let socket = socket.path()?;
    if socket == Path::new(DEFAULT_SOCKET) {
        return Some(socket.with_file_name(NAME));
    }
    let mut path = OsString::from(socket);
    path.push(".");
    path.push(NAME);
    Some(path.into())
}

/// Opens the state, and reads what the last daemon has left. `start` is the start of this daemon by
/// [`platform::monotonic_time`], `namespace` the watched mount namespace, if it is not our own. What cannot be used is
/// logged.
pub fn open(
    socket: &SocketChoice,
    start: Duration,
    namespace: Option<u64>,
    log: &LogFn,
) -> Option<(StateFile, Option<Restored>)> {
    let path = path(socket)?;
    let boot = platform::boot_id()?;
    let name = escape_os(&path).into_owned();
    let opened = match refusal(&path).map_or_else(|| read(&path), |why| Err(io::Error::other(why))) {
        Ok(opened) => opened,
        Err(error) => {
            let is_unusual = *socket != SocketChoice::Default || platform::process::is_root();
            let priority = if is_unusual { Priority::Warning } else { Priority::Info };
            log(priority, &format!("Nothing is kept for the next start: cannot use {name}: {error}"));
            return None;
        }
    };
    let context = Context { boot, namespace, start };
    let now = platform::monotonic_time().saturating_sub(start);
    let restored = match opened.text {
        StateText::None => None,
        StateText::Refused(why) => Some(Err(why)),
        StateText::Some(text) => Some(decode(&text, &context, now)),
    };
    let restored = restored.and_then(|restored| {
        let not_used = |why: String| {
            log(
                Priority::Warning,
                &format!("Nothing is known from before the start: {name} is not used: {why}"),
            );
        };
        restored.map_err(not_used).ok()
    });
    if let Some(line) = restored.as_ref().and_then(Restored::start_line) {
        log(Priority::Notice, &line);
    }
    let from_now_on = || Content { taken: since_1970(SystemTime::now()), ..Content::default() };
    let content = restored.as_ref().map_or_else(from_now_on, Restored::content);
    let (worker, exists) = (FileWorker::new(), restored.is_some());
    let lock = match opened.records.is_empty() {
        true => Lock::Held { _file: opened.lock },
        false => Lock::WithRecords(Arc::new(Records::new(opened.lock, &opened.records))),
    };
    // Without a state, everything is reported again.
    let handed_over = restored.as_ref().map(|restored| HandedOver::new(&opened.records, restored.taken));
    let handed_over = handed_over.unwrap_or_default();
    Some((StateFile { path, context, worker, lock, content, exists, handed_over }, restored))
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// What a state of these bytes would restore, for the fuzz target: of a machine with the id `boot`, an hour after its start.
#[doc(hidden)]
pub fn restored_from(text: &[u8]) -> Result<Restored, String> {
    let context = Context { boot: "boot".to_owned(), namespace: None, start: Duration::ZERO };
    decode(text, &context, Duration::from_secs(3600))
}

/// Why this path must not be used. The mount table decides; the path is not touched.
fn refusal(path: &Path) -> Option<String> {
    let table = match MountTable::read() {
        Ok(table) => table,
        Err(error) => return Some(format!("the mount table cannot be read: {error}")),
    };
    let mount = mount_containing(table.iter().map(|mount| &**mount), path)?;
    (!matches!(mount.kind(), FsKind::Local)).then(|| {
        let (at, fstype) = (escape_os(&mount.mountpoint), escape_os(&mount.fstype));
        format!("it lies on {at} ({fstype}), which may hang")
    })
}

fn read(path: &Path) -> io::Result<OpenedState> {
    static READER: FileWorker = FileWorker::new();
    READER.begin(READ_TIMEOUT)?.open_state(path, MAX_BYTES as u64, records::MAX_BYTES as u64)
}

impl Restored {
    /// What an operator must know who looks for alarms in the log.
    fn start_line(&self) -> Option<String> {
        let (dead, missing) = self.status.problems();
        let count = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what} mount")),
            count => Some(format!("{count} {what} mounts")),
        };
        let problems: Vec<String> =
            [count(dead, "dead"), count(missing, "missing")].into_iter().flatten().collect();
        (!problems.is_empty()).then(|| {
            format!("Known from before the start: {}; only changes are reported", problems.join(", "))
        })
    }

    fn content(&self) -> Content {
        let events = self.events.iter().filter_map(events::SavedEvent::of).collect();
        Content { status: self.status.clone(), events, last_event: self.last_event, taken: self.taken }
    }
}

/// Whether the outputs have delivered what was handed over to them.
pub(super) struct Deliveries {
    pub(super) sinks: Vec<Sink>,
    pub(super) hooks: Hooks,
}

impl Deliveries {
    fn are_done(&self) -> bool {
        self.are_lines_written() && self.hooks.wait_until_idle(Duration::ZERO)
    }

    fn are_lines_written(&self) -> bool {
        self.sinks.iter().all(Sink::is_idle)
    }
}

/// Whether an event is an alarm, or the end of one: no output must miss it, or get it twice without a mark.
pub(super) fn is_alarm(event: &Event) -> bool {
    match event {
        Event::Failed { .. } | Event::Missing { .. } | Event::Found { .. } => true,
        Event::Recovered { was, .. } => matches!(*was, "hung" | "failed"),
        Event::Unmounted { health, .. } => health.failure().is_some(),
        _ => false,
    }
}

/// The handle of the thread that writes the state.
pub(super) struct StateSaver {
    shared: Arc<Shared>,
    deliveries: Arc<Deliveries>,
    /// The start of the daemon; see [`Context`].
    start: Duration,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    schedule: Schedule,
    latest: Option<Arc<Snapshot>>,
    /// What was announced after the last status in the file.
    announced: Vec<Announced>,
    /// Set at the stop: whether hooks had run all events.
    stop: Option<bool>,
    has_ended: bool,
}

#[derive(Clone)]
struct Announced {
    /// When it happened.
    time: SystemTime,
    /// When it was announced.
    at: Time,
    event: Event,
}

/// What a step needs.
struct Work {
    step: Step,
    latest: Option<Arc<Snapshot>>,
    announced: Vec<Announced>,
}

impl State {
    fn begin(&mut self, step: Step) -> Work {
        self.schedule.begin(step);
        Work { step, latest: self.latest.clone(), announced: self.announced.clone() }
    }
}

impl StateSaver {
    pub(super) fn start(
        file: StateFile,
        deliveries: Deliveries,
        events: SharedState,
        log: LogFn,
    ) -> io::Result<StateSaver> {
        let (shared, deliveries) = (Arc::new(Shared::default()), Arc::new(deliveries));
        let start = file.context.start;
        let writer =
            Writer { shared: Arc::clone(&shared), deliveries: Arc::clone(&deliveries), file, events, log };
        thread::Builder::new().name("state".into()).spawn(move || writer.run())?;
        Ok(StateSaver { shared, deliveries, start })
    }

    /// Must be called before alarms are handed over, with the time when each happened. Waits briefly until the file says so.
    pub(super) fn announce(&self, alarms: Vec<(SystemTime, Event)>) {
        let at = Time::after_start(platform::monotonic_time().saturating_sub(self.start));
        let mut state = lock(&self.shared.state);
        let mut must_wait = false;
        for (time, event) in alarms {
            must_wait |= state.schedule.announce(Instant::now(), time);
            if state.announced.len() < MAX_ANNOUNCED {
                state.announced.push(Announced { time, at, event });
            }
        }
        self.shared.changed.notify_all();
        if must_wait {
            let waits = |state: &mut State| !state.schedule.may_hand_over() && !state.has_ended;
            let waited = self.shared.changed.wait_timeout_while(state, ANNOUNCE_TIMEOUT, waits);
            let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                state.schedule.set_late();
            }
        }
    }

    pub(super) fn publish(&self, snapshot: &Arc<Snapshot>) {
        let mut state = lock(&self.shared.state);
        state.schedule.publish(snapshot.wall);
        state.latest = Some(Arc::clone(snapshot));
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Lets the thread write the last state and end. Before hooks are stopped.
    pub(super) fn begin_stop(&self) {
        let have_hooks_run = self.deliveries.hooks.wait_until_idle(Duration::ZERO);
        lock(&self.shared.state).stop = Some(have_hooks_run);
        self.shared.changed.notify_all();
    }

    /// Waits for the end of the thread, at most until the deadline.
    pub(super) fn wait(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_running = |state: &mut State| !state.has_ended;
        let waited = self.shared.changed.wait_timeout_while(lock(&self.shared.state), left, is_running);
        drop(waited);
    }
}

/// The thread's side.
struct Writer {
    shared: Arc<Shared>,
    deliveries: Arc<Deliveries>,
    file: StateFile,
    events: SharedState,
    log: LogFn,
}

impl Writer {
    fn run(mut self) {
        while let Some(work) = self.next() {
            self.make(work);
        }
        if let Some(work) = self.last() {
            self.make(work);
        }
    }

    /// Waits for the next step; `None` at the stop.
    fn next(&self) -> Option<Work> {
        let mut state = lock(&self.shared.state);
        loop {
            if state.stop.is_some() {
                return None;
            }
            let now = Instant::now();
            match state.schedule.next(now, || self.deliveries.are_done()) {
                Step::Wait(until) => {
                    let timeout = until.map_or(Duration::MAX, |at| at.saturating_duration_since(now));
                    let waited = self.shared.changed.wait_timeout(state, timeout);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                step => return Some(state.begin(step)),
            }
        }
    }

    fn last(&self) -> Option<Work> {
        let deadline = Instant::now() + STOP_DELIVERY;
        let mut state = lock(&self.shared.state);
        while !self.deliveries.are_lines_written() && Instant::now() < deadline {
            let waited = self.shared.changed.wait_timeout(state, Duration::from_millis(5));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let are_delivered = state.stop == Some(true) && self.deliveries.are_lines_written();
        let step = state.schedule.last_step(are_delivered)?;
        Some(state.begin(step))
    }

    fn make(&mut self, Work { step, latest, announced }: Work) {
        let latest = latest.filter(|_| step == Step::Status);
        let (mut content, settled) = match &latest {
            Some(snapshot) => {
                let (status, log) = (SavedStatus::of(&snapshot.status), self.events.events());
                let events = events::last_events(log);
                let taken = since_1970(snapshot.wall);
                (Content { status, events, last_event: log.last(), taken }, Some(snapshot.wall))
            }
            None => (self.file.content.clone(), None),
        };
        let is_open = |announced: &Announced| settled.is_none_or(|wall| announced.time > wall);
        content.status.doubt(announced.iter().filter(|it| is_open(it)).map(|it| (it.at, &it.event)));
        let written = self.file.write(content);
        let mut state = lock(&self.shared.state);
        let now = Instant::now();
        let line = match written {
            Ok(()) => {
                state.announced.retain(is_open);
                state.schedule.succeed(now).then(|| "The state for the next start is kept again".to_owned())
            }
            Err(error) => {
                let path = escape_os(&self.file.path).into_owned();
                let text =
                    format!("Cannot keep the state for the next start in {path}: {error}; trying again");
                state.schedule.fail(now).then_some(text)
            }
        };
        drop(state);
        self.shared.changed.notify_all();
        if let Some(line) = line {
            (self.log)(Priority::Warning, &line);
        }
    }
}

/// Runs even when the thread panics, so that nothing waits for it.
impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.shared.state).has_ended = true;
        self.shared.changed.notify_all();
    }
}

impl StateFile {
    pub(super) fn records(&self) -> Option<Arc<Records>> {
        match &self.lock {
            Lock::Held { .. } => None,
            Lock::WithRecords(records) => Some(Arc::clone(records)),
        }
    }

    /// What earlier daemons have handed over.
    pub(super) fn take_handed_over(&mut self) -> HandedOver {
        std::mem::take(&mut self.handed_over)
    }

    /// Replaces the file, unless it says the same. The number of the last event, which each run changes, is not worth it.
    fn write(&mut self, content: Content) -> io::Result<()> {
        if self.exists && content.status == self.content.status && content.events == self.content.events {
            return Ok(());
        }
        let text = encode(&self.context, content.clone());
        self.worker.begin(WRITE_TIMEOUT)?.replace_private(&self.path, text)?;
        (self.content, self.exists) = (content, true);
        Ok(())
    }
}
