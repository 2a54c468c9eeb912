//! Each test runs its own binary again, for this one test, in a new mount and process namespace. Everything that hangs
//! there ends with the namespace, and nothing is mounted outside of it. The platform crate's tests also use this file.

use super::Process;
use nix::sys::signal::Signal;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// Set in the namespace: the empty directory of the test.
const ROOT_VARIABLE: &str = "MSM_TEST_INNER";

/// Names the file to which skipped tests are appended.
const SKIP_LOG_VARIABLE: &str = "MSM_SKIP_LOG";

pub(crate) const DEFAULT_LIMIT: Duration = Duration::from_secs(90);

/// The tests measure times, so only a few run at once, however many threads the test runner has.
const MAX_CONCURRENT: usize = 6;

/// The name of the test function that contains the closure of this type: `CRATE::MODULE::TEST::{{closure}}`.
pub(crate) fn test_name<Closure>() -> &'static str {
    let path = std::any::type_name::<Closure>().trim_end_matches("::{{closure}}");
    path.split_once("::").expect("a path starts with its crate").1
}

/// Runs the test in new namespaces with an empty directory, or skips it where that is not possible.
pub(crate) fn run_in_namespaces(limit: Duration, name: &str, needs_fuse: bool, test: impl FnOnce(&Path)) {
    if let Some(root) = std::env::var_os(ROOT_VARIABLE) {
        test(Path::new(&root));
    } else if let Err(reason) = check_requirements(needs_fuse) {
        skip_test(name, &reason);
    } else {
        run_again(limit, name);
    }
}

/// Reports a skipped test, for which `libtest` has no result.
pub(crate) fn skip_test(name: &str, reason: &str) {
    let line = format!("SKIPPED {name}: {reason}\n");
    print_directly(&line);
    if let Some(path) = std::env::var_os(SKIP_LOG_VARIABLE) {
        let mut log = OpenOptions::new().create(true).append(true).open(path).expect("open the skip log");
        log.write_all(line.as_bytes()).expect("write the skip log");
    }
}

/// Not with `eprintln!`, whose output libtest hides when the test passes.
fn print_directly(line: &str) {
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn check_requirements(needs_fuse: bool) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("needs root".into());
    }
    if needs_fuse {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        device.map_err(|e| format!("needs /dev/fuse: {e}"))?;
    }
    match unshare().arg("true").stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("needs permission to create namespaces".into()),
        Err(error) => Err(format!("needs unshare(1): {error}")),
    }
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--",
    ]);
    command
}

fn run_again(limit: Duration, name: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let _permit = Permit::acquire();
    let unique = format!("msm-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let root = std::env::temp_dir().join(unique);
    std::fs::create_dir(&root).expect("create a temporary directory");

    let mut child = unshare()
        .arg(std::env::current_exe().expect("the test binary has a path"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ROOT_VARIABLE, &root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let process = Process(child.id());
    let outputs = [read_in_thread(child.stdout.take()), read_in_thread(child.stderr.take())];
    let (sender, exit) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait()));

    let result = exit.recv_timeout(limit).or_else(|_| {
        // Kill all of them, because the first may be stuck on a mount whose server is among the others.
        for process in process.descendants().into_iter().chain([process]) {
            let _ = process.try_signal(Signal::SIGKILL);
        }
        exit.recv_timeout(Duration::from_secs(10)).map(|_| Err(std::io::Error::other("timeout")))
    });
    let mut ran = false;
    for output in outputs {
        // Bounded, in case a process outside of the namespace holds the other end.
        let text = output.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
        ran |= text.contains("1 passed");
        for line in text.lines() {
            if line.starts_with("SKIPPED ") {
                print_directly(&format!("{line}\n"));
            } else {
                // Indented, so that the inner test result is not counted as a second one.
                println!("    | {line}");
            }
        }
    }
    let _ = std::fs::remove_dir(&root);
    match result {
        Ok(Ok(status)) => assert!(status.success() && ran, "{name} failed or is not a test: {status}"),
        Ok(Err(error)) => panic!("{name}: {error}: not finished within {limit:?}"),
        Err(_) => panic!("{name}: not finished within {limit:?}, and it cannot be killed"),
    }
}

/// One of the [`MAX_CONCURRENT`] permits.
struct Permit;

static ACQUIRED: Mutex<usize> = Mutex::new(0);
static RELEASED: Condvar = Condvar::new();

impl Permit {
    fn acquire() -> Permit {
        let acquired = ACQUIRED.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |acquired: &mut usize| *acquired >= MAX_CONCURRENT;
        *RELEASED.wait_while(acquired, is_full).unwrap_or_else(PoisonError::into_inner) += 1;
        Permit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *ACQUIRED.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        RELEASED.notify_one();
    }
}

fn read_in_thread(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, text) = mpsc::channel();
    let mut pipe = pipe.expect("the stream is piped");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        sender.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    text
}
