//! The file server, as the tests steer it.

use super::{Lines, escaped};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// A bulk command with a thousand mounts on a loaded machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    child: Child,
    stdin: RefCell<ChildStdin>,
    answers: Lines,
}

impl Server {
    pub(crate) fn start() -> Server {
        let mut child = Command::new(binary())
            // The server's threads are many and do little.
            .env("RUST_MIN_STACK", "131072")
            // The read buffers of the sessions are large and hardly touched. Left to itself, malloc would soon take
            // them from its heap, where they are cleared: 32 GB for a thousand mounts.
            .env("MALLOC_MMAP_THRESHOLD_", "1048576")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e} (`cargo test` builds it)", binary().display()));
        let stdin = RefCell::new(child.stdin.take().expect("it was asked for"));
        let answers = Lines::of_reader(child.stdout.take().expect("it was asked for"));
        Server { child, stdin, answers }
    }

    /// One order, carried out when this returns. `{}` in it stands for the path.
    pub(crate) fn order(&self, order: &str, path: &Path) -> String {
        self.say(&order.replace("{}", &in_command(path)))
    }

    pub(crate) fn say(&self, line: &str) -> String {
        let before = self.answers.len();
        writeln!(self.stdin.borrow_mut(), "{line}").expect("the server reads");
        let answer = self.answers.wait(before, "", ANSWER_LIMIT).expect("the server answers").text;
        assert!(answer.starts_with("ok"), "the server says: {answer}");
        answer.trim_start_matches("ok").trim().to_owned()
    }

    /// It reads no more requests, as if its machine were stopped.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the server lives");
    }
}

/// The server's death is what frees everybody who is stuck on its mounts.
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_command(path: &Path) -> String {
    escaped(path.as_os_str(), |byte| byte.is_ascii_control() || matches!(byte, b' ' | b'\\'))
}

/// Cargo names the way to binaries, not to examples; they are neighbours.
fn binary() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_mount_status_monitor")).with_file_name("examples").join("faultfs")
}
