//! 1,000 of 10,000 mounts hang: how long a run takes beyond the timeout and what a run takes when none hangs, and the
//! memory of all processes. Sequential probes would take 1,000 timeouts. Needs root, `/dev/fuse`, and the FUSE server of
//! the tests (`cargo build --release --example faultfs`).

mod median;
mod namespaces;

use median::{Row, median, print_table};
use namespaces::{memory_of_processes, mount_tmpfs};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const HEALTHY: usize = 9_000;
const HUNG: usize = 1_000;
const TIMEOUT: Duration = Duration::from_secs(1);
const REPEATS: usize = 5;

fn main() {
    namespaces::run_in_namespaces("hung", bench);
}

fn bench(directory: &Path) {
    let monitor = env!("CARGO_BIN_EXE_mount_status_monitor");
    let server = Path::new(monitor).with_file_name("examples").join("faultfs");
    if !server.exists() || !Path::new("/dev/fuse").exists() {
        println!("SKIPPED hung: needs /dev/fuse and `cargo build --release --example faultfs`");
        return;
    }
    mount_tmpfs(directory);
    let mut server = FaultServer::start(&server);
    for index in 0..HEALTHY + HUNG {
        let path = directory.join(format!("m{index}"));
        if index < HUNG {
            std::fs::create_dir(&path).expect("create a directory");
            server.send(&format!("mount {}", path.display()));
        } else {
            mount_tmpfs(&path);
        }
    }
    let healthy = median((0..REPEATS).map(|_| run(monitor, 0)).collect());
    for index in 0..HUNG {
        server.send(&format!("mute {}/m{index}", directory.display()));
    }
    let server = server.0.id();
    let (sampler, end) = channel::<()>();
    let memory = std::thread::spawn(move || {
        let mut most = 0;
        while end.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
            let processes = memory_of_processes(&[server, std::process::id()]);
            most = most.max(processes.iter().map(|(_, pss)| pss).sum());
        }
        most
    });
    let hung = median((0..REPEATS).map(|_| run(monitor, HUNG)).collect());
    drop(sampler);
    print_table(
        &format!(
            "--once-only over {HEALTHY} tmpfs and {HUNG} FUSE mounts, timeout {TIMEOUT:?}, median of {REPEATS}"
        ),
        "the timeout",
        &[
            Row::new("no mount hangs", healthy, TIMEOUT),
            Row::new(format!("{HUNG} hang: all of them reported"), hung, TIMEOUT),
            Row::new("  beyond both", hung.saturating_sub(TIMEOUT + healthy), TIMEOUT),
        ],
    );
    println!("memory of all processes: at most {} KiB (PSS)", memory.join().expect("it ends"));
}

fn run(monitor: &str, dead: usize) -> Duration {
    let start = Instant::now();
    let output = Command::new(monitor)
        .args(["--once-only", "--syslog", "off", "--timeout", "1", "--print-bad-mounts"])
        .args(["--mount-points-include", "/m[0-9]+$"])
        .stderr(Stdio::null())
        .output()
        .expect("the daemon starts");
    let elapsed = start.elapsed();
    assert_eq!(
        output.stdout.split(|&byte| byte == b'\n').count() - 1,
        dead,
        "the reported mounts are not exactly the hung ones"
    );
    elapsed
}

struct FaultServer(Child, BufReader<std::process::ChildStdout>);

impl FaultServer {
    fn start(program: &Path) -> FaultServer {
        let mut child = Command::new(program)
            .env("RUST_MIN_STACK", "131072")
            .env("MALLOC_MMAP_THRESHOLD_", "1048576")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the FUSE server starts");
        let replies = BufReader::new(child.stdout.take().expect("a pipe"));
        FaultServer(child, replies)
    }

    fn send(&mut self, command: &str) {
        writeln!(self.0.stdin.as_mut().expect("a pipe"), "{command}").expect("the server reads");
        let mut reply = String::new();
        self.1.read_line(&mut reply).expect("the server replies");
        assert!(reply.starts_with("ok"), "{command}: {reply}");
    }
}

/// Ending the server frees the processes that are stuck on its mounts.
impl Drop for FaultServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
