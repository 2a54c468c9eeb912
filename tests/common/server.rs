//! The FUSE server with fault injection (`tests/faultfs`) as a child process.

use super::{Lines, Process, escape_bytes, suspend};
use nix::sys::signal::Signal;
use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// Enough for one command on a thousand mounts on a loaded machine.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct FaultServer {
    child: Child,
    stdin: RefCell<ChildStdin>,
    replies: Lines,
}

impl FaultServer {
    pub(crate) fn start() -> FaultServer {
        let mut child = Command::new(program())
            // The server has many threads that do little.
            .env("RUST_MIN_STACK", "131072")
            // Each session has a large read buffer that is hardly touched. By default malloc soon takes them from
            // its heap, where they are cleared: 32 GB for a thousand mounts.
            .env("MALLOC_MMAP_THRESHOLD_", "1048576")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e} (`cargo test` builds it)", program().display()));
        let stdin = RefCell::new(child.stdin.take().expect("stdin is piped"));
        let replies = Lines::from_reader(child.stdout.take().expect("stdout is piped"));
        FaultServer { child, stdin, replies }
    }

    /// Sends a command in which `{}` stands for the path, and returns the reply.
    pub(crate) fn send_for(&self, command: &str, path: &Path) -> String {
        let escaped =
            escape_bytes(path.as_os_str(), |byte| byte.is_ascii_control() || matches!(byte, b' ' | b'\\'));
        self.send(&command.replace("{}", &escaped))
    }

    /// Sends a command and waits until it is carried out.
    pub(crate) fn send(&self, command: &str) -> String {
        let before = self.replies.len();
        writeln!(self.stdin.borrow_mut(), "{command}").expect("the server reads");
        let reply = self.replies.wait_for(before, "", REPLY_TIMEOUT).expect("the server replies").text;
        assert!(reply.starts_with("ok"), "reply of the server: {reply}");
        reply.trim_start_matches("ok").trim().to_owned()
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Stops reading requests, as if the machine of the server were stopped.
    pub(crate) fn freeze(&self) {
        suspend(self.process());
    }

    pub(crate) fn thaw(&self) {
        self.process().send_signal(Signal::SIGCONT);
    }
}

/// Ending the server frees every process that is stuck on its mounts.
impl Drop for FaultServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo gives tests the path of binaries, not of examples, which lie beside them.
fn program() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_mount_status_monitor")).with_file_name("examples").join("faultfs")
}
