//! Exporters send metrics after each run and when a mount dies or recovers: to a push gateway and to a text file. Each
//! has a thread of its own, which may block.

use super::LogFn;
use super::http_client::backoff;
use super::metrics::{MetricSources, Renderer};
use super::publish_gate::PublishGate;
use super::push::{PushCounters, PushExporter, PushSettings};
use super::textfile::TextFileExporter;
use super::worker_thread::{Signals, WorkerThread};
use super::{SharedState, Sink};
use crate::backoff::Backoff;
use crate::render::{Priority, Snapshot};
use std::io;
use std::mem::{Discriminant, discriminant};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Which exporters there are.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetricsSettings {
    pub push: Option<PushSettings>,
    /// The absolute path of a file for node_exporter.
    pub textfile: Option<PathBuf>,
}

impl MetricsSettings {
    /// The sources of metrics that these exporters and the sinks are.
    pub(super) fn sources<'a>(&self, sinks: impl Iterator<Item = &'a Sink>) -> MetricSources {
        let push = self.push.as_ref().map(|_| Arc::new(PushCounters::default()));
        MetricSources { sinks: sinks.cloned().collect(), push, ..MetricSources::default() }
    }
}

/// Writes metrics to one place. All methods run in the exporter's thread.
pub(super) trait Exporter: Send + 'static {
    /// The name of the thread.
    const NAME: &'static str;
    /// The minimum time between two exports.
    const MIN_INTERVAL: Duration;
    /// The first and the longest pause before a failed export is repeated; none to wait for the next snapshot.
    const RETRY_PAUSES: Option<(Duration, Duration)>;

    /// Exports a snapshot. The future is dropped when the daemon stops.
    fn export(&mut self, snapshot: &Snapshot) -> impl Future<Output = Result<(), ExportError>>;
    /// Called at the end of the thread. Returns a line to log if something failed.
    fn close(&mut self) -> impl Future<Output = Option<String>> {
        std::future::ready(None)
    }
    /// The log line of a failure, without the hint about the next attempt.
    fn failure_line(&self, error: &ExportError) -> String;
    /// The log line of the first success after failures.
    fn recovery_line(&self) -> String;
}

/// Why metrics were not exported. Each kind is logged once, when it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ExportError {
    Failed(String),
    /// The destination must not be written now.
    Refused(String),
}

/// The running exporters.
#[derive(Debug, Default)]
pub(super) struct Exporters(Vec<ExporterThread>);

#[derive(Debug)]
struct ExporterThread {
    name: &'static str,
    signals: Arc<Signals>,
    thread: WorkerThread,
}

impl Exporters {
    /// Starts a thread for each exporter.
    ///
    /// # Errors
    /// A thread could not be started. Gateways and files that fail are logged and tried again.
    pub(super) fn start(
        settings: &MetricsSettings,
        renderer: &Arc<Renderer>,
        state: &SharedState,
        log: &LogFn,
    ) -> io::Result<Exporters> {
        Exporters::start_threads(settings, renderer, state, log, false)
    }

    /// Exports one snapshot, for a single run of the daemon. Failures are logged.
    pub(super) fn export_once(
        settings: &MetricsSettings,
        renderer: &Arc<Renderer>,
        snapshot: &Arc<Snapshot>,
        timeout: Duration,
        log: &LogFn,
    ) {
        let deadline = Instant::now() + timeout;
        let state = SharedState::new();
        state.publish(Arc::clone(snapshot));
        match Exporters::start_threads(settings, renderer, &state, log, true) {
            Ok(exporters) => {
                for ExporterThread { name, thread, .. } in &exporters.0 {
                    thread.wait(deadline);
                    if !thread.has_ended() {
                        log(
                            Priority::Warning,
                            &format!("Cannot export metrics ({name}): no response in time"),
                        );
                    }
                }
            }
            Err(error) => log(Priority::Warning, &format!("Cannot start a thread for metrics: {error}")),
        }
    }

    fn start_threads(
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

    /// Whether all threads have ended.
    pub(super) fn have_ended(&self) -> bool {
        self.0.iter().all(|exporter| exporter.thread.has_ended())
    }

    /// Stops all exporters, and waits for their ends at most so long. A push is cancelled, the group in the gateway is
    /// deleted if that is configured, and a file is written to its end.
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
    /// Whether the thread ends after one export.
    is_single_run: bool,
    gate: PublishGate,
    backoff: Option<Backoff<Instant>>,
    not_before: Instant,
    /// The kind of the failure that was logged and lasts.
    logged: Option<Discriminant<ExportError>>,
}

impl<E: Exporter> Worker<E> {
    fn start(
        exporter: E,
        state: &SharedState,
        log: &LogFn,
        is_single_run: bool,
    ) -> io::Result<ExporterThread> {
        let signals = Arc::new(Signals::default());
        let worker = Worker {
            backoff: E::RETRY_PAUSES.map(|(first, max)| backoff(first, max)),
            exporter,
            state: state.clone(),
            log: Arc::clone(log),
            signals: Arc::clone(&signals),
            is_single_run,
            gate: PublishGate::default(),
            not_before: Instant::now(),
            logged: None,
        };
        let run = |runtime: &Runtime| runtime.block_on(worker.run());
        let thread = WorkerThread::start(E::NAME, WorkerThread::runtime(1)?, run)?;
        state.subscribe(&signals, Signals::wake);
        Ok(ExporterThread { name: E::NAME, signals, thread })
    }

    async fn run(mut self) {
        let signals = Arc::clone(&self.signals);
        while let Some(snapshot) = self.next_snapshot().await {
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

    /// Waits for a snapshot that has to be exported; none when the daemon stops.
    async fn next_snapshot(&self) -> Option<Arc<Snapshot>> {
        while !self.signals.is_stopping() {
            match self.state.latest().filter(|latest| self.is_single_run || self.gate.is_due(latest)) {
                None => self.signals.woken(None).await,
                Some(snapshot) if self.not_before <= Instant::now() => return Some(snapshot),
                Some(_) => self.signals.woken(Some(self.not_before)).await,
            }
        }
        None
    }

    fn on_exported(&mut self, begun: Instant, snapshot: &Snapshot, result: Result<(), ExportError>) {
        self.not_before = begun + E::MIN_INTERVAL;
        let Err(error) = result else {
            self.gate.mark_done(snapshot);
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
            None => self.gate.mark_done(snapshot),
        }
        let kind = Some(discriminant(&error));
        if std::mem::replace(&mut self.logged, kind) != kind {
            let hint = match (&error, &self.backoff) {
                (ExportError::Refused(_), _) => "",
                _ if self.is_single_run => "",
                (_, Some(_)) => "; trying again",
                (_, None) => "; trying again after each run",
            };
            (self.log)(Priority::Warning, &format!("{}{hint}", self.exporter.failure_line(&error)));
        }
    }
}
