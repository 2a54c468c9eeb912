//! TLS and passwords of the listener, with Prometheus and curl as clients and certificates of openssl.

use crate::common::{
    CommandOutput, Daemon, Lab, display_path, free_address, ms, run_isolated, utf8, wait_until,
};
use crate::peer::{first_missing, get, run, start_prometheus};
use crate::{QUICK, with};
use nix::sys::signal::Signal;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Of the password `secret`.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
const SERVER: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";
const CLIENTS: &str = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
const LIMIT: Duration = Duration::from_secs(20);

fn users() -> String {
    format!("basic_auth_users:\n  prometheus: {HASH}\n")
}

fn openssl(lab: &Lab, arguments: &str) {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let (is_ok, output) = run("openssl", &arguments, &lab.scratch_path(""), b"");
    assert!(is_ok, "{arguments:?}: {output}");
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

fn make_authority(lab: &Lab) {
    openssl(lab, &format!("req -x509 {NEW_KEY} -keyout ca.key -out ca.pem -subj /CN=ca -days 30"));
}

/// NAME.pem and NAME.key.
fn make_certificate(lab: &Lab, name: &str, alternative: &str, days: i32) {
    openssl(
        lab,
        &format!(
            "req {NEW_KEY} -keyout {name}.key -out {name}.csr -subj /CN={name} -addext subjectAltName={alternative}"
        ),
    );
    openssl(
        lab,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -copy_extensions copy \
             -out {name}.pem"
        ),
    );
}

fn make_server_certificate(lab: &Lab) {
    make_certificate(lab, "server", "DNS:localhost,IP:127.0.0.1", 30);
}

fn missing(lab: &Lab, programs: &[&str]) -> bool {
    let reason = first_missing(programs);
    if let Some(reason) = &reason {
        lab.skip(reason);
    }
    reason.is_some()
}

/// Makes mounts and the certificate of the server; false if a program is missing, and so the test is skipped.
fn prepare(lab: &mut Lab, programs: &[&str], mounts: usize) -> bool {
    if missing(lab, programs) {
        return false;
    }
    lab.mount_fuses(mounts);
    make_authority(lab);
    make_server_certificate(lab);
    true
}

/// A daemon with this web configuration that has finished its first run.
fn start(lab: &Lab, web: &str) -> (Daemon, SocketAddr, PathBuf) {
    let file = lab.write_file("web.yml", web);
    let (address, socket) = (free_address(), lab.scratch_path("socket"));
    let listen = address.to_string();
    let options = ["--listen-address", &listen, "--web-config-file", utf8(&file), "--socket", utf8(&socket)];
    let daemon = lab.start_daemon(&with(QUICK, &options));
    wait_until(LIMIT, "it listens", || TcpStream::connect(address).is_ok() && socket.exists());
    (daemon, address, socket)
}

/// The HTTP status that curl gets, 000 without one, and the response or error.
fn curl(lab: &Lab, address: SocketAddr, options: &str) -> (String, String) {
    let url = format!("https://localhost:{}/-/healthy", address.port());
    let fixed = ["-sS", "--max-time", "8", "-w", "\n%{http_code}", "--cacert", "ca.pem", "--noproxy", "*"];
    let options: Vec<&str> = options.split_whitespace().collect();
    let url: &[&str] = if options.iter().any(|it| it.contains("://")) { &[] } else { &[&url] };
    let (_, output) = run("curl", &[&fixed, &*options, url].concat(), &lab.scratch_path(""), b"");
    let status = output.lines().find(|line| line.len() == 3 && line.parse::<u16>().is_ok());
    (status.unwrap_or("000").to_owned(), output)
}

const CERTIFICATE: &str = "--cert client.pem --key client.key";
const PASSWORD: &str = "-u prometheus:secret";

