//! One test, one world. The test function runs its own binary again, for itself alone, in a new mount and process
//! namespace. Whatever hangs there dies with the namespace, and nothing is ever mounted outside of it.

use super::{Lab, process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// Set for the inner run: the empty directory that is the test's own.
const INNER: &str = "MSM_TEST_INNER";

/// Names the file to which skipped tests are appended.
const SKIP_LOG: &str = "MSM_SKIP_LOG";

const USUAL_LIMIT: Duration = Duration::from_secs(90);

/// So many at the same time, whatever the runner thinks: what they check is how long things take.
const AT_ONCE: usize = 2;

/// The path of the test function by which the test binary can be told to run just this one.
macro_rules! this_test {
    () => {{
        fn here() {}
        let path = std::any::type_name_of_val(&here).trim_end_matches("::here");
        path.split_once("::").expect("a test has a crate").1
    }};
}

/// Runs the test in a world of its own.
pub(crate) fn isolated(name: &str, test: impl FnOnce(&mut Lab)) {
    isolated_for(USUAL_LIMIT, name, test);
}

/// The same with a hard limit of its own.
pub(crate) fn isolated_for(limit: Duration, name: &str, test: impl FnOnce(&mut Lab)) {
    if let Some(root) = std::env::var_os(INNER) {
        test(&mut Lab::new(PathBuf::from(root)));
    } else if let Err(reason) = possible() {
        skipped(name, &reason);
    } else {
        run_inner(limit, name);
    }
}

/// Tells loudly that something was not tested: `libtest` knows no such result.
pub(crate) fn skipped(name: &str, reason: &str) {
    let line = format!("SKIPPED {name}: {reason}\n");
    // Not by a macro: what those print is shown for failing tests only.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(SKIP_LOG) {
        let mut log =
            OpenOptions::new().create(true).append(true).open(path).expect("the log of skips opens");
        log.write_all(line.as_bytes()).expect("the log of skips is written");
    }
}

fn possible() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("needs root".into());
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|e| format!("needs /dev/fuse: {e}"))?;
    let tried = unshare().arg("true").stderr(Stdio::null()).status();
    match tried {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("needs the right to make namespaces".into()),
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

fn run_inner(limit: Duration, name: &str) {
    let _place = Place::take();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let unique = format!("msm-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let root = std::env::temp_dir().join(unique);
    std::fs::create_dir(&root).expect("a temporary directory can be made");

    let mut child = unshare()
        .arg(std::env::current_exe().expect("a test has a binary"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INNER, &root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let pid = child.id();
    let outputs = [drain(child.stdout.take()), drain(child.stderr.take())];
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(child.wait()));

    let ended = told.recv_timeout(limit).or_else(|_| {
        // All of them and not the first alone: it may be stuck on a mount whose server is among the others.
        for process in process::descendants(pid).into_iter().chain([pid]) {
            let _ = kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL);
        }
        told.recv_timeout(Duration::from_secs(10)).map(|_| Err(std::io::Error::other("too late")))
    });
    for output in outputs {
        // Bounded, should somebody outside of the namespace hold the other end.
        let text = output.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
        // Not as it is: the inner run has a result of its own, which is not to be counted.
        text.lines().for_each(|line| println!("    | {line}"));
    }
    let _ = std::fs::remove_dir(&root);
    match ended {
        Ok(Ok(status)) => assert!(status.success(), "{name} failed: {status}"),
        Ok(Err(error)) => panic!("{name}: {error}: not done within {limit:?}"),
        Err(_) => panic!("{name}: not done within {limit:?}, and it cannot be killed"),
    }
}

/// One of the [`AT_ONCE`] places.
struct Place;

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

impl Place {
    fn take() -> Place {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut usize| *taken >= AT_ONCE;
        *GIVEN_BACK.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner) += 1;
        Place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GIVEN_BACK.notify_one();
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (give, given) = mpsc::channel();
    let mut pipe = pipe.expect("it was asked for");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        give.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    given
}
