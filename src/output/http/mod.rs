//! The HTTP server, over TCP and over a Unix socket: metrics, the API and the status page.
//!
//! It has one thread with its own runtime and accesses the daemon only through [`SharedState`]. So its clients delay
//! nothing else, and it responds whatever hangs. Without a listener there is no thread.

mod access;
mod drill;
mod events;
mod fresh;
mod host;
mod in_parts;
pub(crate) mod limits;
mod listen;
mod liveness;
pub(crate) mod mounts;
mod response;
mod routes;
mod serve;
mod write_timeout;

use crate::output::{SharedState, lock};
use crate::render::Snapshot;
use crate::render::escape::escape_os;
use crate::render::metrics::MetricsText;
pub use access::{CertificateFile, ClientAuth, FileText, TlsSettings, WebAccess, WebSettings};
use access::{Gate, refuse_strangers};
use axum::middleware::from_fn_with_state;
use futures_util::future::select;
use host::{AllowedHosts, refuse_other_hosts};
use listen::SocketFile;
use liveness::LivenessCheck;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::spawn_blocking;

/// The daemon's socket, if the settings name no other.
pub const DEFAULT_SOCKET: &str = platform::DEFAULT_SOCKET;

/// The listeners.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HttpSettings {
    /// The TCP address; `None` disables TCP.
    pub listen: Option<SocketAddr>,
    /// Names in the `Host` header that are allowed besides addresses, `localhost` and the name of this machine.
    pub allowed_hosts: Vec<String>,
    pub socket: SocketChoice,
    /// The group, or its id, whose members may connect to the socket.
    pub socket_group: Option<String>,
    pub web_config_file: Option<PathBuf>,
    /// What this file says about TLS and passwords; it applies to TCP. None without a file.
    pub web_access: Option<Arc<WebAccess>>,
}

/// The Unix socket.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SocketChoice {
    Off,
    /// [`DEFAULT_SOCKET`]; nothing is reported if it cannot be created, unless it has a group.
    #[default]
    Default,
    At(PathBuf),
}

impl SocketChoice {
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            SocketChoice::Off => None,
            SocketChoice::Default => Some(Path::new(DEFAULT_SOCKET)),
            SocketChoice::At(path) => Some(path),
        }
    }
}

/// The metrics of a snapshot.
pub type MetricsSource = Arc<dyn Fn(&Snapshot) -> MetricsText + Send + Sync>;

/// Logs a warning.
pub type WarnFn = Arc<dyn Fn(&str) + Send + Sync>;

/// The running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
    bind_failed: Arc<AtomicBool>,
}

impl Server {
    /// Whether a listener could not be opened; a restart of the server may succeed.
    #[must_use]
    pub fn bind_failed(&self) -> bool {
        self.bind_failed.load(Ordering::Relaxed)
    }

    /// Closes the listeners and then removes the socket, without waiting.
    pub fn begin_stop(self) -> StoppingServer {
        let _ = self.stop.send(());
        StoppingServer { stopped: self.stopped, deadline: Instant::now() + limits::STOP_TIMEOUT }
    }
}

pub struct StoppingServer {
    stopped: mpsc::Receiver<()>,
    deadline: Instant,
}

impl StoppingServer {
    /// Waits until it has stopped, for at most `limits::STOP_TIMEOUT` after the beginning.
    pub fn wait(self) {
        let _ = self.stopped.recv_timeout(self.deadline.saturating_duration_since(Instant::now()));
    }
}

/// The shared state of the handlers of one listener.
#[derive(Clone)]
struct RouteContext {
    state: SharedState,
    metrics: MetricsSource,
    /// One for each response that is being compressed.
    compressors: Arc<Semaphore>,
    /// Held while a part of the metrics is made.
    scrape_lock: Arc<Semaphore>,
    /// The length of the last JSON document of all mounts, by its snapshot and last event.
    document_length: Arc<Mutex<((u64, u64), usize)>>,
    liveness: Arc<LivenessCheck>,
    /// Changes with each event and each snapshot.
    changes: watch::Receiver<()>,
    event_permits: Arc<Semaphore>,
    /// Only clients on this machine, over the Unix socket, may have mounts probed.
    is_local: bool,
    /// Held while rendering anything else, so that many requests for tables of 10,000 mounts do not delay a scrape.
    render_lock: Arc<Semaphore>,
}