#[test]
fn prometheus_scrapes_with_a_certificate_and_a_password() {
    run_isolated(|lab| {
        if !prepare(lab, &["prometheus", "openssl"], 3) {
            return;
        }
        make_certificate(lab, "client", "DNS:prometheus.example", 30);
        make_certificate(lab, "other", "DNS:other.example", 30);
        let web = format!(
            "{SERVER}{CLIENTS}  client_allowed_sans: [prometheus.example]\n  min_version: TLS13\n{}",
            users()
        );
        let (daemon, address, _) = start(lab, &web);
        let job = |name: &str, certificate: &str, password: &str| {
            format!(
                "  - job_name: {name}\n    scheme: https\n    static_configs: [{{targets: ['{address}']}}]\n    tls_config: \
                 {{ca_file: ca.pem, cert_file: {certificate}.pem, key_file: {certificate}.key}}\n    basic_auth: \
                 {{username: prometheus, password: {password}}}\n"
            )
        };
        let jobs = [
            job("good", "client", "secret"),
            job("password", "client", "wrong"),
            job("name", "other", "secret"),
        ];
        let config = format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{}", jobs.concat());
        let prometheus = start_prometheus(lab, &config);
        for (job, value) in [("good", "\"1\"]"), ("password", "\"0\"]"), ("name", "\"0\"]")] {
            let query = format!("/api/v1/query?query=up%7Bjob%3D%22{job}%22%7D");
            prometheus.wait_for_text(&query, value, LIMIT);
        }
        prometheus.wait_for_text("/api/v1/query?query=total_mountpoints", "\"3\"]", LIMIT);
        let targets = prometheus.get("/api/v1/targets");
        assert!(targets.contains("401 Unauthorized"), "{targets}");
        daemon.wait_for_line(
            "HTTP client refused: wrong user name or password from 127.0.0.1: user prometheus",
            ms(2000),
        );
        daemon.wait_for_line(
            "its certificate is refused: it has none of client_allowed_sans, but other.example",
            ms(2000),
        );
        daemon.stop();
    });
}

#[test]
fn handshakes_without_what_is_required_fail_with_a_reason() {
    run_isolated(|lab| {
        if !prepare(lab, &["curl", "openssl"], 1) {
            return;
        }
        make_certificate(lab, "client", "email:root@example,URI:spiffe://x/y", 30);
        make_certificate(lab, "expired", "URI:spiffe://x/y", -1);
        openssl(
            lab,
            &format!(
                "req -x509 {NEW_KEY} -keyout own.key -out own.pem -subj /CN=own -addext basicConstraints=CA:FALSE"
            ),
        );
        let web = format!("{SERVER}{CLIENTS}  client_allowed_sans: ['spiffe://x/y']\n  min_version: TLS13\n");
        let (daemon, address, socket) = start(lab, &web);
        daemon.wait_for_line(&format!("status page https://{address}/"), ms(2000));
        let plain = format!("http://localhost:{}/-/healthy", address.port());
        for (options, line) in [
            ("", "it presents no certificate"),
            ("--cert expired.pem --key expired.key", "its certificate has expired"),
            ("--cert own.pem --key own.key", "its certificate is not signed by client_ca_file"),
            (
                &format!("{CERTIFICATE} --tls-max 1.2"),
                "it offers no TLS version or cipher that is allowed here",
            ),
            (&plain, "it does not speak TLS (use https)"),
        ] {
            daemon.skip_earlier_lines();
            let (status, output) = curl(lab, address, options);
            assert_eq!(status, "000", "{options}: {output}");
            daemon.wait_for_line(line, ms(2000));
            let (status, output) = curl(lab, address, CERTIFICATE);
            assert_eq!(status, "200", "after {options}: {output}");
        }
        let (status, output) =
            curl(lab, address, &format!("--unix-socket {} http://localhost/-/healthy", utf8(&socket)));
        assert_eq!(status, "200", "the socket has neither TLS nor passwords: {output}");
        daemon.stop();
    });
}

