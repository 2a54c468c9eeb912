//! Many clients of one server: one incident is one notification.

use crate::alertmanager::Sender;
use crate::common::fake_server::{Behavior, FakeServer};
use crate::common::isolation::skip_test;
use crate::common::{Lab, free_port, pause, run_isolated_for, wait_until};
use crate::gateway::GATEWAY;
use crate::peer::{ALERTMANAGER, Peer, first_missing, run, start_alertmanager_from};
use crate::samples::{failure, nfs_mount};
use crate::statuses::{snapshot, status};
use crate::textfile::EXPORTER;
use mount_status_monitor::monitor::{Health, MountStatus, Reason};
use mount_status_monitor::render::metrics::{MetricInputs, render};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const RULES: &str = include_str!("../../contrib/prometheus/mount_status_monitor.rules.yml");
const ROUTES: &str = include_str!("../../contrib/prometheus/alertmanager.yml");
const LIMIT: Duration = Duration::from_secs(240);
const CLIENTS: usize = 50;
/// A FUSE mount of a user, with the name of the server `nas`.
const FORGED: &str = "forged";
/// Scrape, evaluation and `group_wait` take a few seconds; the rest allows for two large programs on a loaded machine.
const NOTIFICATION_LIMIT: Duration = Duration::from_secs(60);
/// Longer than all of these together: what has not come by then does not come.
const QUIET: Duration = Duration::from_secs(12);

/// `dead` of `clients` clients have lost this server.
struct Fleet {
    server: &'static str,
    clients: usize,
    dead: usize,
}

impl Fleet {
    fn series(&self, text: &mut String) {
        let Fleet { server, clients, dead } = self;
        for n in 0..*clients {
            let labels = format!(
                "job=\"j\",instance=\"c{n}\",mountpoint=\"/{server}\",device=\"{server}:/\",fstype=\"nfs4\""
            );
            let up = u8::from(n >= *dead);
            for (series, value) in [
                (format!("mountstatus_mount_up{{{labels}}}"), up),
                (
                    format!(
                        "mountstatus_mount_info{{{labels},server=\"{server}\",mount_severity=\"critical\"}}"
                    ),
                    1,
                ),
            ] {
                writeln!(text, "      - {{series: '{series}', values: '{value}x5'}}").expect("memory");
            }
        }
    }
}

/// How many alerts fire after these clients lost these servers, by an expression of `ALERTS`.
fn assert_alerts(series: &str, expected: &[(&str, usize)]) {
    let mut text =
        "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n"
            .to_owned();
    text.push_str(series);
    text.push_str("    promql_expr_test:\n");
    for (matchers, count) in expected {
        let samples = match count {
            0 => "[]".to_owned(),
            _ => format!("[{{labels: '{{}}', value: {count}}}]"),
        };
        writeln!(
            text,
            "      - {{expr: 'count(ALERTS{{alertstate=\"firing\",{matchers}}})', eval_time: 3m, exp_samples: {samples}}}"
        )
        .expect("memory");
    }
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("rules.yml"), RULES).expect("write a file");
    std::fs::write(directory.path().join("test.yml"), text).expect("write a file");
    let (is_ok, output) = run("promtool", &["test", "rules", "test.yml"], directory.path(), b"");
    assert!(is_ok && output.contains("SUCCESS"), "{expected:?}: {output}");
}

const SERVER: &str = "alertname=\"StorageServerUnreachable\"";
const DEAD_OF_SERVER: &str = "alertname=\"MountDead\",scope=\"server\"";
const DEAD_OF_CLIENT: &str = "alertname=\"MountDead\",scope=\"client\"";

#[test]
fn server_alert_needs_three_clients_and_a_fifth_or_both_of_two() {
    if let Some(reason) = first_missing(&["promtool"]) {
        return skip_test("fleet::server_alert_needs_three_clients_and_a_fifth_or_both_of_two", &reason);
    }
    for (clients, dead, is_server) in [
        (500, 100, true),
        (500, 99, false),
        (15, 3, true),
        (16, 3, false),
        (3, 3, true),
        (3, 2, false),
        (2, 2, true),
        (2, 1, false),
        (1, 1, false),
    ] {
        let mut series = String::new();
        Fleet { server: "nas", clients, dead }.series(&mut series);
        let (of_server, of_client) = if dead > 1 { (dead, 0) } else { (0, dead) };
        let expected =
            [(SERVER, usize::from(is_server)), (DEAD_OF_SERVER, of_server), (DEAD_OF_CLIENT, of_client)];
        assert_alerts(&series, &expected);
    }
}