/// Starts the server, or nothing without a listener. Its thread stops the server `before` it, then opens the listeners
/// and reports with `warn` those that cannot be opened.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(
    settings: &HttpSettings,
    state: SharedState,
    metrics: MetricsSource,
    warn: WarnFn,
    before: Option<Server>,
) -> io::Result<Option<Server>> {
    if settings.listen.is_none() && settings.socket == SocketChoice::Off {
        return Ok(None);
    }
    let (stop, stop_receiver) = oneshot::channel();
    let (stopped_sender, stopped) = mpsc::channel();
    let bind_failed = Arc::new(AtomicBool::new(false));
    let (settings, has_failed) = (settings.clone(), Arc::clone(&bind_failed));
    thread::Builder::new().name("http".into()).spawn(move || {
        if let Some(before) = before {
            before.begin_stop().wait();
        }
        match Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(limits::MAX_BLOCKING_THREADS)
            .build()
        {
            Ok(runtime) => {
                let opener = Opener { settings, warn, has_failed };
                let file = run(&runtime, opener, &state, metrics, stop_receiver);
                runtime.shutdown_background(); // closes the listeners; the bind of the socket may hang
                if let Some(file) = file {
                    file.remove();
                }
            }
            Err(error) => warn(&format!("Cannot start the HTTP server: {error}; continuing without it")),
        }
        let _ = stopped_sender.send(()); // nobody may be waiting
    })?;
    Ok(Some(Server { stop, stopped, bind_failed }))
}

/// Opens the listeners, and reports those that cannot be opened.
struct Opener {
    settings: HttpSettings,
    warn: WarnFn,
    has_failed: Arc<AtomicBool>,
}

impl Opener {
    fn report(&self, address: &str, error: &io::Error) {
        self.has_failed.store(true, Ordering::Relaxed);
        (self.warn)(&format!("Cannot listen on {address}: {error}; continuing without it"));
    }

    fn tcp(&self) -> Option<TcpListener> {
        let address = self.settings.listen?;
        listen::tcp(address).inspect_err(|error| self.report(&address.to_string(), error)).ok()
    }

    /// Takes time if the storage of the socket is slow.
    async fn unix(&self) -> Option<(UnixListener, SocketFile)> {
        let path = self.settings.socket.path()?.to_owned();
        let (shown, group) = (escape_os(&path).into_owned(), self.settings.socket_group.clone());
        let is_optional = self.settings.socket == SocketChoice::Default && group.is_none();
        let opened = spawn_blocking(move || listen::unix(&path, group.as_deref())).await;
        let opened = opened.unwrap_or_else(|error| Err(io::Error::other(error)));
        let opened = opened.and_then(|(listener, file)| Ok((listen::for_runtime(listener)?, file)));
        opened
            .inspect_err(|error| {
                if !is_optional {
                    self.report(&shown, error);
                }
            })
            .ok()
    }
}

/// Serves until the stop, or until no listener could be opened. Returns the file of the Unix socket, if there is one.
fn run(
    runtime: &Runtime,
    opener: Opener,
    state: &SharedState,
    metrics: MetricsSource,
    stop: oneshot::Receiver<()>,
) -> Option<SocketFile> {
    let (changes_sender, changes) = watch::channel(());
    let subscription = Arc::new(changes_sender); // lives as long as this server
    state.subscribe(&subscription, |changes| changes.send_replace(()));
    let context = RouteContext {
        state: state.clone(),
        metrics,
        compressors: Arc::new(Semaphore::new(limits::MAX_COMPRESSORS)),
        scrape_lock: Arc::new(Semaphore::new(1)),
        document_length: Arc::default(),
        liveness: Arc::new(LivenessCheck::new(state.clone())),
        changes,
        event_permits: Arc::new(Semaphore::new(limits::MAX_EVENT_CLIENTS)),
        is_local: false,
        render_lock: Arc::new(Semaphore::new(1)),
    };
    let guard = runtime.enter();
    let tcp = opener.tcp();
    let has_tcp = tcp.is_some();
    if let Some(listener) = tcp {
        let hosts = AllowedHosts::new(&opener.settings.allowed_hosts);
        let access = opener.settings.web_access.clone().unwrap_or_default();
        let gate = Gate::new(access, Arc::clone(&opener.warn));
        let router = routes::router(context.clone())
            .layer(from_fn_with_state(gate.clone(), refuse_strangers))
            .layer(from_fn_with_state(hosts, refuse_other_hosts));
        runtime.spawn(serve::serve(listener, router, gate, limits::MAX_TCP_CONNECTIONS));
    }
    // Opened by another task, so that it delays neither TCP nor the stop.
    let file = Arc::new(Mutex::new(None));
    let opened_file = Arc::clone(&file);
    let warn = Arc::clone(&opener.warn);
    let unix = runtime.spawn(async move {
        if let Some((listener, file)) = opener.unix().await {
            *lock(&opened_file) = Some(file);
            // Remote clients cannot use up the permits of local ones.
            let event_permits = Arc::new(Semaphore::new(limits::MAX_SOCKET_EVENT_CLIENTS));
            let router = routes::router(RouteContext { event_permits, is_local: true, ..context });
            let open = Gate::new(Arc::default(), warn);
            serve::serve(listener, router, open, limits::MAX_SOCKET_CONNECTIONS).await;
        }
    });
    // A dropped sender stops it too. Without any listener nobody needs this thread.
    if has_tcp {
        let _ = runtime.block_on(stop);
    } else {
        let _ = runtime.block_on(select(stop, unix));
    }
    drop(guard);
    lock(&file).take()
}
