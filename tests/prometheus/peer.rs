//! Real programs as peers, started on free loopback ports and queried over HTTP.

use crate::common::{Lab, free_port, ms, pause, wait_until};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Enough for the start of a large program on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(30);

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

/// Names the first of these programs that is not installed.
pub(crate) fn first_missing(programs: &[&str]) -> Option<String> {
    let missing = programs.iter().find(|program| !is_installed(program));
    missing.map(|program| format!("{program} is not installed"))
}

pub(crate) struct Peer {
    child: Child,
    log: PathBuf,
    pub(crate) port: u16,
}

impl Peer {
    /// Starts the program and waits for a response to `path`.
    pub(crate) fn start(lab: &Lab, program: &str, port: u16, arguments: &[String], path: &str) -> Peer {
        let peer = Peer::spawn(lab, program, port, arguments);
        wait_until(START_LIMIT, &format!("{program} responds\n{}", peer.log()), || {
            get(port, path).is_some_and(|response| response.status == 200)
        });
        peer
    }

    /// Starts the program and waits until it listens.
    pub(crate) fn spawn(lab: &Lab, program: &str, port: u16, arguments: &[String]) -> Peer {
        let log = lab.scratch_path(&format!("{program}.log"));
        let file = File::create(&log).expect("create a file");
        let child = Command::new(program)
            .args(arguments)
            .current_dir(lab.scratch_path(""))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor"))
            .stderr(file)
            .spawn()
            .expect("the program starts");
        let peer = Peer { child, log, port };
        wait_until(START_LIMIT, &format!("{program} listens"), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        peer
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn get(&self, path: &str) -> String {
        get(self.port, path).unwrap_or_else(|| panic!("no response to {path}\n{}", self.log())).body
    }

    /// Polls `path` until the response contains the text.
    pub(crate) fn wait_for_text(&self, path: &str, needle: &str, limit: Duration) -> String {
        let mut last = String::new();
        wait_until(limit, &format!("{path} shows {needle}\n{}", self.log()), || {
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

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// One HTTP/1.0 request; the response ends with the connection.
pub(crate) fn get(port: u16, path: &str) -> Option<Response> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, body: body.to_owned() })
}

/// Runs a program with this input. Returns whether it succeeded, and its output.
pub(crate) fn run(program: &str, arguments: &[&str], directory: &Path, input: &[u8]) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let _ = child.stdin.take().expect("the stream is piped").write_all(input); // the program may not read it
    let output = child.wait_with_output().expect("the program ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

pub(crate) const ALERTMANAGER: &str = "prometheus-alertmanager";

pub(crate) fn start_alertmanager(lab: &Lab, port: u16) -> Peer {
    start_alertmanager_with(lab, port, "")
}

/// With a receiver that gets each alert by itself, at once, and whenever something about it changes.
pub(crate) fn start_alertmanager_with(lab: &Lab, port: u16, receiver: &str) -> Peer {
    let config = format!(
        "route:\n  receiver: test\n  group_by: ['...']\n  group_wait: 0s\n  group_interval: 1s\nreceivers:\n  - name: \
         test\n{receiver}"
    );
    start_alertmanager_from(lab, port, &config)
}

pub(crate) fn start_alertmanager_from(lab: &Lab, port: u16, config: &str) -> Peer {
    std::fs::write(lab.scratch_path("alertmanager.yml"), config).expect("write a file");
    let arguments = [
        "--config.file=alertmanager.yml".to_owned(),
        "--storage.path=alertmanager".into(),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".into(),
    ];
    Peer::start(lab, ALERTMANAGER, port, &arguments, "/-/ready")
}

pub(crate) fn start_prometheus(lab: &Lab, config: &str) -> Peer {
    std::fs::write(lab.scratch_path("prometheus.yml"), config).expect("write a file");
    let port = free_port();
    let arguments = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=prometheus".into(),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    Peer::start(lab, "prometheus", port, &arguments, "/-/ready")
}
