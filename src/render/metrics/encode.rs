//! Encodes metric families in Prometheus's text format.

use super::families::{FAMILIES, Family, Fill};
use super::inputs::{MetricData, MetricInputs, Sample, label};
use crate::monitor::{DURATION_BOUNDS, Durations, MountStatus};
use crate::render::Snapshot;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, Metric, MetricFamily};
use prometheus::{Encoder, TextEncoder};

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Initial capacity for the families without mounts, and per mount for the others: the text is not moved while it
/// grows.
const BASE_CAPACITY: usize = 16 << 10;
const CAPACITY_PER_MOUNT: usize = 1 << 10;

/// All families in the text format 0.0.4, in the order of [`FAMILIES`].
#[must_use]
pub fn render(snapshot: &Snapshot, inputs: &MetricInputs) -> Vec<u8> {
    let data = MetricData::new(snapshot, inputs);
    let mut mounts = data.labelled_mounts();
    let mut text = Vec::with_capacity(BASE_CAPACITY + CAPACITY_PER_MOUNT * mounts.len());
    for family in FAMILIES {
        let metrics = match family.fill {
            Fill::Mount(value) => {
                encode_mounts(family, &mut mounts, |mount| value(&data, mount), &mut text);
                continue;
            }
            Fill::Failure => failures(&mounts),
            Fill::Single(value) => {
                value(&data).map(|value| metric(family, (vec![], value))).into_iter().collect()
            }
            Fill::Many(samples) => samples(&data).into_iter().map(|sample| metric(family, sample)).collect(),
            Fill::Durations => {
                data.fstypes.iter().map(|(fstype, totals)| histogram(fstype, &totals.durations)).collect()
            }
        };
        encode(family, metrics, &mut text);
    }
    text
}

type LabelledMount<'a> = (&'a MountStatus, Metric);

/// The labels of a mount are created once and borrowed by each family: with many mounts they are most of the work.
fn encode_mounts(
    family: &Family,
    mounts: &mut [LabelledMount<'_>],
    value: impl Fn(&MountStatus) -> Option<f64>,
    text: &mut Vec<u8>,
) {
    let mut borrowed = Vec::with_capacity(mounts.len());
    let mut owners = Vec::with_capacity(mounts.len());
    for (index, (mount, metric)) in mounts.iter_mut().enumerate() {
        if let Some(value) = value(mount) {
            let mut metric = std::mem::take(metric);
            metric.set_gauge(gauge(value));
            borrowed.push(metric);
            owners.push(index);
        }
    }
    for (index, metric) in owners.into_iter().zip(encode(family, borrowed, text)) {
        mounts[index].1 = metric;
    }
}

fn failures(mounts: &[LabelledMount<'_>]) -> Vec<Metric> {
    let failure = |(mount, metric): &LabelledMount<'_>| {
        let reason = mount.health.failure()?.reason;
        let mut metric = metric.clone();
        let mut labels = metric.take_label();
        labels.push(label("reason", reason.as_str().to_owned()));
        metric.set_label(labels);
        metric.set_gauge(gauge(1.0));
        Some(metric)
    };
    mounts.iter().filter_map(failure).collect()
}

fn histogram(fstype: &str, durations: &Durations) -> Metric {
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
    let mut metric = Metric::from_label(vec![label("fstype", fstype.to_owned())]);
    metric.set_histogram(histogram);
    metric
}

/// The encoder reads the counter or the gauge, depending on the family's type.
fn metric(family: &Family, (values, value): Sample) -> Metric {
    let labels = family.labels.iter().zip(values).map(|(name, value)| label(name, value)).collect();
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

/// Appends a family and returns its metrics. A family without series is left out.
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
    TextEncoder::new().encode(&families, text).expect("writing to a Vec does not fail");
    let [mut proto] = families;
    proto.take_metric()
}
