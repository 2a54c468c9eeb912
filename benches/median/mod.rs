//! Medians of repeated measurements, printed with their ratio to a reference measured in the same run, because ratios
//! vary less between machines than absolute times.

#![allow(dead_code, unreachable_pub)] // no bench uses all of it

use std::time::{Duration, Instant};

pub struct Row {
    name: String,
    time: Duration,
    reference: Duration,
}

impl Row {
    pub fn new(name: impl Into<String>, time: Duration, reference: Duration) -> Row {
        Row { name: name.into(), time, reference }
    }
}

/// The median time of `work`.
pub fn median_of<T>(repeats: usize, mut work: impl FnMut() -> T) -> Duration {
    median(
        (0..repeats)
            .map(|_| {
                let start = Instant::now();
                std::hint::black_box(work());
                start.elapsed()
            })
            .collect(),
    )
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The time below which are so many percent of all.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted
        .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

/// A time on a logarithmic scale from 10 µs, and the part of it that a limit needs.
pub fn bar(limit: Duration, time: Duration) -> String {
    let length =
        |time: Duration| (time.as_secs_f64() / 1e-5).max(1.0).log10().mul_add(5.0, 1.0).round() as usize;
    let all = length(time);
    let limit = if limit.is_zero() { 0 } else { length(limit).min(all) };
    format!("{}{}", "░".repeat(limit), "█".repeat(all - limit))
}

pub fn print_table(title: &str, reference: &str, rows: &[Row]) {
    println!("\n{title}\n{:<48} {:>12}   ratio to: {reference}", "", "median");
    for row in rows {
        let ratio = row.time.as_secs_f64() / row.reference.as_secs_f64().max(1e-9);
        println!("{:<48} {:>12}   {ratio:.2}", row.name, show(row.time));
    }
}

fn show(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    if us >= 10_000.0 { format!("{:.1} ms", us / 1000.0) } else { format!("{us:.1} µs") }
}
