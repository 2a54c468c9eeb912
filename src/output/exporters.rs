//! Exporters send metrics to a push gateway and to a text file, after each run and when a mount dies or recovers. Each
//! has its own thread, which may block.

use super::drill::{Outcome, Receipt};
use super::http_client::backoff;
use super::metrics::Renderer;
use super::push::{PushExporter, PushSettings};
use super::textfile::TextFileExporter;
use super::worker_thread::{Signals, WorkerThread};
use super::{Drill, LogFn, SharedState, lock};
use crate::backoff::Backoff;
use crate::monitor::Time;
use crate::render::{Priority, Snapshot};
use platform::MountKey;
use std::io;
use std::mem::{Discriminant, discriminant};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Which exporters to run.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetricsSettings {
    pub push: Option<PushSettings>,
    /// The absolute path of a file for node_exporter.
    pub textfile: Option<PathBuf>,
}

/// Exports metrics to one destination. All methods run in the exporter's thread.
pub(super) trait Exporter: Send + 'static {
    /// The name of the thread.
    const NAME: &'static str;
    /// The name in drills.
    const OUTPUT: &'static str;
    /// The minimum time between two exports.
    const MIN_INTERVAL: Duration;
    /// The first and the longest pause before a failed export is repeated; `None` to wait for the next snapshot.
    const RETRY_PAUSES: Option<(Duration, Duration)>;

    /// Exports a snapshot. The future is dropped when the daemon stops.
    fn export(&mut self, snapshot: &Snapshot) -> impl Future<Output = Result<(), ExportError>>;
    /// Tests the destination once, and leaves nothing of the test there.
    fn drill(&mut self, snapshot: &Snapshot, _: Duration) -> impl Future<Output = Result<(), ExportError>> {
        self.export(snapshot)
    }
    /// Called at the end of the thread. Returns a line to log if something failed.
    fn close(&mut self) -> impl Future<Output = Option<String>> {
        std::future::ready(None)
    }
    /// The destination.
    fn target(&self) -> String;
    /// The log line of the first success after failures.
    fn recovery_line(&self) -> String;
}

/// Why metrics were not exported, as a log line without a hint about the next attempt. Each kind is logged once, when
/// it begins.
pub(super) enum ExportError {
    Failed(String),
    /// The destination must not be written to now.
    Refused(String),
}

/// A drill that the thread has not begun.
type DrillRequest = Arc<Mutex<Option<Receipt>>>;

/// The running exporters.
#[derive(Default)]
pub(super) struct Exporters(Vec<ExporterThread>);

struct ExporterThread {
    name: &'static str,
    output: &'static str,
    target: String,
    drill: DrillRequest,
    signals: Arc<Signals>,
    thread: WorkerThread,
}

impl Exporters {
    /// Exports one snapshot, for a single run of the daemon. Failures are logged.
    pub(super) fn export_once(
        settings: &MetricsSettings,
        renderer: &Arc<Renderer>,
        snapshot: &Arc<Snapshot>,
        timeout: Duration,
        log: &LogFn,
    ) {
        let deadline = Instant::now() + timeout;
        let state = SharedState::default();
        state.publish(Arc::clone(snapshot));
        match Exporters::start(settings, renderer, &state, log, true) {
            Ok(exporters) => {
                for ExporterThread { name, thread, .. } in &exporters.0 {
                    thread.wait(deadline);
                    if !thread.has_ended() {
                        let text = format!("Cannot export metrics ({name}): no response in time");
                        log(Priority::Warning, &text);
                    }
                }
            }
            Err(error) => log(Priority::Warning, &format!("Cannot start a thread for metrics: {error}")),
        }
    }

    /// Starts a thread for each exporter. In a single run each ends after one export.
    pub(super) fn start(
        settings: &MetricsSettings,
        renderer: &Arc<Renderer>,
        state: &SharedState,
        log: &LogFn,
        is_single_run: bool,
    ) -> io::Result<Exporters> {
        let mut threads = Vec::new();
        if let Some(push) = &settings.push {
            threads.push(Worker::start(PushExporter::new(push, renderer), state, log, is_single_run)?);
        }
        if let Some(path) = &settings.textfile {
            threads.push(Worker::start(TextFileExporter::new(path, renderer), state, log, is_single_run)?);
        }
        Ok(Exporters(threads))
    }

    /// Makes each exporter test its destination.
    pub(super) fn drill(&self, drill: &Drill) {
        for exporter in &self.0 {
            let receipt = drill.expect(exporter.output, exporter.target.as_str());
            *lock(&exporter.drill) = Some(receipt); // in place of an earlier one, which is over
            exporter.signals.wake();
        }
    }

    /// Whether all threads have ended.
    pub(super) fn have_ended(&self) -> bool {
        self.0.iter().all(|exporter| exporter.thread.has_ended())
    }

    /// Stops all exporters, and waits for them at most until the timeout. A push is cancelled, the group in the gateway is
    /// deleted if configured, and the write of a file is completed.
    pub(super) fn stop(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.0.iter().for_each(|exporter| exporter.signals.stop());
        self.0.iter().for_each(|exporter| exporter.thread.wait(deadline));
    }
}