/// One client loses all its servers; users of all clients mount FUSE with a forged source, which has no server.
#[test]
fn neither_a_client_without_network_nor_forged_sources_are_a_server_alert() {
    if let Some(reason) = first_missing(&["promtool"]) {
        let name = "fleet::neither_a_client_without_network_nor_forged_sources_are_a_server_alert";
        return skip_test(name, &reason);
    }
    let mut series = String::new();
    for server in ["nas1", "nas2", "nas3", "nas4"] {
        Fleet { server, clients: CLIENTS, dead: 1 }.series(&mut series);
    }
    assert_alerts(&series, &[(SERVER, 0), (DEAD_OF_SERVER, 0), (DEAD_OF_CLIENT, 4)]);

    let mut series = String::new();
    Fleet { server: "nas", clients: CLIENTS, dead: 0 }.series(&mut series);
    let mut forged = String::new();
    Fleet { server: "nas", clients: CLIENTS, dead: CLIENTS }.series(&mut forged);
    let forged =
        forged.replace("mountpoint=\"/nas\"", "mountpoint=\"/home/u/nas\"").replace(",server=\"nas\"", "");
    series.push_str(&forged.replace("nfs4", "fuse.sshfs"));
    assert_alerts(&series, &[(SERVER, 0), (DEAD_OF_SERVER, 0), (DEAD_OF_CLIENT, CLIENTS)]);
}

#[test]
fn dead_server_of_fifty_clients_is_one_notification() {
    run_isolated_for(LIMIT, |lab| check_notifications(lab, &[], Clients::scraped));
}

#[test]
fn dead_server_of_fifty_clients_is_one_notification_through_a_push_gateway() {
    run_isolated_for(LIMIT, |lab| check_notifications(lab, &[GATEWAY], Clients::pushing));
}

#[test]
fn dead_server_of_fifty_clients_is_one_notification_through_text_files() {
    run_isolated_for(LIMIT, |lab| check_notifications(lab, &[EXPORTER], Clients::writing));
}

/// With the real Prometheus and Alertmanager, the rules and the routes of `contrib/`, and shorter times.
fn check_notifications(lab: &Lab, programs: &[&str], start: fn(&Lab) -> Clients) {
    if let Some(reason) = first_missing(&[&["prometheus", ALERTMANAGER], programs].concat()) {
        return lab.skip(&reason);
    }
    let clients = start(lab);
    let receiver = FakeServer::start(Behavior::Accept);
    let alertmanager = start_alertmanager_from(lab, free_port(), &routes(&receiver));
    let prometheus = start_prometheus(lab, &clients.scrape_config, alertmanager.port);
    let query = "/api/v1/query?query=count(mountstatus_mount_up==1)";
    prometheus.wait_for_text(query, &format!("\"{}\"]", 3 * CLIENTS), NOTIFICATION_LIMIT);
    receiver.take_requests(); // before the first scrape, the monitor is absent

    // One client loses its network: one notification about the client, with both mounts.
    clients.set_dead(|client, server| client == 7 && server != FORGED);
    let notified = expect_one(&receiver, "firing");
    assert_eq!(notified["groupLabels"]["instance"], "c7", "{notified}");
    assert_eq!(notified["alerts"].as_array().map(Vec::len), Some(2), "{notified}");
    clients.set_dead(|_, _| false);
    expect_one(&receiver, "resolved");

    // The server: one notification about the server, and none about its clients.
    clients.set_dead(|_, server| server == "nas");
    let notified = expect_one(&receiver, "firing");
    assert_eq!(notified["groupLabels"]["server"], "nas", "{notified}");
    assert_eq!(notified["commonLabels"]["alertname"], "StorageServerUnreachable", "{notified}");
    clients.set_dead(|_, _| false);
    let notified = expect_one(&receiver, "resolved");
    assert_eq!(notified["commonLabels"]["alertname"], "StorageServerUnreachable", "{notified}");

    // A user of each client has mounted the server's name: each client is notified, and no server.
    clients.set_dead(|_, server| server == FORGED);
    expect_no_server(&receiver);
}