#[test]
fn each_client_auth_type_admits_whom_it_says() {
    run_isolated(|lab| {
        if !prepare(lab, &["curl", "openssl"], 1) {
            return;
        }
        make_certificate(lab, "client", "DNS:client.example", 30);
        openssl(lab, &format!("req -x509 {NEW_KEY} -keyout own.key -out own.pem -subj /CN=own"));
        let (signed, own) = (CERTIFICATE, "--cert own.pem --key own.key");
        for (name, has_ca, admitted) in [
            ("NoClientCert", false, ["200", "200", "200"]),
            ("RequestClientCert", false, ["200", "200", "200"]),
            ("RequireAnyClientCert", false, ["000", "200", "200"]),
            ("VerifyClientCertIfGiven", true, ["200", "200", "000"]),
            ("RequireAndVerifyClientCert", true, ["000", "200", "000"]),
        ] {
            let ca = if has_ca { "  client_ca_file: ca.pem\n" } else { "" };
            let (daemon, address, _) = start(lab, &format!("{SERVER}  client_auth_type: {name}\n{ca}"));
            for tls in ["1.2", "1.3"] {
                let found = ["", signed, own]
                    .map(|options| curl(lab, address, &format!("{options} --tls-max {tls}")).0);
                assert_eq!(found, admitted, "{name}, TLS {tls}: none, a signed one, its own");
            }
            daemon.stop();
        }
    });
}

#[test]
fn expired_certificate_of_the_server_is_reported() {
    run_isolated(|lab| {
        if !prepare(lab, &["curl", "openssl"], 1) {
            return;
        }
        make_certificate(lab, "server", "DNS:localhost", -1);
        openssl(lab, &format!("req -x509 {NEW_KEY} -keyout other.key -out other.pem -subj /CN=other"));
        let (daemon, address, _) = start(lab, SERVER);
        daemon.wait_for_line("server.pem: the certificate has expired on 20", ms(2000));
        for (options, reason) in [
            ("", "it says that the certificate of this server has expired"),
            ("--cacert other.pem", "it does not trust who signed the certificate of this server"),
        ] {
            assert_eq!(curl(lab, address, options).0, "000");
            daemon.wait_for_line(
                &format!("HTTP client refused: TLS handshake from 127.0.0.1: {reason}"),
                ms(2000),
            );
        }
        assert_eq!(curl(lab, address, "--insecure").0, "200");
        daemon.stop();
    });
}

#[test]
fn passwords_are_checked() {
    run_isolated(|lab| {
        if !prepare(lab, &["curl", "openssl"], 1) {
            return;
        }
        let (daemon, address, _) = start(lab, &format!("{SERVER}{}", users()));
        for (options, expected) in [
            ("", "401"),
            ("-u prometheus:secret", "200"),
            ("-u prometheus:wrong", "401"),
            ("-u somebody:secret", "401"),
            ("-u prometheus:secret --tls-max 1.2", "200"),
            ("-H Authorization:Bearer", "401"),
            ("-H Authorization;", "401"),
            ("-u :", "401"),
            ("-u prometheus:", "401"),
        ] {
            let (status, output) = curl(lab, address, options);
            assert_eq!(status, expected, "{options}: {output}");
        }
        daemon.wait_for_line("wrong user name or password from 127.0.0.1: user prometheus", ms(2000));
        daemon.wait_for_line("wrong user name or password from 127.0.0.1: an unknown user", ms(2000));
        for _ in 0..20 {
            assert_eq!(curl(lab, address, "-u prometheus:wrong").0, "401");
        }
        let lines = daemon.stderr.all().iter().filter(|line| line.text.contains("client refused")).count();
        assert!(lines <= 6, "{lines} lines about 22 refusals\n{}", daemon.transcript());
        assert!(!daemon.transcript().contains("secret"));
        daemon.stop();
    });
}

#[test]
fn flood_of_wrong_passwords_delays_no_known_client() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        // Of `secret`, with the usual cost.
        let hash = "$2y$10$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u";
        let (daemon, address, _) = start(lab, &users().replace(HASH, hash));
        let ask = |credentials: &str| {
            let mut stream = TcpStream::connect(address).expect("it listens");
            stream.set_read_timeout(Some(LIMIT)).expect("a TCP socket");
            let head = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
            let request = format!("{head}Authorization: Basic {credentials}\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("send the request");
            stream
        };
        let status = |mut stream: &TcpStream| {
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("a response");
            text.split(' ').nth(1).map(str::to_owned)
        };
        let (right, wrong) = ("cHJvbWV0aGV1czpzZWNyZXQ=", "cHJvbWV0aGV1czp3cm9uZw==");
        assert_eq!(status(&ask(right)).as_deref(), Some("200"));
        let threads = daemon.process.thread_count();
        let flood: Vec<TcpStream> = (0..40).map(|_| ask(wrong)).collect();
        assert_eq!(status(&ask(right)).as_deref(), Some("200"));
        assert!(daemon.process.thread_count() <= threads + 1, "one check at a time");
        let last = flood.last().expect("there are some");
        last.set_nonblocking(true).expect("a TCP socket");
        assert!(last.peek(&mut [0]).is_err(), "the wrong ones still wait");
        assert_eq!(status(&flood[0]).as_deref(), Some("401"));
        daemon.stop();
    });
}

