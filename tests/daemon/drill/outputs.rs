//! A daemon with every kind of output, each of which can be broken, and the results of its drills.

use crate::common::fake_server::{Behavior, FakeServer};
use crate::common::{CommandOutput, Daemon, Lab, Lines, free_address, monitor_command, ms, utf8, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A drill ends within this time, whatever hangs.
pub(super) const DRILL_LIMIT: Duration = ms(10_000);

/// Every kind of output, each of which can be broken.
pub(super) struct Outputs {
    pub(super) socket: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) syslog: Lines,
    pub(super) server: FakeServer,
    pub(super) gateway: FakeServer,
    pub(super) alertmanager: FakeServer,
    pub(super) textfile: PathBuf,
    /// What the hook `command` got.
    pub(super) environment: PathBuf,
    pub(super) config: PathBuf,
}

impl Outputs {
    pub(super) fn prepare(lab: &Lab) -> Outputs {
        let [server, gateway, alertmanager] = [(); 3].map(|()| FakeServer::start(Behavior::Accept));
        let environment = lab.scratch_path("environment");
        let script = lab.write_file("hook", "env >\"$1.new\"; mv \"$1.new\" \"$1\"");
        let config = format!(
            "[[rule]]\nmountpoint = \"/srv/**\"\nhook = []\n\
             [[hook]]\nname = \"command\"\nevents = [\"slow\"]\ncommand = [\"/bin/sh\", \"{}\", \"{}\"]\n\
             [[hook]]\nname = \"post\"\nurl = \"http://{}/secret\"\n\
             [alertmanager]\nurl = \"http://{}\"\nlabels = {{ team = \"storage\" }}\n",
            script.display(),
            environment.display(),
            server.address,
            alertmanager.address
        );
        Outputs {
            socket: lab.scratch_path("socket"),
            address: free_address(),
            syslog: lab.read_syslog(),
            textfile: lab.scratch_path("textfile.prom"),
            config: lab.write_file("config.toml", config),
            environment,
            server,
            gateway,
            alertmanager,
        }
    }

    pub(super) fn command(&self, lab: &Lab, more: &[&str]) -> std::process::Command {
        let (gateway, address) = (format!("http://{}", self.gateway.address), self.address.to_string());
        let arguments = [
            &["--config", utf8(&self.config), "--socket", utf8(&self.socket), "--listen-address", &address],
            &["--textfile", utf8(&self.textfile), "--prometheus-push-gateway", &gateway][..],
            &["--poll-interval", "60"],
            more,
        ];
        lab.daemon_command(&arguments.concat())
    }

    pub(super) fn start(&self, lab: &Lab, more: &[&str]) -> Daemon {
        let daemon = Daemon::start(self.command(lab, more));
        wait_until(ms(5000), "the first run is published", || {
            self.textfile.exists() && !self.gateway.requests().is_empty() && self.socket.exists()
        });
        daemon
    }
}

/// The result of each output, by its name.
pub(super) type Results = BTreeMap<String, Value>;

pub(super) fn drill(socket: &Path, arguments: &[&str]) -> CommandOutput {
    let mut command = monitor_command();
    command.args(["drill", "--socket", utf8(socket)]).args(arguments);
    let output = CommandOutput::run(command, DRILL_LIMIT);
    assert!(output.elapsed < DRILL_LIMIT, "{:?}", output.elapsed);
    output
}

pub(super) fn results(report: &Value) -> Results {
    let outputs = report["outputs"].as_array().expect("outputs").iter();
    let title = |output: &Value| {
        let name = output["name"].as_str().map_or(String::new(), |name| format!(" {name}"));
        format!("{}{name}", output["output"].as_str().expect("a name"))
    };
    outputs.map(|output| (title(output), output.clone())).collect()
}

/// Checks that exactly these outputs failed, that the status says so, and that the others work.
pub(super) fn assert_failed(output: &CommandOutput, failed: &[(&str, &str)]) -> Results {
    output.assert_code(i32::from(!failed.is_empty()));
    let report = output.json();
    assert_eq!(report["ok"], failed.is_empty(), "{report}");
    let results = results(&report);
    for (title, result) in &results {
        let expected = failed.iter().find(|(failed, _)| failed == title);
        let is_bad = matches!(result["result"].as_str(), Some("failed" | "timed_out"));
        assert_eq!(is_bad, expected.is_some(), "{title} in {report}");
        if let Some((_, why)) = expected {
            let detail = result["detail"].as_str().expect("a reason");
            assert!(detail.contains(why), "{title}: {detail}");
        }
    }
    assert!(failed.iter().all(|(title, _)| results.contains_key(*title)), "{report}");
    results
}

pub(super) fn assert_results(results: &Results, expected: &[(&str, &str)]) {
    let found: Vec<_> = results
        .iter()
        .map(|(title, result)| (title.as_str(), result["result"].as_str().expect("text")))
        .collect();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// Each datagram is a line.
pub(super) struct Datagrams(pub(super) UdpSocket);

impl std::io::Read for Datagrams {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let end = buffer.len() - 1;
        let length = self.0.recv(&mut buffer[..end])?;
        buffer[length] = b'\n';
        Ok(length + 1)
    }
}

/// The lines of each entry.
pub(super) struct Entries(pub(super) UnixDatagram);

impl std::io::Read for Entries {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.recv(buffer)
    }
}
