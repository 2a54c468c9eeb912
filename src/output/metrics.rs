//! Metrics for HTTP, the push gateway and the text file: a snapshot and the statistics of the outputs.

use super::alertmanager::AlertmanagerClient;
use super::hooks::Hooks;
use super::{Sink, lock};
use crate::children::files;
use crate::render::Snapshot;
use crate::render::metrics::{self, MetricInputs, MetricsText, PushStats};
use crate::render::parts::Parts as _;
use platform::ProcessStats;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A smaller shift of the start time means that the clock was adjusted, not that the process restarted.
const MIN_START_SHIFT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct MetricSources {
    pub(super) sinks: Vec<Sink>,
    pub(super) dropped_reports: Arc<AtomicU64>,
    pub(super) push: Option<Mutex<PushStats>>,
    pub(super) hooks: Option<Hooks>,
    pub(super) alertmanager: Option<AlertmanagerClient>,
}

impl MetricSources {
    fn read(&self) -> MetricInputs {
        MetricInputs {
            dropped_messages: std::iter::once(("outputs", self.dropped_reports.load(Ordering::Relaxed)))
                .chain(self.sinks.iter().map(|sink| (sink.name, sink.dropped_total())))
                .collect(),
            push: self.push.as_ref().map(|push| *lock(push)),
            hooks: self.hooks.as_ref().map(Hooks::counters).unwrap_or_default(),
            alertmanager: self.alertmanager.as_ref().and_then(AlertmanagerClient::counters),
            files_left_behind: files::left_behind(),
            process: None,
        }
    }
}

/// Renders snapshots as metrics. The only state is the start time of the process.
#[derive(Default)]
pub(super) struct Renderer {
    sources: MetricSources,
    started: Mutex<Option<Duration>>,
}

impl Renderer {
    pub(super) fn new(sources: MetricSources) -> Renderer {
        Renderer { sources, started: Mutex::default() }
    }

    pub(super) fn render(&self, snapshot: &Snapshot) -> Vec<u8> {
        self.text(snapshot).whole()
    }

    /// The same in parts.
    pub(super) fn text(&self, snapshot: &Snapshot) -> MetricsText {
        let process = platform::process_stats().map(|stats| self.with_steady_start(stats));
        MetricsText::new(snapshot, MetricInputs { process, ..self.sources.read() })
    }

    /// Omits the metrics of the process, because a gateway would keep them after its end.
    pub(super) fn render_for_push(&self, snapshot: &Snapshot) -> Vec<u8> {
        metrics::render(snapshot, self.sources.read())
    }

    pub(super) fn push_counters(&self) -> Option<&Mutex<PushStats>> {
        self.sources.push.as_ref()
    }

    fn with_steady_start(&self, stats: ProcessStats) -> ProcessStats {
        let mut known = lock(&self.started);
        let started = known.filter(|known| known.abs_diff(stats.started) < MIN_START_SHIFT);
        let started = *known.insert(started.unwrap_or(stats.started));
        ProcessStats { started, ..stats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Status;
    use crate::render::samples;

    #[test]
    fn a_push_has_all_families_but_those_of_the_process() {
        let push = Some(Mutex::default());
        let renderer = Renderer::new(MetricSources { push, ..MetricSources::default() });
        let snapshot = samples::snapshot(Status::default());
        let pushed = String::from_utf8(renderer.render_for_push(&snapshot)).unwrap();
        let scraped = String::from_utf8(renderer.render(&snapshot)).unwrap();
        assert!(pushed.contains("\nmountstatus_push_failures_total 0\n"), "{pushed}");
        let without_process: Vec<&str> = scraped.lines().filter(|line| !line.contains("process_")).collect();
        assert_eq!(pushed.lines().collect::<Vec<_>>(), without_process);
        assert!(without_process.len() < scraped.lines().count());
    }
}
