//! The memory of the daemon and its children with 30 to 100,000 mounts, while it is scraped, from memory and from its file;
//! and how long a start takes. Needs root for its namespaces, and a higher `fs.mount-max` for the most mounts.

mod median;
mod namespaces;
mod program;

use median::{Row, median, median_of, print_table};
use namespaces::{memory_of_processes, mount_tmpfs};
use platform::MountTable;
use program::{Program, pause};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SIZES: [usize; 3] = [30, 10_000, 100_000];
/// Mounts of the machine.
const SPARE_MOUNTS: usize = 500;
const SAMPLES: u32 = 200;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// A scrape follows so many samples.
const SAMPLES_PER_SCRAPE: u32 = 50;
const STARTS: usize = 9;

fn main() {
    namespaces::run_in_namespaces("memory", bench);
}

fn bench(directory: &Path) {
    mount_tmpfs(directory);
    println!("\nMemory (PSS, KiB), at most in {:?} with runs and scrapes", SAMPLE_INTERVAL * SAMPLES);
    let most = std::fs::read_to_string("/proc/sys/fs/mount-max").unwrap_or_default();
    let (most, mut count) = (most.trim().parse().unwrap_or(usize::MAX), 0);
    for size in SIZES {
        if size + SPARE_MOUNTS > most {
            println!("SKIPPED {size} mounts: fs.mount-max is {most}");
            continue;
        }
        (count..size).for_each(|n| mount_tmpfs(&directory.join(format!("m{n:06}"))));
        count = size;
        for from_memory in ["auto", "off"] {
            let processes = memory(directory, from_memory);
            let all: u64 = processes.iter().map(|(_, pss)| pss).sum();
            println!("{size:>7} mounts, --run-from-memory {from_memory:<4} {all:>7}: {processes:?}");
        }
        starts(directory, size);
    }
}

fn start(directory: &Path, from_memory: &str) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
    command.args(["--poll-interval", "5", "--syslog", "off", "--listen-address", "off"]);
    command.args(["--run-from-memory", from_memory, "--socket"]).arg(directory.join("socket"));
    Program::start(&mut command, true)
}

/// The processes when they have the most memory together.
fn memory(directory: &Path, from_memory: &str) -> Vec<(String, u64)> {
    let program = start(directory, from_memory);
    program.wait_for("Checked ");
    pause(Duration::from_secs(1)); // what the start left to do
    let sum = |processes: &[(String, u64)]| processes.iter().map(|(_, pss)| pss).sum::<u64>();
    let mut most = Vec::new();
    for sample in 0..SAMPLES {
        if sample % SAMPLES_PER_SCRAPE == 0 {
            scrape(&directory.join("socket"));
        }
        let processes = memory_of_processes(&[std::process::id()]);
        if sum(&processes) > sum(&most) {
            most = processes;
        }
        pause(SAMPLE_INTERVAL);
    }
    most
}

fn scrape(socket: &Path) {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("send the request");
    let mut text = Vec::new();
    stream.read_to_end(&mut text).expect("the metrics");
    assert!(text.starts_with(b"HTTP/1.0 200"), "{}", text[..20].escape_ascii());
}

fn starts(directory: &Path, size: usize) {
    let once = |_| {
        let begun = Instant::now();
        let program = start(directory, "auto");
        let started = program.wait_for("Started ").at;
        (started - begun, program.wait_for("Checked ").at - begun)
    };
    let (started, checked): (Vec<Duration>, Vec<Duration>) = (0..STARTS).map(once).unzip();
    let bare = median_of(STARTS, || MountTable::read().expect("the mount table"));
    let rows = [
        Row::new("the monitor has the mount table", median(started), bare),
        Row::new("every mount was probed", median(checked), bare),
    ];
    print_table(&format!("Start with {size} mounts"), "reading the mount table in this process", &rows);
    println!();
}
