//! A snapshot as text.

use super::families::{FAMILIES, Family, Fill, is_of_process};
use super::inputs::{Facts, Line, pair};
use crate::monitor::{DURATION_BOUNDS, Durations, MountStatus};
use crate::output::Sink;
use crate::output::hooks::Hooks;
use crate::output::push::PushCounters;
use crate::render::Snapshot;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, Metric, MetricFamily};
use prometheus::{Encoder, TextEncoder};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The media type of what [`Renderer::render`] makes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Room for the families that do not depend on mounts, and for those that do, per mount: the text is not moved while
/// it grows.
const ROOM: (usize, usize) = (16 << 10, 1 << 10);
/// The machine's clock is slewed all the time. A start of this process that seems to move by less than this has not
/// moved, and nobody is to think that it was restarted.
const CLOCK_STEP: Duration = Duration::from_secs(1);

/// What is shown and is not in a snapshot.
#[derive(Clone, Debug, Default)]
pub struct MetricSources {
    /// The sinks of messages.
    pub sinks: Vec<Sink>,
    /// The counters of the push gateway, if there is one.
    pub push: Option<Arc<PushCounters>>,
    /// The hooks, if there are any.
    pub hooks: Option<Hooks>,
}

/// Makes text of snapshots. Nothing is kept from one to the next but the start of the process.
#[derive(Debug, Default)]
pub struct Renderer {
    extras: MetricSources,
    started: Mutex<Option<Duration>>,
}

impl Renderer {
    /// With these besides the snapshots.
    #[must_use]
    pub fn new(extras: MetricSources) -> Renderer {
        Renderer { extras, started: Mutex::default() }
    }

    /// All families, in the text format 0.0.4, always in the same order.
    #[must_use]
    pub fn render(&self, snapshot: &Snapshot) -> Vec<u8> {
        self.text(snapshot, |_| true)
    }

    /// What is pushed: all but what is said of the process itself, whose reader cannot ask it back.
    #[must_use]
    pub fn render_for_push(&self, snapshot: &Snapshot) -> Vec<u8> {
        self.text(snapshot, |family| !is_of_process(family))
    }

    /// The counters of the push gateway, if there is one.
    pub(crate) fn push_counters(&self) -> Option<&PushCounters> {
        self.extras.push.as_deref()
    }

    fn text(&self, snapshot: &Snapshot, wanted: impl Fn(&Family) -> bool) -> Vec<u8> {
        let mut process = platform::process_stats();
        if let Some(process) = &mut process {
            process.started = self.started(process.started);
        }
        let facts = Facts::new(snapshot, &self.extras, process);
        let mut mounts = facts.mounts();
        let mut text = Vec::with_capacity(ROOM.0 + ROOM.1 * mounts.len());
        for family in FAMILIES.iter().filter(|family| wanted(family)) {
            let metrics = match family.fill {
                Fill::Mount(value) => {
                    of_mounts(family, &mut mounts, |mount| value(&facts, mount), &mut text);
                    continue;
                }
                Fill::Failure => failures(&mounts),
                Fill::One(value) => {
                    value(&facts).map(|value| metric(family, (vec![], value))).into_iter().collect()
                }
                Fill::Many(lines) => lines(&facts).into_iter().map(|line| metric(family, line)).collect(),
                Fill::Durations => facts
                    .fstypes
                    .iter()
                    .map(|(fstype, counted)| durations(fstype, &counted.durations))
                    .collect(),
            };
            encode(family, metrics, &mut text);
        }
        text
    }

    /// When this process started, without the clock's small movements.
    fn started(&self, seems: Duration) -> Duration {
        let mut known = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let started = known.filter(|known| known.abs_diff(seems) < CLOCK_STEP).unwrap_or(seems);
        *known = Some(started);
        started
    }
}

type Labelled<'a> = (&'a MountStatus, Metric);

/// The labels of a mount are made once and lent to each family: with many mounts they are most of the work.
fn of_mounts(
    family: &Family,
    mounts: &mut [Labelled<'_>],
    value: impl Fn(&MountStatus) -> Option<f64>,
    text: &mut Vec<u8>,
) {
    let mut lent = Vec::with_capacity(mounts.len());
    let mut lenders = Vec::with_capacity(mounts.len());
    for (place, (mount, metric)) in mounts.iter_mut().enumerate() {
        if let Some(value) = value(mount) {
            let mut metric = std::mem::take(metric);
            metric.set_gauge(gauge(value));
            lent.push(metric);
            lenders.push(place);
        }
    }
    for (place, metric) in lenders.into_iter().zip(encode(family, lent, text)) {
        mounts[place].1 = metric;
    }
}

fn failures(mounts: &[Labelled<'_>]) -> Vec<Metric> {
    let failure = |(mount, metric): &Labelled<'_>| {
        let reason = mount.health.failure()?.reason;
        let mut metric = metric.clone();
        let mut labels = metric.take_label();
        labels.push(pair("reason", reason.as_str().to_owned()));
        metric.set_label(labels);
        metric.set_gauge(gauge(1.0));
        Some(metric)
    };
    mounts.iter().filter_map(failure).collect()
}

fn durations(fstype: &str, durations: &Durations) -> Metric {
    let mut sum = 0;
    let bucket = |(bound, n): (f64, u64)| {
        sum += n;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(sum);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(DURATION_BOUNDS.into_iter().zip(durations.buckets).map(bucket).collect());
    histogram.set_sample_count(durations.count());
    histogram.set_sample_sum(durations.sum.as_secs_f64());
    let mut metric = Metric::from_label(vec![pair("fstype", fstype.to_owned())]);
    metric.set_histogram(histogram);
    metric
}

fn metric(family: &Family, (values, value): Line) -> Metric {
    let labels = family.labels.iter().zip(values).map(|(name, value)| pair(name, value)).collect();
    let mut metric = Metric::from_label(labels);
    let mut counter = Counter::default();
    counter.set_value(value);
    metric.set_counter(counter);
    metric.set_gauge(gauge(value));
    metric
}

fn gauge(value: f64) -> Gauge {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    gauge
}

/// Appends a family, and gives its metrics back. One without any series is left out.
fn encode(family: &Family, metrics: Vec<Metric>, text: &mut Vec<u8>) -> Vec<Metric> {
    if metrics.is_empty() {
        return metrics;
    }
    let mut proto = MetricFamily::default();
    proto.set_name(family.name.to_owned());
    proto.set_help(family.help.to_owned());
    proto.set_field_type(family.kind.proto());
    proto.set_metric(metrics);
    let families = [proto];
    TextEncoder::new().encode(&families, text).expect("a named family with metrics goes into memory");
    let [mut proto] = families;
    proto.take_metric()
}
