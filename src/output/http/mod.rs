//! The HTTP server: metrics, the API, the status page, over TCP and over a Unix socket.
//!
//! One thread with a runtime of its own. It sees the daemon through [`SharedState`] alone, the latest snapshot and the last
//! events, so whatever its clients do costs nobody else anything, and what hangs for the daemon does not hang here.
//! Without anything to listen on there is no thread.

mod cache;
mod events;
mod health;
pub(crate) mod limits;
mod listen;
pub(crate) mod mounts;
mod page;
mod reply;
mod routes;
mod serve;
mod stall;

pub use cache::Renderer;

use crate::output::SharedState;
use crate::render::escape::escape_os;
use cache::Cache;
use health::Pulse;
use listen::SocketFile;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};

/// Where the daemon's socket is unless somebody wants it elsewhere.
pub const DEFAULT_SOCKET: &str = platform::DEFAULT_SOCKET;

/// What to listen on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HttpSettings {
    /// The TCP address.
    pub listen: Option<SocketAddr>,
    /// The Unix socket.
    pub socket: SocketChoice,
}

/// Which Unix socket.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SocketChoice {
    /// None.
    Off,
    /// The usual one if it can be made; if not, nobody has asked for it.
    #[default]
    Usual,
    /// This one.
    At(PathBuf),
}

impl SocketChoice {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            SocketChoice::Off => None,
            SocketChoice::Usual => Some(Path::new(DEFAULT_SOCKET)),
            SocketChoice::At(path) => Some(path),
        }
    }
}

/// Tells a warning.
pub type WarnFn = Box<dyn Fn(&str) + Send>;

/// The running server. Dropping it stops it too, without waiting for the end.
#[derive(Debug)]
pub struct Server {
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
    lacks: Arc<AtomicBool>,
}

impl Server {
    /// Is there an address on which it should listen and does not? Then a new start may be worth a try.
    #[must_use]
    pub fn lacks_an_address(&self) -> bool {
        self.lacks.load(Ordering::Relaxed)
    }

    /// Stops it and removes its socket; what hangs is left behind.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.stopped.recv_timeout(limits::STOP_PATIENCE);
    }
}

/// What all requests are answered from.
struct Told {
    live: SharedState,
}

/// What the handlers of one listener share.
#[derive(Clone)]
struct State {
    told: Arc<Told>,
    metrics: Arc<Cache>,
    mounts: Arc<Cache>,
    pulse: Arc<Pulse>,
    news: watch::Receiver<()>,
    event_places: Arc<Semaphore>,
    /// Of answers that are made for one client alone, one is made at a time, and between two of them everybody else
    /// has a turn: many who ask for tables of ten thousand mounts do not delay a scrape.
    costly: Arc<Semaphore>,
}

/// Starts the server, or nothing if there is nothing to listen on. Addresses that cannot be had are told by `warn`.
/// The server `before` it is stopped first, by the new one's thread: nobody here waits for that.
///
/// # Errors
/// When there can be no thread.
pub fn start(
    http: &HttpSettings,
    live: SharedState,
    metrics: Renderer,
    warn: WarnFn,
    before: Option<Server>,
) -> io::Result<Option<Server>> {
    if http.listen.is_none() && http.socket == SocketChoice::Off {
        return Ok(None);
    }
    let (stop, told_to_stop) = oneshot::channel();
    let (tell_stopped, stopped) = mpsc::channel();
    let http = http.clone();
    let lacks = Arc::new(AtomicBool::new(false));
    let lacking = Arc::clone(&lacks);
    thread::Builder::new().name("http".into()).spawn(move || {
        if let Some(before) = before {
            before.stop();
        }
        match Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(runtime) => run(&runtime, &http, &live, metrics, &warn, &lacking, told_to_stop),
            Err(error) => warn(&format!("Cannot start the HTTP server: {error}; continuing without it")),
        }
        let _ = tell_stopped.send(()); // nobody waits for what is not stopped
    })?;
    Ok(Some(Server { stop, stopped, lacks }))
}

fn run(
    runtime: &Runtime,
    http: &HttpSettings,
    live: &SharedState,
    metrics: Renderer,
    warn: &WarnFn,
    lacks: &AtomicBool,
    told_to_stop: oneshot::Receiver<()>,
) {
    let (tcp, unix) = runtime.block_on(open(http, warn, lacks));
    if tcp.is_none() && unix.is_none() {
        return;
    }
    let (tell_news, news) = watch::channel(());
    let bell = Arc::new(tell_news); // held until the end of this server
    live.subscribe(&bell, |bell| bell.send_replace(()));
    let told = Arc::new(Told { live: live.clone() });
    let of_mounts = Arc::clone(&told);
    let state = State {
        told,
        metrics: Arc::new(Cache::new(metrics)),
        mounts: Arc::new(Cache::new(Arc::new(move |snapshot| mounts::whole(&of_mounts, snapshot)))),
        pulse: Arc::new(Pulse::new(live.clone())),
        news,
        event_places: Arc::new(Semaphore::new(limits::EVENT_CLIENTS)),
        costly: Arc::new(Semaphore::new(1)),
    };
    let _guard = runtime.enter();
    if let Some(listener) = tcp {
        let router = routes::router(state.clone());
        runtime.spawn(serve::serve(listener, router, limits::TCP_CONNECTIONS));
    }
    let mut _file = None; // removed last
    if let Some((listener, file)) = unix {
        // Places of its own: whoever follows events from elsewhere leaves them to the people on this machine.
        let event_places = Arc::new(Semaphore::new(limits::SOCKET_EVENT_CLIENTS));
        let router = routes::router(State { event_places, ..state });
        runtime.spawn(serve::serve(listener, router, limits::SOCKET_CONNECTIONS));
        _file = Some(file);
    }
    let _ = runtime.block_on(told_to_stop); // an end without a word is an end, too
}

async fn open(
    http: &HttpSettings,
    warn: &WarnFn,
    lacks: &AtomicBool,
) -> (Option<TcpListener>, Option<(UnixListener, SocketFile)>) {
    let cannot = |what: &str, error: &io::Error| {
        lacks.store(true, Ordering::Relaxed);
        warn(&format!("Cannot listen on {what}: {error}; continuing without it"));
    };
    let tcp = http
        .listen
        .and_then(|address| listen::tcp(address).map_err(|error| cannot(&address.to_string(), &error)).ok());
    let unix = match http.socket.path() {
        None => None,
        Some(path) => match listen::unix(path).await {
            Ok(unix) => Some(unix),
            Err(error) => {
                if http.socket != SocketChoice::Usual {
                    cannot(&escape_os(path), &error);
                }
                None
            }
        },
    };
    (tcp, unix)
}