/// A notification for each client, and none about a server.
fn expect_no_server(receiver: &FakeServer) {
    wait_until(NOTIFICATION_LIMIT, "all clients are notified", || receiver.requests().len() >= CLIENTS);
    pause(QUIET);
    let requests = receiver.take_requests();
    assert_eq!(requests.len(), CLIENTS);
    for request in requests {
        let notified: Value = serde_json::from_str(&request.body).expect("JSON");
        let labels = &notified["commonLabels"];
        assert!(labels["alertname"] == "MountDead" && labels["server"].is_null(), "{notified}");
    }
}

/// The daemons send their alerts themselves: without Prometheus nobody knows the server's other clients.
#[test]
fn alerts_of_fifty_daemons_are_one_notification() {
    run_isolated_for(LIMIT, |lab| {
        if let Some(reason) = first_missing(&[ALERTMANAGER]) {
            return lab.skip(&reason);
        }
        let receiver = FakeServer::start(Behavior::Accept);
        let alertmanager = start_alertmanager_from(lab, free_port(), &routes(&receiver));
        let senders: Vec<Sender> = (0..CLIENTS)
            .map(|n| Sender::start_with(lab, alertmanager.port, &format!("instance = \"c{n}\"")))
            .collect();
        let update = |is_dead: &dyn Fn(&str) -> bool| {
            senders.iter().for_each(|sender| sender.update(mounts(is_dead)));
        };
        // A client that loses its network is one notification for each of its servers, which names the client.
        senders[7].update(mounts(|server| server == "nas"));
        let notified = expect_one(&receiver, "firing");
        assert_eq!(notified["commonLabels"]["instance"], "c7", "{notified}");
        senders[7].update(mounts(|_| false));
        expect_one(&receiver, "resolved");

        update(&|server| server == "nas");
        let notified = expect_one(&receiver, "firing");
        assert_eq!(notified["groupLabels"]["server"], "nas", "{notified}");
        assert_eq!(notified["alerts"].as_array().map(Vec::len), Some(CLIENTS), "{notified}");
        update(&|_| false);
        expect_one(&receiver, "resolved");

        update(&|server| server == FORGED);
        expect_no_server(&receiver);
    });
}

/// The next notification, of this status, which must be the only one.
fn expect_one(receiver: &FakeServer, status: &str) -> Value {
    wait_until(NOTIFICATION_LIMIT, status, || !receiver.requests().is_empty());
    pause(QUIET);
    let requests = receiver.take_requests();
    let mut all: Vec<Value> =
        requests.iter().map(|request| serde_json::from_str(&request.body).expect("JSON")).collect();
    let groups: Vec<_> = all.iter().map(|notified| (&notified["status"], &notified["groupKey"])).collect();
    assert_eq!(groups.len(), 1, "{groups:?}");
    let notified = all.remove(0);
    assert_eq!(notified["status"], status, "{notified}");
    notified
}

/// The routes of `contrib/`, with seconds for minutes and this receiver.
fn routes(receiver: &FakeServer) -> String {
    let text = ROUTES
        .replace("group_wait: 2m", "group_wait: 8s")
        .replace("group_wait: 10s", "group_wait: 1s")
        .replace("group_interval: 5m", "group_interval: 1s")
        .replace("http://localhost:8080", &format!("http://{}", receiver.address));
    assert!(text.matches("8s").count() == 2 && text.matches(&receiver.address).count() == 2, "{text}");
    text
}

fn start_prometheus(lab: &Lab, scrape_config: &str, alertmanager: u16) -> Peer {
    let rules = RULES
        .replace("keep_firing_for: 1m", "keep_firing_for: 1s")
        .replace("keep_firing_for: 2m", "keep_firing_for: 3s");
    std::fs::write(lab.scratch_path("rules.yml"), rules).expect("write a file");
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]}}\n\
         scrape_configs:\n{scrape_config}"
    );
    crate::peer::start_prometheus(lab, &config)
}

/// A scrape job with a target for each client.
fn job_of_clients(name: &str, port: impl Fn(usize) -> u16) -> String {
    let mut text = format!("  - job_name: {name}\n    static_configs:\n");
    for n in 0..CLIENTS {
        // Only `Clients::scraped` has such a path; node_exporter has only its own.
        let path = if name == "node" { "metrics".to_owned() } else { n.to_string() };
        let port = port(n);
        writeln!(
            text,
            "      - {{targets: ['127.0.0.1:{port}'], labels: {{instance: c{n}, __metrics_path__: /{path}}}}}"
        )
        .expect("memory");
    }
    text
}

