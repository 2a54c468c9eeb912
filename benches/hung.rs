//! How long a run takes when 60 of 300 FUSE mounts hang, measured in timeouts: one that waits for them one after
//! another needs 60, two at a time 30. Needs root, `/dev/fuse`, and the file server of the tests
//! (`cargo build --release --example faultfs`).

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
    namespaces::inside("hung", bench);
}

fn bench(folder: &Path) {
    let monitor = env!("CARGO_BIN_EXE_mount_status_monitor");
    let server = Path::new(monitor).with_file_name("examples").join("faultfs");
    if !server.exists() || !Path::new("/dev/fuse").exists() {
        println!("SKIPPED hung: needs /dev/fuse and `cargo build --release --example faultfs`");
        return;
    }
    nix::mount::mount(Some("bench"), folder, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>)
        .expect("a tmpfs");
    let mut server = Server::start(&server);
    for index in 0..MOUNTS {
        let path = folder.join(format!("m{index}"));
        std::fs::create_dir(&path).expect("a folder");
        server.say(&format!("mount {}", path.display()));
    }
    let well = (0..REPEATS).map(|_| run(monitor, 0)).collect();
    for index in 0..HUNG {
        server.say(&format!("mute {}/m{index}", folder.display()));
    }
    let hung = (0..REPEATS).map(|_| run(monitor, HUNG)).collect();
    print_table(
        &format!("--once-only over {MOUNTS} FUSE mounts, timeout {TIMEOUT:?}, median of {REPEATS}"),
        "the timeout",
        &[
            Row::new("all answer", median(well), TIMEOUT),
            Row::new(format!("{HUNG} hang: all of them told"), median(hung), TIMEOUT),
            Row::new("(60 one after another)", TIMEOUT * 60, TIMEOUT),
        ],
    );
}

fn run(monitor: &str, dead: usize) -> Duration {
    let begun = Instant::now();
    let output = Command::new(monitor)
        .args(["--once-only", "--syslog", "off", "--timeout", "1", "--print-bad-mounts"])
        .args(["--mount-points-include", "/m[0-9]+$"])
        .stderr(Stdio::null())
        .output()
        .expect("the monitor");
    let took = begun.elapsed();
    assert_eq!(
        output.stdout.split(|&byte| byte == b'\n').count() - 1,
        dead,
        "other mounts than those that hang"
    );
    took
}

struct Server(Child, BufReader<std::process::ChildStdout>);

impl Server {
    fn start(program: &Path) -> Server {
        let mut child = Command::new(program)
            .env("RUST_MIN_STACK", "131072")
            .env("MALLOC_MMAP_THRESHOLD_", "1048576")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the file server");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Server(child, answers)
    }

    fn say(&mut self, order: &str) {
        writeln!(self.0.stdin.as_mut().expect("a pipe"), "{order}").expect("the server reads");
        let mut answer = String::new();
        self.1.read_line(&mut answer).expect("the server answers");
        assert!(answer.starts_with("ok"), "{order}: {answer}");
    }
}

/// Its end is what frees everybody who is stuck on its mounts.
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
