//! Medians over repeats, and a table of them with ratios to a measure taken in the same run: digits differ from
//! machine to machine, ratios less.

#![allow(dead_code, unreachable_pub)] // each bench uses a part of it

use std::time::{Duration, Instant};

pub struct Row {
    name: String,
    time: Duration,
    measure: Duration,
}

impl Row {
    pub fn new(name: impl Into<String>, time: Duration, measure: Duration) -> Row {
        Row { name: name.into(), time, measure }
    }
}

/// The median time of `work`.
pub fn median_of<T>(repeats: usize, mut work: impl FnMut() -> T) -> Duration {
    median(
        (0..repeats)
            .map(|_| {
                let begun = Instant::now();
                std::hint::black_box(work());
                begun.elapsed()
            })
            .collect(),
    )
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

pub fn print_table(title: &str, measure: &str, rows: &[Row]) {
    println!("\n{title}\n{:<48} {:>12}   ratio to: {measure}", "", "median");
    for row in rows {
        let ratio = row.time.as_secs_f64() / row.measure.as_secs_f64().max(1e-9);
        println!("{:<48} {:>12}   {ratio:.2}", row.name, show(row.time));
    }
}

fn show(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    if us >= 10_000.0 { format!("{:.1} ms", us / 1000.0) } else { format!("{us:.1} µs") }
}