/// The task of an exporter's thread.
struct Worker<E> {
    exporter: E,
    state: SharedState,
    log: LogFn,
    signals: Arc<Signals>,
    drill: DrillRequest,
    is_single_run: bool,
    /// The key of the last snapshot that needs no further export.
    done: Option<SnapshotKey>,
    backoff: Option<Backoff<Instant>>,
    not_before: Instant,
    /// The kind of the logged failure that still exists.
    logged: Option<Discriminant<ExportError>>,
}

/// A snapshot is exported when this changes: the end of the last run, and which mounts are dead.
type SnapshotKey = (Option<Time>, Vec<MountKey>);

/// `None` while nothing is known: before the first run is complete, only dead mounts are exported.
fn key(snapshot: &Snapshot) -> Option<SnapshotKey> {
    let status = &snapshot.status;
    let dead = status.mounts.iter().filter(|mount| mount.health.failure().is_some());
    let key = (status.last_run.map(|run| run.at), dead.map(|mount| mount.mount.key).collect());
    (status.last_run.is_some() || status.dead > 0).then_some(key)
}

impl<E: Exporter> Worker<E> {
    fn start(
        exporter: E,
        state: &SharedState,
        log: &LogFn,
        is_single_run: bool,
    ) -> io::Result<ExporterThread> {
        let signals = Arc::new(Signals::default());
        let (drill, target) = (DrillRequest::default(), exporter.target());
        let worker = Worker {
            backoff: E::RETRY_PAUSES.map(|(first, max)| backoff(first, max)),
            exporter,
            state: state.clone(),
            log: Arc::clone(log),
            signals: Arc::clone(&signals),
            drill: Arc::clone(&drill),
            is_single_run,
            done: None,
            not_before: Instant::now(),
            logged: None,
        };
        let thread = WorkerThread::start(E::NAME, WorkerThread::runtime(1)?, |it| it.block_on(worker.run()))?;
        state.subscribe(&signals, Signals::wake);
        Ok(ExporterThread { name: E::NAME, output: E::OUTPUT, target, drill, signals, thread })
    }

    async fn run(mut self) {
        let signals = Arc::clone(&self.signals);
        while let Some((snapshot, receipt)) = self.next_snapshot().await {
            if let Some(receipt) = receipt {
                tokio::select! {
                    result = self.exporter.drill(&snapshot, receipt.timeout()) => receipt.finish(outcome(result)),
                    () = signals.stopped() => break,
                }
                continue;
            }
            let begun = Instant::now();
            tokio::select! {
                result = self.exporter.export(&snapshot) => self.on_exported(begun, &snapshot, result),
                () = signals.stopped() => break,
            }
            if self.is_single_run {
                return;
            }
        }
        if let Some(text) = self.exporter.close().await {
            (self.log)(Priority::Warning, &text);
        }
    }

    /// Waits for a snapshot that must be exported, or for a drill with a snapshot that could be; `None` when the daemon
    /// stops.
    async fn next_snapshot(&self) -> Option<(Arc<Snapshot>, Option<Receipt>)> {
        while !self.signals.is_stopping() {
            if let Some((snapshot, receipt)) = self.next_drill() {
                return Some((snapshot, Some(receipt)));
            }
            match self.state.latest().filter(|latest| self.is_single_run || self.is_due(latest)) {
                None => self.signals.woken(None).await,
                Some(snapshot) if self.not_before <= Instant::now() => return Some((snapshot, None)),
                Some(_) => self.signals.woken(Some(self.not_before)).await,
            }
        }
        None
    }

    /// A drill, with a snapshot that could be exported.
    fn next_drill(&self) -> Option<(Arc<Snapshot>, Receipt)> {
        let drill = &mut *lock(&self.drill);
        drill.take_if(|receipt| receipt.has_expired());
        drill.as_ref()?;
        let snapshot = self.state.latest().filter(|latest| key(latest).is_some())?;
        Some((snapshot, drill.take()?))
    }

    fn is_due(&self, snapshot: &Snapshot) -> bool {
        let key = key(snapshot);
        key.is_some() && key != self.done
    }

    fn on_exported(&mut self, begun: Instant, snapshot: &Snapshot, result: Result<(), ExportError>) {
        self.not_before = begun + E::MIN_INTERVAL;
        let Err(error) = result else {
            self.done = key(snapshot);
            if let Some(backoff) = &mut self.backoff {
                backoff.reset();
            }
            if self.logged.take().is_some() {
                (self.log)(Priority::Notice, &self.exporter.recovery_line());
            }
            return;
        };
        match &mut self.backoff {
            Some(backoff) => {
                let now = Instant::now();
                self.not_before = now + backoff.next(now);
            }
            None => self.done = key(snapshot),
        }
        let kind = Some(discriminant(&error));
        if std::mem::replace(&mut self.logged, kind) != kind {
            let (ExportError::Failed(line) | ExportError::Refused(line)) = &error;
            let hint = match (&error, &self.backoff) {
                (ExportError::Refused(_), _) => "",
                _ if self.is_single_run => "",
                (_, Some(_)) => "; trying again",
                (_, None) => "; trying again after each run",
            };
            (self.log)(Priority::Warning, &format!("{line}{hint}"));
        }
    }
}

fn outcome(result: Result<(), ExportError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Accepted,
        Err(ExportError::Failed(why) | ExportError::Refused(why)) => Outcome::Failed(why),
    }
}