#[test]
fn passwords_work_without_tls() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let (daemon, address, _) = start(lab, &users());
        daemon.wait_for_line(&format!("status page http://{address}/"), ms(2000));
        assert_eq!(get(address.port(), "/metrics").expect("a response").status, 401);
        daemon.stop();
    });
}

#[test]
fn changed_files_are_read_again_and_a_broken_one_keeps_the_old() {
    run_isolated(|lab| {
        if !prepare(lab, &["curl", "openssl"], 1) {
            return;
        }
        let (daemon, address, _) = start(lab, SERVER);
        let serial = |lab: &Lab| {
            let connect = format!("s_client -connect {address} -showcerts");
            let arguments: Vec<&str> = connect.split(' ').collect();
            let (_, output) = run("openssl", &arguments, &lab.scratch_path(""), b"");
            let start = output.find("-----BEGIN")?; // none while the listener is opened again
            output[start..].split("-----END").next().map(str::to_owned)
        };
        let before = serial(lab);
        assert!(before.is_some());
        make_server_certificate(lab); // in place
        daemon.wait_for_line("Configuration reloaded: web configuration changed", LIMIT);
        wait_until(LIMIT, "the new certificate is used", || {
            serial(lab).is_some_and(|now| Some(now) != before)
        });

        for (name, text, problem) in [
            ("web.yml", format!("{SERVER}rate_limit:\n  burst: 1\n"), "web.yml:4: unknown key rate_limit"),
            (
                "web.yml",
                format!("{SERVER}{CLIENTS}").replace("ca.pem", "none.pem"),
                "none.pem: cannot read this file",
            ),
            ("server.key", "nothing\n".to_owned(), "server.key: holds no private key"),
        ] {
            daemon.skip_earlier_lines();
            let file = lab.scratch_path(name);
            let old = std::fs::read(&file).expect("it exists");
            std::fs::write(&file, text).expect("write a file");
            let line =
                daemon.wait_for_line("Configuration not reloaded, the old one stays in force: ", LIMIT);
            assert!(line.text.contains(problem), "{}", line.text);
            assert_eq!(curl(lab, address, "").0, "200", "{problem}");
            std::fs::write(&file, old).expect("write a file");
            daemon.wait_for_line("Configuration reloaded: ", LIMIT);
        }
        // A certificate that is named before it exists, where nothing is watched.
        daemon.skip_earlier_lines();
        lab.write_file("web.yml", SERVER.replace("server.pem", "later/server.pem"));
        daemon.wait_for_line("later/server.pem: cannot read this file: No such file or directory", LIMIT);
        std::fs::create_dir(lab.scratch_path("later")).expect("make a directory");
        std::fs::copy(lab.scratch_path("server.pem"), lab.scratch_path("later/server.pem")).expect("copy");
        daemon.wait_for_line("Configuration reloaded: ", LIMIT);
        let lines = daemon.stderr.all();
        let named = lines.iter().filter(|line| line.text.contains("later/server.pem: cannot")).count();
        assert_eq!(named, 1, "{lines:?}");

        daemon.skip_earlier_lines();
        daemon.send_signal(Signal::SIGHUP);
        daemon.wait_for_line("Configuration reloaded: nothing has changed", LIMIT);
        lab.write_file("web.yml", format!("{SERVER}{}", users()));
        daemon.wait_for_line("Configuration reloaded: web configuration changed", LIMIT);
        wait_until(LIMIT, "a password is needed", || curl(lab, address, "").0 == "401");
        assert_eq!(curl(lab, address, PASSWORD).0, "200");
        daemon.stop();
    });
}

