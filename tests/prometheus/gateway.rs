//! Pushing to a real push gateway.

use crate::common::{Lab, free_port, ms, run_isolated, utf8, wait_until};
use crate::peer::{Peer, first_missing, run};
use crate::{QUICK, with};
use std::path::PathBuf;

pub(crate) const GATEWAY: &str = "prometheus-pushgateway";

/// The password is `secret`.
const WEB_CONFIG: &str = "\
tls_server_config:
  cert_file: leaf.pem
  key_file: leaf.key
basic_auth_users:
  me: $2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a
";

#[test]
fn gateway_has_the_gauges_and_the_group_is_deleted_on_request() {
    run_isolated(|lab| {
        if let Some(reason) = first_missing(&[GATEWAY]) {
            return lab.skip(&reason);
        }
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno EIO", &mounts[0]);
        let gateway = start(lab, &[]);
        let address = format!("http://127.0.0.1:{}/", gateway.port);
        let flags = ["--prometheus-push-gateway", &address];
        let name = hostname();
        let series = |family: &str, value: u32| {
            format!("\n{family}{{instance=\"{name}\",job=\"mount_status_monitor\"}} {value}\n")
        };

        let daemon = lab.start_daemon(&with(&with(QUICK, &flags), &["--push-delete-on-exit"]));
        let metrics = gateway.wait_for_text("/metrics", &series("total_mountpoints", 3), ms(5000));
        assert!(metrics.contains(&series("dead_mountpoints", 1)), "{metrics}");
        assert!(metrics.contains("reason=\"io_error\"} 1"), "{metrics}");
        lab.set_fault("ok", &mounts[0]);
        gateway.wait_for_text("/metrics", &series("dead_mountpoints", 0), ms(10_000));
        daemon.stop();
        // The gateway accepts the request at once and executes it later.
        wait_until(ms(2000), "the group is deleted", || {
            !gateway.get("/metrics").contains("total_mountpoints{")
        });

        let daemon = lab.start_daemon(&with(QUICK, &flags));
        gateway.wait_for_text("/metrics", &series("total_mountpoints", 3), ms(5000));
        daemon.stop();
        assert!(
            gateway.get("/metrics").contains(&series("total_mountpoints", 3)),
            "the group must stay without --push-delete-on-exit"
        );
    });
}

#[test]
fn gateway_with_private_ca_and_password_accepts_pushes() {
    run_isolated(|lab| {
        if let Some(reason) = first_missing(&[GATEWAY, "openssl"]) {
            return lab.skip(&reason);
        }
        lab.mount_fuses(2);
        let authority = certificates(lab);
        let web = lab.write_file("web.yml", WEB_CONFIG);
        let gateway = start(lab, &[format!("--web.config.file={}", web.display())]);
        let address = format!("https://127.0.0.1:{}", gateway.port);
        let push = ["--prometheus-push-gateway", &address];

        let daemon = lab.start_daemon(&with(QUICK, &push));
        let line = daemon.wait_for_line("Cannot push metrics to https://", ms(5000));
        assert!(line.text.to_lowercase().contains("certificate"), "{}", line.text);
        daemon.stop();

        let user = lab.write_file("user", "me:secret\n");
        let file = lab.scratch_path("m.prom");
        let files =
            ["--textfile", utf8(&file), "--push-ca-file", utf8(&authority), "--push-user-file", utf8(&user)];
        let daemon = lab.start_daemon(&with(&with(QUICK, &push), &files));
        wait_until(ms(10_000), "the gateway takes a push", || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            text.contains("\nmountstatus_push_last_success_timestamp_seconds 1")
        });
        daemon.assert_no_line("Cannot push");
        daemon.stop();
    });
}

pub(crate) fn start(lab: &Lab, more: &[String]) -> Peer {
    let port = free_port();
    // Debian's default is a file that all gateways of the machine share.
    let own = [format!("--web.listen-address=127.0.0.1:{port}"), "--persistence.file=gateway.db".to_owned()];
    let arguments = [&own[..], more].concat();
    Peer::spawn(lab, GATEWAY, port, &arguments)
}

/// Creates a certificate authority and a certificate for the loopback address.
fn certificates(lab: &Lab) -> PathBuf {
    let directory = lab.scratch_path("");
    std::fs::write(directory.join("leaf.ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
        .expect("write a file");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for line in [
        format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"),
        format!("req {key} -keyout leaf.key -out leaf.csr -subj /CN=gateway"),
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 2 -extfile leaf.ext"
            .to_owned(),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (is_ok, output) = run("openssl", &arguments, &directory, b"");
        assert!(is_ok, "{output}");
    }
    directory.join("ca.pem")
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("read the host name").trim().to_owned()
}
