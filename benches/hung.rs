//! The duration of a run when 60 of 300 FUSE mounts hang, in timeouts: sequential probes would take 60. Needs root,
//! `/dev/fuse`, and the FUSE server of the tests (`cargo build --release --example faultfs`).

mod median;
mod namespaces;

use median::{Row, median, print_table};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MOUNTS: usize = 300;
const HUNG: usize = 60;
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
    nix::mount::mount(Some("bench"), directory, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>)
        .expect("mount a tmpfs");
    let mut server = FaultServer::start(&server);
    for index in 0..MOUNTS {
        let path = directory.join(format!("m{index}"));
        std::fs::create_dir(&path).expect("create a directory");
        server.send(&format!("mount {}", path.display()));
    }
    let healthy = (0..REPEATS).map(|_| run(monitor, 0)).collect();
    for index in 0..HUNG {
        server.send(&format!("mute {}/m{index}", directory.display()));
    }
    let hung = (0..REPEATS).map(|_| run(monitor, HUNG)).collect();
    print_table(
        &format!("--once-only over {MOUNTS} FUSE mounts, timeout {TIMEOUT:?}, median of {REPEATS}"),
        "the timeout",
        &[
            Row::new("no mount hangs", median(healthy), TIMEOUT),
            Row::new(format!("{HUNG} hang: all of them reported"), median(hung), TIMEOUT),
            Row::new("(60 one after another)", TIMEOUT * 60, TIMEOUT),
        ],
    );
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
