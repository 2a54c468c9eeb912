//! Time to publish one change, and to render the metrics of a snapshot, for few and for very many mounts.

mod median;

use median::{Row, median, median_of, percentile, print_table};
use mount_status_monitor::monitor::testing::mount;
use mount_status_monitor::monitor::{
    Effect, Failure, Health, Input, LastResponse, Monitor, MonitorConfig, MountStatus, Reason,
};
use mount_status_monitor::monitor::{ProbeSelection, ProbeSettings, Status, Time};
use mount_status_monitor::output::SharedState;
use mount_status_monitor::output::http::{
    self, CertificateFile, ClientAuth, HttpSettings, MetricsSource, SocketChoice, TlsSettings, WebAccess,
    WebSettings,
};
use mount_status_monitor::render::Snapshot;
use mount_status_monitor::render::metrics::{MetricInputs, MetricsText, render};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use platform::{Call, DeviceNumber, Mount, MountKey, MountTable, ProbeOutcome, TableUpdate, Usage};
use rustls::pki_types::pem::PemObject as _;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const REPEATS: usize = 21;
const CHANGES: usize = 301;
const SCRAPES: usize = 300;
/// Of `secret`, with the cost 10.
const HASH: &str = "$2y$10$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u";

fn main() {
    publish();
    render_metrics();
    scrape();
}

/// A mount is probed, and the status is made anew while a reader keeps the last one.
fn publish() {
    let mut reference = None;
    for mounts in [10, 1_000, 10_000, 100_000] {
        let mut machine = Machine::new(mounts);
        let mut kept = machine.monitor.status();
        let mut keys = (0..).map(|n| 1 + n * 7_919 % mounts);
        let took = (0..CHANGES).map(|_| {
            machine.probe(keys.next().expect("endless"));
            let start = Instant::now();
            let status = machine.monitor.status();
            let took = start.elapsed();
            kept = status;
            took
        });
        let took = median(took.collect());
        let scratch = median_of(REPEATS, || machine.monitor.status_from_scratch());
        assert!(kept == machine.monitor.status_from_scratch());
        let rows = [
            Row::new("one change", took, *reference.get_or_insert(took)),
            Row::new("all from scratch", scratch, *reference.get_or_insert(took)),
        ];
        print_table(
            &format!("Status of {mounts} mounts, median of {CHANGES}"),
            "one change of 10 mounts",
            &rows,
        );
    }
}

/// A monitor whose probes are answered at once.
struct Machine {
    monitor: Monitor,
    now: Time,
}

impl Machine {
    fn new(mounts: u64) -> Machine {
        let config = MonitorConfig {
            poll_interval: Duration::from_secs(3600),
            policy: Box::new(|_| Some(ProbeSettings::default())),
            expected: vec![],
            expected_options: None,
            data_paths: None,
            searches_every_directory: true,
        };
        let mut machine = Machine { monitor: Monitor::new(config, 0), now: Time::default() };
        let entry = |key| {
            let device_number = DeviceNumber { major: 0, minor: key as u32 };
            Arc::new(Mount { device_number, ..mount(key, &format!("/srv/project-{key:06}/data")) })
        };
        let table = MountTable::new((1..=mounts).map(entry).collect());
        machine.handle(Input::TableUpdate(TableUpdate::Whole(table)));
        machine
    }

    fn probe(&mut self, key: u64) {
        let selection = ProbeSelection::These([MountKey(key)].into_iter().collect());
        self.handle(Input::ProbesRequested(selection));
    }

    fn handle(&mut self, input: Input) {
        self.now = self.now + Duration::from_millis(1);
        self.monitor.handle(self.now, input);
        self.monitor.settle(self.now);
        while let Some(effect) = self.monitor.next_effect() {
            let Effect::StartProbe { probe, .. } = effect else { continue };
            let (outcome, took) = (ProbeOutcome::Alive(Usage::default()), Duration::from_micros(100));
            self.monitor.handle(self.now, Input::ProbeResponded { probe, outcome, took });
            self.monitor.settle(self.now);
        }
    }
}

fn render_metrics() {
    let rows: Vec<Row> = [100, 10_000]
        .into_iter()
        .map(|mounts| {
            let snapshot = snapshot(mounts);
            let bytes = render(&snapshot, MetricInputs::default()).len();
            let took = median_of(REPEATS, || render(black_box(&snapshot), MetricInputs::default()));
            Row::new(format!("{mounts} mounts, {bytes} bytes"), took, took)
        })
        .collect();
    print_table(&format!("Metrics of one snapshot, median of {REPEATS}"), "itself", &rows);
}