/// Simulated clients, each of which mounts the servers `nas` and `files`, and as a user a third with a forged name: what
/// the program would report about them.
struct Clients {
    scrape_config: String,
    is_dead: Arc<Mutex<IsDead>>,
    /// Hands over the metrics of a client, unless they are scraped.
    publish: Option<Publish>,
    _peers: Vec<Peer>,
}

type IsDead = fn(usize, &str) -> bool;
type Publish = Box<dyn Fn(usize, &[u8])>;

impl Clients {
    /// Each is a path of one HTTP server.
    fn scraped(_: &Lab) -> Clients {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let is_dead: Arc<Mutex<IsDead>> = Arc::new(Mutex::new(|_, _| false));
        let shared = Arc::clone(&is_dead);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let client = request.split(['/', ' ']).nth(2).and_then(|number| number.parse().ok());
                let Some(client) = client else { continue };
                let is_dead = *shared.lock().expect("no thread panics");
                let body = metrics(|server| is_dead(client, server));
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
                let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(&body);
            }
        });
        let scrape_config = job_of_clients("mount_status_monitor", |_| port);
        Clients { scrape_config, is_dead, publish: None, _peers: Vec::new() }
    }

    /// All push to one push gateway.
    fn pushing(lab: &Lab) -> Clients {
        let gateway = crate::gateway::start(lab, &[]);
        let port = gateway.port;
        let scrape_config = format!(
            "  - {{job_name: pushgateway, honor_labels: true, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
        );
        let publish = move |n: usize, metrics: &[u8]| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the gateway listens");
            let path = format!("/metrics/job/mount_status_monitor/instance/c{n}");
            write!(stream, "PUT {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", metrics.len())
                .expect("a request");
            stream.write_all(metrics).expect("a request");
            let mut response = String::new();
            stream.read_to_string(&mut response).expect("a response");
            assert!(response.contains(" 200 "), "{response}");
        };
        Clients::publishing(scrape_config, Box::new(publish), vec![gateway])
    }

    /// Each has a node_exporter that reads its text file.
    fn writing(lab: &Lab) -> Clients {
        let folder = lab.scratch_path("textfiles");
        let of = move |n: usize| folder.join(format!("c{n}"));
        let start = |n: usize| {
            std::fs::create_dir_all(of(n)).expect("create a directory");
            crate::textfile::start_exporter(lab, &of(n))
        };
        let exporters: Vec<Peer> = (0..CLIENTS).map(start).collect();
        let publish = move |n: usize, metrics: &[u8]| {
            let (new, file) = (of(n).join("new"), of(n).join("mounts.prom"));
            std::fs::write(&new, metrics).and_then(|()| std::fs::rename(new, file)).expect("write a file");
        };
        let scrape_config = job_of_clients("node", |n| exporters[n].port);
        Clients::publishing(scrape_config, Box::new(publish), exporters)
    }

    fn publishing(scrape_config: String, publish: Publish, peers: Vec<Peer>) -> Clients {
        let is_dead: Arc<Mutex<IsDead>> = Arc::new(Mutex::new(|_, _| false));
        let clients = Clients { scrape_config, is_dead, publish: Some(publish), _peers: peers };
        clients.set_dead(|_, _| false);
        clients
    }

    fn set_dead(&self, is_dead: IsDead) {
        *self.is_dead.lock().expect("no thread panics") = is_dead;
        let Some(publish) = &self.publish else { return };
        (0..CLIENTS).for_each(|n| publish(n, &metrics(|server| is_dead(n, server))));
    }
}

fn metrics(is_dead: impl Fn(&str) -> bool) -> Vec<u8> {
    render(&snapshot(mounts(is_dead)), MetricInputs::default())
}

fn mounts(is_dead: impl Fn(&str) -> bool) -> Vec<MountStatus> {
    let mount = |server: &str| {
        let health = match is_dead(server) {
            true => Health::Dead(failure(Reason::Hung).into()),
            false => Health::Ok,
        };
        let mut mount = (*nfs_mount(&format!("/mnt/{server}"))).clone();
        mount.device = format!("{server}:/export").into();
        if server == FORGED {
            mount.device = "nas:/export".into();
            mount.fstype = "fuse.sshfs".into();
            mount.super_options = "rw,user_id=4711,group_id=4711".into();
        }
        status(Arc::new(mount), health)
    };
    vec![mount("nas"), mount("files"), mount(FORGED)]
}