#[test]
fn hung_files_keep_the_old_ones_and_are_named() {
    run_isolated(|lab| {
        if !prepare(lab, &["curl", "openssl"], 2) {
            return;
        }
        let (storage, folder) = lab.mount_storage("storage");
        let pem = folder.join("server.pem");
        std::fs::copy(lab.scratch_path("server.pem"), &pem).expect("copy the certificate");
        let (daemon, address, _) = start(lab, &SERVER.replace("server.pem", utf8(&pem)));
        daemon.send_signal(Signal::SIGHUP);
        daemon.wait_for_line("Configuration reloaded: nothing has changed", LIMIT); // the files are watched
        lab.set_fault("mute", &storage);
        let problem = format!("{}: cannot read this file: ", display_path(&pem));
        for (reason, limit) in
            [("no answer from its storage in 5s", 7000), ("its storage still does not answer", 1000)]
        {
            daemon.skip_earlier_lines();
            daemon.send_signal(Signal::SIGHUP);
            let start = "Configuration not reloaded, the old one stays in force: ";
            daemon.wait_for_line(&format!("{start}{problem}{reason}"), ms(limit));
        }
        assert_eq!(curl(lab, address, "").0, "200", "the old certificate is in use");
        let mount = lab.mount_point("0");
        lab.set_fault("mute", &mount);
        daemon.wait_for_failure(&mount, "hung", LIMIT);

        let on_storage = folder.join("web.yml");
        for (web, named) in [(lab.scratch_path("web.yml"), &pem), (on_storage.clone(), &on_storage)] {
            let listen = free_address().to_string();
            let options = ["--listen-address", &listen, "--web-config-file", utf8(&web)];
            let result = CommandOutput::run(lab.daemon_command(&with(QUICK, &options)), ms(8000));
            result.assert_code(2);
            let line = format!("{}: cannot read this file: no answer from its storage", display_path(named));
            result.assert_stderr_contains(&line);
            assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
        }
        daemon.skip_earlier_lines();
        lab.clear_fault(&storage);
        daemon.wait_for_line("Configuration reloaded: nothing has changed", LIMIT); // by itself
        let lines = daemon.stderr.all();
        assert_eq!(lines.iter().filter(|line| line.text.contains("not reloaded")).count(), 2, "{lines:?}");
        daemon.stop();
    });
}

#[test]
fn broken_file_is_an_error_of_the_configuration() {
    run_isolated(|lab| {
        if missing(lab, &["openssl"]) {
            return;
        }
        make_authority(lab);
        make_certificate(lab, "server", "DNS:localhost", -1);
        let file = lab.write_file("web.yml", format!("{SERVER}http_server_config:\n  http2: false\n"));
        for arguments in
            [&["--web-config-file", utf8(&file)][..], &["--check-config", "--web.config.file", utf8(&file)]]
        {
            let result = CommandOutput::run(lab.daemon_command(arguments), ms(5000));
            result.assert_code(2);
            result.assert_stderr_contains(
                "web.yml:4: unknown key http_server_config; supported are tls_server_config",
            );
        }
        lab.write_file("web.yml", SERVER);
        let config = lab.write_file("config.toml", "web_config_file = \"web.yml\"\n");
        let mut command = lab.daemon_command(&["--check-config", "--config", utf8(&config)]);
        command.current_dir(lab.scratch_path(""));
        let result = CommandOutput::run(command, ms(5000));
        result.assert_code(0);
        let all = format!("{}{}", result.stdout, result.stderr);
        assert!(all.contains("server.pem: the certificate has expired on 20"), "{all}");
        assert!(all.contains("web_config_file"), "{all}");
    });
}

#[test]
fn slow_handshakes_delay_no_other_client() {
    run_isolated(|lab| {
        if !prepare(lab, &["curl", "openssl"], 1) {
            return;
        }
        let (daemon, address, _) = start(lab, SERVER);
        // More than the server keeps open: the oldest make room.
        let silent: Vec<TcpStream> =
            (0..300).map(|_| TcpStream::connect(address).expect("it listens")).collect();
        let before = Instant::now();
        assert_eq!(curl(lab, address, "").0, "200");
        assert!(before.elapsed() < ms(3000), "{:?}", before.elapsed());
        daemon.wait_for_line("TLS handshake from 127.0.0.1: it takes longer than 5s", LIMIT);
        drop(silent);
        daemon.stop();
    });
}