/// The pauses are part of the load.
fn pause(ms: u64) {
    let (_sender, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(Duration::from_millis(ms));
}

/// The server of the daemon, over a socket; there is a new snapshot before each scrape. The kinds take turns, so that
/// all have the same share of what else the machine does.
fn scrape() {
    let state = SharedState::default();
    let mut snapshot = snapshot(10_000);
    state.publish(Arc::new(snapshot.clone()));
    let certificate = Certificate::make();
    let (plain, _plain_server) = start_server(&state, None);
    let (encrypted, _encrypted_server) = start_server(&state, Some(certificate.access()));
    pause(500);
    let resident = || platform::process_stats().map_or(0, |stats| stats.resident_bytes) >> 10;
    let before = resident();
    let text = render(&snapshot, MetricInputs::default());
    let gzip = "Accept-Encoding: gzip\r\n";
    let mut kinds = [
        Kind::new("plain", "", false),
        Kind::new("TLS and a password", "", true),
        Kind::new("gzip", gzip, false),
        Kind::new("gzip, TLS and a password", gzip, true),
    ];
    let mut limit = Kind::new("limit: made before, written by a thread", "", false);
    for _ in 0..SCRAPES {
        limit.measure(|more| get(serve(text.clone()), more));
        for kind in &mut kinds {
            snapshot.serial += 1;
            state.publish(Arc::new(snapshot.clone()));
            if kind.is_encrypted {
                kind.measure(|more| get_encrypted(encrypted, &certificate.client, more));
            } else {
                kind.measure(|more| get(plain, more));
            }
        }
    }
    println!("\n10,000 mounts over a socket, {SCRAPES} scrapes of each kind in turn");
    limit.print(&limit);
    for pair in kinds.chunks(2) {
        pair.iter().for_each(|kind| kind.print(&pair[0]));
    }
    println!("resident memory: {before} KiB before, {} KiB after", resident());
}

fn start_server(
    state: &SharedState,
    web_access: Option<Arc<WebAccess>>,
) -> (SocketAddr, Option<http::Server>) {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
    let settings =
        HttpSettings { listen: Some(port), socket: SocketChoice::Off, web_access, ..HttpSettings::default() };
    let metrics: MetricsSource = Arc::new(|snapshot| MetricsText::new(snapshot, MetricInputs::default()));
    let warn = Arc::new(|text: &str| panic!("{text}"));
    (port, http::start(&settings, state.clone(), metrics, warn, None).expect("a thread"))
}

/// A kind of scrape, with the measurements.
struct Kind {
    name: &'static str,
    header: &'static str,
    is_encrypted: bool,
    bytes: usize,
    times: Vec<Duration>,
    /// Processor time of the process without this thread, which is the client.
    server_times: Vec<Duration>,
}

impl Kind {
    const fn new(name: &'static str, header: &'static str, is_encrypted: bool) -> Kind {
        Kind { name, header, is_encrypted, bytes: 0, times: vec![], server_times: vec![] }
    }

    /// The first one, in which the password is checked, does not count.
    fn measure(&mut self, mut get: impl FnMut(&str) -> (usize, Duration)) {
        if self.bytes == 0 {
            let _ = get(self.header);
        }
        pause(20);
        let before = server_time();
        let (bytes, took) = get(self.header);
        pause(2);
        self.server_times.push(server_time().saturating_sub(before));
        self.times.push(took);
        self.bytes = bytes;
    }

    fn print(&self, reference: &Kind) {
        let median = |times: &[Duration]| median(times.to_vec());
        let ratio = |mine: &[Duration], its: &[Duration]| median(mine).div_duration_f64(median(its));
        println!(
            "{}: {} bytes, median {:.1?} (ratio {:.2}), 99th percentile {:.1?}, CPU of the server {:.1?} (ratio {:.2})",
            self.name,
            self.bytes,
            median(&self.times),
            ratio(&self.times, &reference.times),
            percentile(&self.times, 99),
            median(&self.server_times),
            ratio(&self.server_times, &reference.server_times),
        );
    }
}

fn server_time() -> Duration {
    let of = |who| {
        let usage = getrusage(who).expect("getrusage");
        let time = usage.user_time() + usage.system_time();
        Duration::from_micros(time.num_microseconds().unsigned_abs())
    };
    of(UsageWho::RUSAGE_SELF).saturating_sub(of(UsageWho::RUSAGE_THREAD))
}

/// Sends this to the first client.
fn serve(text: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 1024]);
        text.chunks(64 * 1024).for_each(|part| stream.write_all(part).expect("the client reads"));
    });
    address
}

