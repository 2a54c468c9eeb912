//! Writes metric families in Prometheus's text format, in parts.

use super::families::{FAMILIES, Family, Fill, MoreLabels, MountValue};
use super::inputs::{Labels, MetricData, MetricInputs, Sample, push_escaped};
use super::number::push_number;
use crate::monitor::{DURATION_BOUNDS, Durations};
use crate::render::Snapshot;
use crate::render::parts::Parts;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All families in the text format 0.0.4, in the order of [`FAMILIES`]; the mounts of each are in the order of the mount
/// table. A family without series is left out.
pub struct MetricsText {
    data: MetricData,
    /// Of each mount.
    labels: Vec<Labels>,
    /// The next family, and whether a part of it is written.
    family: usize,
    is_begun: bool,
    /// Its next mount: the chunk, the index in that, and the index in all.
    chunk: usize,
    index: usize,
    mount: usize,
}

/// The text as a whole.
#[must_use]
pub fn render(snapshot: &Snapshot, inputs: MetricInputs) -> Vec<u8> {
    MetricsText::new(snapshot, inputs).whole()
}

impl Parts for MetricsText {
    fn write(&mut self, text: &mut Vec<u8>, size: usize) -> bool {
        while let Some(family) = FAMILIES.get(self.family) {
            let is_complete = match family.fill {
                Fill::Mount(value) => self.write_mounts(family, value, None, text, size),
                Fill::MountWith(value, more) => self.write_mounts(family, value, Some(more), text, size),
                Fill::Single(value) => {
                    write_samples(family, value(&self.data).map(|value| (vec![], value)), text)
                }
                Fill::Many(samples) => write_samples(family, samples(&self.data), text),
                Fill::Durations => {
                    write_histograms(family, &self.data, text);
                    true
                }
            };
            if !is_complete {
                return true;
            }
            (self.family, self.is_begun) = (self.family + 1, false);
        }
        false
    }
}

impl MetricsText {
    #[must_use]
    pub fn new(snapshot: &Snapshot, inputs: MetricInputs) -> MetricsText {
        let data = MetricData::new(snapshot, inputs);
        let labels = data.labels();
        MetricsText { data, labels, family: 0, is_begun: false, chunk: 0, index: 0, mount: 0 }
    }

    /// `more` has further labels. False if the text is long enough before all mounts are written.
    fn write_mounts(
        &mut self,
        family: &Family,
        value: MountValue,
        more: Option<MoreLabels>,
        text: &mut Vec<u8>,
        size: usize,
    ) -> bool {
        let MetricsText { data, labels, is_begun, chunk, index, mount: number, .. } = self;
        let start = [family.name.as_bytes(), b"{"].concat();
        while let Some(mounts) = data.status().mounts.chunk(*chunk) {
            for mount in &mounts[*index..] {
                if text.len() >= size {
                    return false;
                }
                let labels = labels[*number];
                (*index, *number) = (*index + 1, *number + 1);
                if labels == Labels::None {
                    continue;
                }
                let Some(value) = value(data, mount) else { continue };
                if !std::mem::replace(is_begun, true) {
                    write_header(family, text);
                }
                text.extend_from_slice(&start);
                labels.push(&mount.mount, text);
                if let Some(push_more) = more {
                    push_more(mount, text);
                }
                text.extend_from_slice(b"} ");
                push_number(value, text);
                text.push(b'\n');
            }
            (*chunk, *index) = (*chunk + 1, 0);
        }
        (*chunk, *index, *number) = (0, 0, 0);
        true
    }
}

fn write_header(family: &Family, text: &mut Vec<u8>) {
    let Family { name, help, .. } = family;
    text.extend_from_slice(
        format!("# HELP {name} {help}\n# TYPE {name} {}\n", family.kind.name()).as_bytes(),
    );
}

/// Returns true: the number of these series does not grow with the mounts.
fn write_samples(family: &Family, samples: impl IntoIterator<Item = Sample>, text: &mut Vec<u8>) -> bool {
    for (n, (values, value)) in samples.into_iter().enumerate() {
        if n == 0 {
            write_header(family, text);
        }
        write_series(
            family.name,
            family.labels.iter().copied().zip(values.iter().map(String::as_str)),
            value,
            text,
        );
    }
    true
}

fn write_histograms(family: &Family, data: &MetricData, text: &mut Vec<u8>) {
    if !data.fstypes.is_empty() {
        write_header(family, text);
    }
    let name = |suffix| format!("{}_{suffix}", family.name);
    let (bucket_name, sum_name, count_name) = (name("bucket"), name("sum"), name("count"));
    for (fstype, totals) in &data.fstypes {
        let durations: &Durations = &totals.durations;
        let fstype = ("fstype", fstype.as_str());
        let bounds = DURATION_BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let mut sum = 0;
        for (bound, n) in bounds.zip(durations.buckets) {
            sum += n;
            write_series(&bucket_name, [fstype, ("le", &bound)], sum as f64, text);
        }
        write_series(&sum_name, [fstype], durations.sum.as_secs_f64(), text);
        write_series(&count_name, [fstype], durations.count() as f64, text);
    }
}

fn write_series<'a>(
    name: &str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    value: f64,
    text: &mut Vec<u8>,
) {
    text.extend_from_slice(name.as_bytes());
    let mut has_labels = false;
    for (name, value) in labels {
        text.push(if std::mem::replace(&mut has_labels, true) { b',' } else { b'{' });
        push_label(name, value, text);
    }
    text.extend_from_slice(if has_labels { b"} " } else { b" " });
    push_number(value, text);
    text.push(b'\n');
}

/// Behind other labels.
pub(super) fn push_more_label(name: &str, value: &str, text: &mut Vec<u8>) {
    text.push(b',');
    push_label(name, value, text);
}

fn push_label(name: &str, value: &str, text: &mut Vec<u8>) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"=\"");
    push_escaped(value, text);
    text.push(b'"');
}
