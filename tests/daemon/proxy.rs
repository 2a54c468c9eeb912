//! Requests to servers: through a proxy only if the configuration says so, and names that cannot be looked up.

use crate::QUICK;
use crate::common::{Daemon, Lab, monitor_command, ms, run_isolated, utf8};
use crate::http::{get, start_with_http};
use nix::mount::{MsFlags, mount};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// A server that accepts everything and reports the first line of each request.
fn server() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).unwrap_or(0);
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if sender.send(text.lines().next().unwrap_or_default().to_owned()).is_err() {
                return;
            }
        }
    });
    (address, lines)
}

#[test]
fn proxy_of_the_environment_is_used_only_if_configured() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let (gateway, pushes) = server();
        let (proxy, proxied) = server();
        let start = |choice: Option<&str>| {
            let gateway = gateway.to_string();
            let mut options = [QUICK, &["--prometheus-push-gateway", &gateway]].concat();
            options.extend(choice.iter().flat_map(|choice| ["--proxy", *choice]));
            let mut command = lab.daemon_command(&options);
            for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"] {
                command.env(variable, format!("http://{proxy}"));
            }
            command.env_remove("no_proxy").env_remove("NO_PROXY");
            Daemon::start(command)
        };
        let direct = start(None);
        let line = pushes.recv_timeout(ms(5000)).expect("a push");
        assert!(line.starts_with("PUT /metrics/job/") || line.starts_with("POST /metrics/job/"), "{line}");
        direct.stop();
        assert!(proxied.try_recv().is_err(), "the proxy of the environment was used");
        while pushes.try_recv().is_ok() {}
        let url = format!("http://{proxy}");
        for choice in ["environment", &url] {
            let daemon = start(Some(choice));
            let line = proxied.recv_timeout(ms(5000)).expect("a push through the proxy");
            assert!(line.contains(&format!(" http://{gateway}/metrics/job/")), "{choice}: {line}");
            daemon.stop();
            while proxied.try_recv().is_ok() {}
            assert!(pushes.try_recv().is_err(), "{choice}: not through the proxy");
        }
    });
}

/// The system looks up names in this file, which is on storage that hangs.
fn hang_lookups(lab: &mut Lab) {
    let (storage, _) = lab.mount_storage("storage");
    let hosts = Path::new("/etc/hosts");
    mount(Some(&storage.join("file")), hosts, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .expect("bind mount");
    lab.set_fault("mute", &storage);
}

#[test]
fn hung_lookup_of_a_name_does_not_keep_the_daemon_from_ending() {
    run_isolated(|lab| {
        if !Path::new("/etc/hosts").is_file() {
            return lab.skip("there is no /etc/hosts");
        }
        lab.mount_fuses(1);
        hang_lookups(lab);
        let config = "[alertmanager]\nurl = \"http://alerts.example:9\"\nrefresh = 1\n\
                      [[hook]]\nname = \"h\"\nevents = [\"run\"]\nurl = \"http://hook.example:9\"\n";
        let config = lab.write_file("config.toml", config);
        let options =
            [QUICK, &["--config", utf8(&config), "--prometheus-push-gateway", "gateway.example:9"]].concat();
        let (daemon, address) = start_with_http(lab, &options);
        daemon.wait_for_line("Cannot push metrics to http://gateway.example:9", ms(5000));
        lab.set_fault("mute", &lab.mount_point("0"));
        daemon.wait_for_line("Mount failed health-check:", ms(2000));
        daemon.wait_for_line("Cannot send alerts to Alertmanager http://alerts.example:9", ms(5000));
        assert_eq!(get(address, "/-/healthy").status, 200);
        daemon.stop();
        assert!(TcpListener::bind(address).is_ok(), "the port is still in use");
    });
}

#[test]
fn secret_on_hung_storage_does_not_keep_the_daemon_from_ending() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let (storage, folder) = lab.mount_storage("storage");
        let token = folder.join("token");
        std::fs::write(&token, "secret\n").expect("write the token");
        let (gateway, pushes) = server();
        let gateway = gateway.to_string();
        let push = ["--prometheus-push-gateway", &gateway, "--push-token-file", utf8(&token)];
        let (daemon, address) = start_with_http(lab, &[QUICK, &push].concat());
        pushes.recv_timeout(ms(5000)).expect("a push");
        lab.set_fault("mute", &storage);
        let path = format!("cannot read {}: no answer from its storage", token.display());
        daemon.wait_for_line(&path, ms(8000));
        daemon.stop();
        assert!(TcpListener::bind(address).is_ok(), "the port is still in use");
    });
}

/// Syslog by name, looked up in a file on storage that hangs.
#[test]
fn hung_lookup_of_the_syslog_server_does_not_keep_the_daemon_from_ending() {
    run_isolated(|lab| {
        if !Path::new("/etc/hosts").is_file() {
            return lab.skip("there is no /etc/hosts");
        }
        hang_lookups(lab);
        let config = lab.write_file("config.toml", "syslog = \"udp://log.example:514\"\n");
        let mut command = monitor_command();
        command.args(["--config", utf8(&config), "--listen-address", "off", "--socket", "off"]);
        let daemon = Daemon::spawn(command);
        daemon.wait_for_line("syslog (udp://log.example:514) cannot be reached: no answer", ms(7000));
        daemon.stop();
    });
}
