//! Checks that the arguments and capabilities in `contrib/kubernetes/daemonset.yaml` work.

use super::Container;
use super::capabilities::with_capabilities;
use crate::common::{
    CommandOutput, Daemon, free_address, monitor_command, ms, run_isolated, utf8, wait_until,
};
use crate::http::get;
use mount_status_monitor::cli::{self, Invocation};
use mount_status_monitor::output::http::SocketChoice;
use std::ffi::OsString;
use yaml_rust2::{Yaml, YamlLoader};

const MANIFEST: &str = include_str!("../../../contrib/kubernetes/daemonset.yaml");

fn daemon_set() -> Yaml {
    let documents = YamlLoader::load_from_str(MANIFEST).expect("it is YAML");
    let kinds: Vec<_> = documents.iter().map(|document| document["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("DaemonSet")]);
    documents[0].clone()
}

pub(super) fn container() -> Yaml {
    daemon_set()["spec"]["template"]["spec"]["containers"][0].clone()
}

pub(super) fn words(list: &Yaml) -> Vec<String> {
    list.as_vec().expect("a list").iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
}

/// The capabilities in the notation of setpriv(1).
pub(super) fn required_capabilities() -> Vec<String> {
    words(&container()["securityContext"]["capabilities"]["add"])
        .iter()
        .map(|name| name.to_lowercase())
        .collect()
}

#[test]
fn daemonset_is_consistent_with_the_program() {
    let container = container();
    let arguments = std::iter::once("mount_status_monitor".to_owned()).chain(words(&container["args"]));
    let Ok(Invocation::Daemon(config, _)) = cli::parse(arguments.map(OsString::from)) else {
        panic!("its arguments are not those of the daemon: {:?}", words(&container["args"]))
    };
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert_eq!(config.mount_namespace.as_deref(), Some("/proc/1/ns/mnt".as_ref()));
    let port = config.http.listen.expect("it listens").port();
    let template = daemon_set()["spec"]["template"].clone();
    let annotations = &template["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"].as_str(), Some(port.to_string().as_str()));
    assert_eq!(annotations["prometheus.io/path"].as_str(), Some("/metrics"));
    assert_eq!(container["ports"][0]["containerPort"].as_i64(), Some(port.into()));
    let name = &container["ports"][0]["name"];
    for (probe, path) in [("livenessProbe", "/-/healthy"), ("readinessProbe", "/-/ready")] {
        let http_get = &container[probe]["httpGet"];
        assert_eq!((http_get["path"].as_str(), &http_get["port"]), (Some(path), name), "{probe}");
    }
    let SocketChoice::At(socket) = &config.http.socket else { panic!("no socket") };
    let mounted = container["volumeMounts"][0]["mountPath"].as_str().expect("a path");
    assert!(socket.starts_with(mounted), "its root is read-only");
    assert_eq!(container["volumeMounts"][0]["name"], template["spec"]["volumes"][0]["name"]);
    assert_eq!(daemon_set()["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]);
    let image = container["image"].as_str().expect("an image");
    assert!(image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))), "{image} is another version");
}

#[test]
fn daemonset_watches_storage_types_only() {
    let arguments = std::iter::once("mount_status_monitor".to_owned()).chain(words(&container()["args"]));
    let Ok(Invocation::Daemon(config, _)) = cli::parse(arguments.map(OsString::from)) else {
        panic!("arguments")
    };
    let watched = |fstype: &str| {
        let mount = mount_status_monitor::monitor::testing::mount(1, "/x");
        config.filter.admits(&platform::Mount { fstype: fstype.into(), ..mount })
    };
    for fstype in ["nfs", "nfs4", "cifs", "ceph", "fuse", "fuse.sshfs", "fuseblk", "ext4", "xfs", "9p"] {
        assert!(watched(fstype), "{fstype}");
    }
    for fstype in ["overlay", "tmpfs", "proc", "fusectl", "autofs", "nfsd", "cgroup2", "squashfs"] {
        assert!(!watched(fstype), "{fstype}");
    }
}

/// Uses the arguments of the manifest, with another namespace, port and socket.
#[test]
fn daemonset_arguments_and_capabilities_watch_the_node() {
    run_isolated(|lab| {
        let inner = lab.mount_fuse("a");
        let node = Container::with(lab, &[&inner]);
        let address = free_address();
        let socket = lab.scratch_path("socket");
        let arguments = words(&container()["args"]).into_iter().map(|argument| {
            match argument.split_once('=').expect("an option and its value").0 {
                "--mount-namespace" => format!("--mount-namespace={}", node.file()),
                "--listen-address" => format!("--listen-address={address}"),
                "--socket" => format!("--socket={}", socket.display()),
                _ => argument,
            }
        });
        let mut command = monitor_command();
        command.args(arguments).args(["--timeout", "500ms", "--poll-interval", "1"]);
        let daemon = Daemon::start(with_capabilities(&required_capabilities(), &command));
        wait_until(ms(2000), "the daemon is ready", || get(address, "/-/ready").status == 200);
        lab.set_fault("mute", &inner);
        let path = node.mount_point(0);
        daemon.wait_for_failure(&path, "hung", crate::QUICK_HANG);
        assert_eq!(get(address, "/-/healthy").status, 200);
        let line = format!("mountpoint=\"{}\"}} 0", path.display());
        wait_until(ms(2000), "the metric shows the failure", || {
            get(address, "/metrics").text().contains(&line)
        });

        let mut status = monitor_command();
        status.args(["status", "--socket"]).arg(&socket);
        let result = CommandOutput::run(status, ms(2000));
        result.assert_code(1);
        result.assert_stdout_contains(utf8(&path));
        daemon.stop();
    });
}
