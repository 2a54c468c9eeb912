//! The daemon in a runc(8) container built from `contrib/kubernetes/daemonset.yaml`: its arguments and capabilities, a
//! read-only root with only the program, no new privileges, and a seccomp filter.

use super::Container;
use super::kubernetes::{container, required_capabilities, words};
use crate::common::{Daemon, Lab, free_address, ms, program, run_isolated, wait_until};
use crate::http::get;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

#[test]
fn runc_container_watches_the_node() {
    run_isolated(|lab| {
        if Command::new("runc").arg("--version").stdout(Stdio::null()).status().is_err() {
            return lab.skip("needs runc(8)");
        }
        let inner = lab.mount_fuse("a");
        let node = Container::with(lab, &[&inner]);
        let address = free_address();
        let bundle = bundle(lab, &node, address);
        let runc = Runc { state: lab.scratch_path("runc"), id: format!("msm-test-{}", address.port()) };
        let mut command = runc.command("run");
        command.arg("--bundle").arg(&bundle).arg(&runc.id);
        let daemon = Daemon::start(command);
        wait_until(ms(2000), "the daemon is ready", || get(address, "/-/ready").status == 200);
        let path = node.mount_point(0);
        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&path, "hung", crate::QUICK_HANG);
        lab.clear_fault(&inner);
        daemon.wait_for_recovery(&path, ms(3000));
        let start = Instant::now();
        node.end();
        // Without pidfd_open, the next run detects the end.
        let result = daemon.wait_for_exit(start, ms(3000));
        result.assert_code(3);
        assert!(result.stderr.contains("has ended; nothing is left to watch"), "{}", result.stderr);
    });
}

/// Removes the container when dropped, because its cgroups would outlive a failed test.
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

/// Creates an OCI bundle: a root with the program and its libraries, and `config.json`.
fn bundle(lab: &Lab, node: &Container, address: SocketAddr) -> PathBuf {
    let bundle = lab.scratch_path("bundle");
    let root = bundle.join("rootfs");
    for folder in ["proc", "run", "usr/bin"] {
        std::fs::create_dir_all(root.join(folder)).expect("a directory");
    }
    let listed = Command::new("ldd").arg(program()).output().expect("ldd runs");
    let listed = String::from_utf8(listed.stdout).expect("paths are text");
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    let copies =
        libraries.map(|library| (library, library)).chain([(program(), Path::new("/usr/bin/monitor"))]);
    for (from, to) in copies {
        let to = root.join(to.strip_prefix("/").expect("an absolute path"));
        std::fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        std::fs::copy(from, to).expect("copy a file");
    }
    let description = description(node, address).to_string();
    std::fs::write(bundle.join("config.json"), description).expect("write a file");
    bundle
}

fn description(node: &Container, address: SocketAddr) -> Value {
    let manifest = container();
    let options = words(&manifest["args"]).into_iter().map(|argument| {
        match argument.split_once('=').expect("an option and its value").0 {
            "--mount-namespace" => format!("--mount-namespace={}", node.file()),
            "--listen-address" => format!("--listen-address={address}"),
            _ => argument,
        }
    });
    let quick = crate::QUICK.iter().map(|word| (*word).to_owned());
    let arguments: Vec<String> =
        std::iter::once("/usr/bin/monitor".to_owned()).chain(options).chain(quick).collect();
    let capabilities: Vec<String> =
        required_capabilities().iter().map(|name| format!("CAP_{}", name.to_uppercase())).collect();
    let context = &manifest["securityContext"];
    let flag = |name: &str| context[name].as_bool().expect("a boolean");
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
            // No process namespace, as with hostPID.
            "namespaces": [{ "type": "mount" }, { "type": "ipc" }, { "type": "uts" }],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            // System calls that the filters of older runtimes deny.
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["pidfd_open", "close_range", "listmount", "statmount"], "action": "SCMP_ACT_ERRNO" }],
            },
        },
    })
}
