//! The daemon in a real container, made by runc(8) from what `contrib/kubernetes/daemonset.yaml` says of it: its
//! arguments, its capabilities, a read-only root with nothing but the program, no new privileges, a seccomp filter.

use super::Container;
use super::kubernetes::{capabilities, container, words};
use crate::common::{Daemon, Lab, ms, run_isolated, skip_test, slack, wait_until};
use crate::http::free_address;
use crate::http::get;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mount_status_monitor");

#[test]
fn a_container_watches_the_node() {
    if Command::new("runc").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip_test(test_name!(), "needs runc(8)");
    }
    run_isolated(test_name!(), |lab| {
        let inner = lab.mount_fuse("a");
        let node = Container::with(lab, &[&inner]);
        let address = free_address();
        let bundle = bundle(lab, &node, address);
        let runc = Runc { state: lab.scratch_path("runc"), id: format!("msm-test-{}", address.port()) };
        let mut command = runc.command("run");
        command.arg("--bundle").arg(&bundle).arg(&runc.id);
        let daemon = Daemon::start(command);
        wait_until(ms(2000) + slack(), "it is ready", || get(address, "/-/ready").status == 200);
        let path = node.place(0);
        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&path, "hung", crate::QUICK_HANG);
        lab.clear_fault(&inner);
        daemon.wait_for_recovery(&path, ms(3000));
        let start = Instant::now();
        node.end();
        // Without pidfd_open it is seen with the next run.
        let done = daemon.wait_for_exit(start, ms(3000));
        assert_eq!(done.code, Some(3), "{}", done.stderr);
        assert!(done.stderr.contains("has ended; nothing is left to watch"), "{}", done.stderr);
    });
}

/// One container; its cgroups would outlive a test that fails.
struct Runc {
    state: PathBuf,
    id: String,
}

impl Runc {
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&self.state).arg(verb);
        command
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        let _ = self.command("delete").args(["--force", &self.id]).stderr(Stdio::null()).status();
    }
}

/// What runc is given: a root with the program and its libraries, and a description.
fn bundle(lab: &Lab, node: &Container, address: SocketAddr) -> PathBuf {
    let bundle = lab.scratch_path("bundle");
    let root = bundle.join("rootfs");
    for folder in ["proc", "run", "usr/bin"] {
        std::fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    let listed = Command::new("ldd").arg(PROGRAM).output().expect("ldd runs");
    let listed = String::from_utf8(listed.stdout).expect("paths are text");
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for (from, to) in libraries.map(|library| (library, library)).chain([(PROGRAM, "/usr/bin/monitor")]) {
        let to = root.join(to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::copy(from, to).expect("it can be copied");
    }
    let description = description(node, address).to_string();
    std::fs::write(bundle.join("config.json"), description).expect("it can be written");
    bundle
}

fn description(node: &Container, address: SocketAddr) -> Value {
    let manifest = container();
    let given = words(&manifest["args"]).into_iter().map(|argument| {
        match argument.split_once('=').expect("an option and its value").0 {
            "--mount-namespace" => format!("--mount-namespace={}", node.file()),
            "--listen-address" => format!("--listen-address={address}"),
            _ => argument,
        }
    });
    let quick = crate::QUICK.iter().map(|word| (*word).to_owned());
    let arguments: Vec<String> =
        std::iter::once("/usr/bin/monitor".to_owned()).chain(given).chain(quick).collect();
    let capabilities: Vec<String> =
        capabilities().iter().map(|name| format!("CAP_{}", name.to_uppercase())).collect();
    let context = &manifest["securityContext"];
    let flag = |name: &str| context[name].as_bool().expect("true or false");
    let run = manifest["volumeMounts"][0]["mountPath"].as_str().map(Path::new).expect("a path");
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": context["runAsUser"].as_i64(), "gid": context["runAsGroup"].as_i64() },
            "args": arguments,
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "noNewPrivileges": !flag("allowPrivilegeEscalation"),
        },
        "root": { "path": "rootfs", "readonly": flag("readOnlyRootFilesystem") },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] },
            { "destination": run, "type": "tmpfs", "source": "tmpfs" },
        ],
        "linux": {
            // As hostPID says: the processes of the node are seen.
            "namespaces": [{ "type": "mount" }, { "type": "ipc" }, { "type": "uts" }],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            // What the filters of older runtimes forbid and this program can use.
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["pidfd_open", "close_range", "listmount", "statmount"], "action": "SCMP_ACT_ERRNO" }],
            },
        },
    })
}