/// A certificate of openssl, and a client that trusts it.
struct Certificate {
    pem: Vec<u8>,
    key: Vec<u8>,
    client: Arc<rustls::ClientConfig>,
}

impl Certificate {
    fn make() -> Certificate {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out pem -days 2 \
                         -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE";
        let made =
            Command::new("openssl").args(arguments.split_whitespace()).current_dir(&directory).output();
        assert!(made.is_ok_and(|made| made.status.success()), "openssl makes a certificate");
        let read = |name| std::fs::read(directory.path().join(name)).expect("it was made");
        let (pem, key) = (read("pem"), read("key"));
        let mut roots = rustls::RootCertStore::empty();
        let trusted = rustls::pki_types::CertificateDer::from_pem_slice(&pem).expect("a certificate");
        roots.add(trusted).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("they exist")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Certificate { pem, key, client: Arc::new(client) }
    }

    /// With the user `a`, whose password is `secret`; the cost is the usual one.
    fn access(&self) -> Arc<WebAccess> {
        let file = |pem: &[u8]| CertificateFile { path: "pem".into(), pem: pem.to_vec() };
        let tls = TlsSettings {
            certificate: file(&self.pem),
            key: file(&self.key),
            client_ca: None,
            client_auth: ClientAuth::None,
            allowed_sans: None,
            only_tls13: false,
        };
        let users = vec![("a".to_owned(), HASH.to_owned())];
        Arc::new(WebAccess::new(WebSettings { tls: Some(tls), users }).expect("they are valid").0)
    }
}

fn get_encrypted(address: SocketAddr, client: &Arc<rustls::ClientConfig>, more: &str) -> (usize, Duration) {
    let start = Instant::now();
    let stream = connect(address);
    let name = "localhost".try_into().expect("a name");
    let connection = rustls::ClientConnection::new(Arc::clone(client), name).expect("a connection");
    let more = format!("{more}Authorization: Basic YTpzZWNyZXQ=\r\n");
    let length = exchange(rustls::StreamOwned::new(connection, stream), &more);
    (length, start.elapsed())
}

/// The length of the response and the time to it; the client keeps none of it.
fn get(address: SocketAddr, more: &str) -> (usize, Duration) {
    let start = Instant::now();
    let length = exchange(connect(address), more);
    (length, start.elapsed())
}

/// Without delay, as Go (and so Prometheus) and curl do it by default. Otherwise a request after a TLS handshake waits
/// until the last message of that is acknowledged, for 40 ms.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

fn exchange(mut stream: impl std::io::Read + std::io::Write, more: &str) -> usize {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).expect("send the request");
    let (mut buffer, mut length) = (vec![0; 64 * 1024], 0);
    loop {
        match stream.read(&mut buffer).expect("a response") {
            0 => return length,
            n => length += n,
        }
    }
}

fn snapshot(mounts: usize) -> Snapshot {
    let last_response = Some(LastResponse {
        at: Time::default(),
        took: Duration::from_micros(731),
        usage: Some(Usage::default()),
    });
    let status = |n: usize| {
        let entry = Mount {
            device: format!("server-{}.storage.example:/export/{n:05}", n % 50).into(),
            fstype: "nfs4".into(),
            ..mount(n as u64 + 1, &format!("/srv/project-{n:05}/data"))
        };
        let hung = || Failure {
            reason: Reason::Hung,
            errno: None,
            call: Some(Call::Statfs),
            waited: Duration::from_secs(3),
            blocked_by: None,
            evidence: None,
        };
        let health = if n.is_multiple_of(50) { Health::Dead(hung().into()) } else { Health::Ok };
        let since = Time::default();
        MountStatus {
            has_unexpected_options: None,
            report: None,
            data_path: None,
            mount: Arc::new(entry),
            health,
            since,
            judged_at: Some(since),
            is_hang_proven: false,
            last_response,
            waiting_since: None,
            settings: Arc::default(),
            flapping: None,
            is_reported_slow: false,
        }
    };
    let status = Status { mounts: (0..mounts).map(status).collect(), total: mounts, ..Status::default() };
    let (at, wall) = (Time::after_start(Duration::from_secs(60)), SystemTime::now());
    Snapshot {
        serial: 1,
        status: Arc::new(status),
        at,
        wall,
        taken: Instant::now(),
        settings: ProbeSettings::default(),
        probers: 1,
        probers_stranded: 0,
        runs_from_memory: true,
        mount_source: platform::MountSource::Events,
        remedies: Default::default(),
        config: Default::default(),
    }
}
