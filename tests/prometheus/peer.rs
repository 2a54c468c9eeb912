//! Real programs as peers: found, started on free ports of the loopback interface, asked over HTTP, and ended.

use crate::common::{Lab, ms, pause, wait_until};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Programs of this size take their time on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Is there a program of this name?
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.exists())
}

/// The first of these programs that is not there.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    let missing = programs.iter().find(|program| find(program).is_none());
    missing.map(|program| format!("{program} is not installed"))
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("there is a free port").port()
}

pub(crate) struct Peer {
    child: Child,
    log: PathBuf,
    pub(crate) port: u16,
}

impl Peer {
    /// Starts it and waits until `path` is answered.
    pub(crate) fn start(lab: &Lab, program: &str, port: u16, arguments: &[String], path: &str) -> Peer {
        let peer = Peer::spawn(lab, program, port, arguments);
        wait_until(START_LIMIT, &format!("{program} answers\n{}", peer.said()), || {
            get(port, path).is_some_and(|answer| answer.status == 200)
        });
        peer
    }

    /// Starts it and waits until somebody listens.
    pub(crate) fn spawn(lab: &Lab, program: &str, port: u16, arguments: &[String]) -> Peer {
        let log = lab.scratch_path(&format!("{program}.log"));
        let file = File::create(&log).expect("a file can be made");
        let child = Command::new(program)
            .args(arguments)
            .current_dir(lab.scratch_path(""))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor"))
            .stderr(file)
            .spawn()
            .expect("it was found");
        let peer = Peer { child, log, port };
        wait_until(START_LIMIT, &format!("{program} listens"), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        peer
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn get(&self, path: &str) -> String {
        get(self.port, path).unwrap_or_else(|| panic!("no answer for {path}\n{}", self.said())).body
    }

    /// Asks until the answer contains this.
    pub(crate) fn shows(&self, path: &str, needle: &str, limit: Duration) -> String {
        let mut last = String::new();
        wait_until(limit, &format!("{path} shows {needle}\n{}", self.said()), || {
            last = self.get(path);
            last.contains(needle) || {
                pause(ms(100));
                false
            }
        });
        last
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// One request in the oldest way, whose answer ends with the connection.
pub(crate) fn get(port: u16, path: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// What a program says that ends by itself, with this input.
pub(crate) fn run(program: &str, arguments: &[&str], folder: &Path, input: &[u8]) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was found");
    let _ = child.stdin.take().expect("it was asked for").write_all(input); // it may not read any
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
