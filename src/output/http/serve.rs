//! Connections: accepted up to a limit, each with its own limits. At the limit, a new connection replaces an idle one,
//! so a client that opens thousands closes its own.

use super::access::{Gate, Peer};
use super::limits::{ACCEPT_PAUSE, HEADER_TIMEOUT, MAX_HEADER_BYTES, MAX_HEADER_FIELDS};
use super::write_timeout::{TimeoutStream, WriteTimeout};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tower_service::Service as _;

pub(super) trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    async fn next(&self) -> io::Result<(Self::Stream, Peer)>;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;
    async fn next(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, peer) = self.accept().await?;
        stream.set_nodelay(true).ok(); // events are small and must not be delayed
        Ok((stream, Peer(Some(peer))))
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;
    async fn next(&self) -> io::Result<(Self::Stream, Peer)> {
        Ok((self.accept().await?.0, Peer(None)))
    }
}

/// Accepts and serves connections until the runtime stops.
pub(super) async fn serve<A: Accept>(listener: A, router: Router, gate: Gate, max_connections: usize) {
    let mut connections = Connections { open: Vec::with_capacity(max_connections), max: max_connections };
    loop {
        match listener.next().await {
            Ok((stream, peer)) => connections.add(stream, peer, &router, &gate),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of descriptors or memory: the listener stays readable, so an immediate retry would spin.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

struct Connections {
    /// Oldest first.
    open: Vec<Connection>,
    max: usize,
}

struct Connection {
    task: AbortHandle,
    activity: Arc<Activity>,
}

/// Marks the response that is an event stream.
#[derive(Clone, Copy)]
pub(super) struct Endless;

/// What a connection is doing.
#[derive(Default)]
struct Activity {
    is_responding: AtomicBool,
    /// The current response is an event stream.
    is_streaming: AtomicBool,
}

impl Connections {
    fn add<S>(&mut self, stream: S, peer: Peer, router: &Router, gate: &Gate)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if self.open.len() >= self.max {
            self.open.retain(|connection| !connection.task.is_finished());
        }
        if self.open.len() >= self.max {
            self.close_one();
        }
        let activity = Arc::new(Activity::default());
        let (router, gate, of_connection) = (router.clone(), gate.clone(), Arc::clone(&activity));
        let task = tokio::spawn(async move {
            let write_timeout = WriteTimeout::new();
            let stream = TimeoutStream::new(stream, write_timeout.clone());
            let context = (peer, router, of_connection, write_timeout);
            if !gate.is_encrypted() {
                serve_connection(stream, context).await;
            } else if let Some(stream) = gate.handshake(stream, peer).await {
                serve_connection(stream, context).await;
            }
        })
        .abort_handle();
        self.open.push(Connection { task, activity });
    }

    /// Closes the oldest connection that is idle, else the oldest that is not streaming, else the oldest.
    fn close_one(&mut self) {
        let oldest_without = |flag: fn(&Activity) -> &AtomicBool| {
            self.open.iter().position(|connection| !flag(&connection.activity).load(Ordering::Relaxed))
        };
        let index = oldest_without(|activity| &activity.is_responding)
            .or_else(|| oldest_without(|activity| &activity.is_streaming));
        self.open.remove(index.unwrap_or(0)).task.abort();
    }
}

type ConnectionContext = (Peer, Router, Arc<Activity>, WriteTimeout);

async fn serve_connection<S>(stream: S, (peer, router, activity, write_timeout): ConnectionContext)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (mut router, write_timeout) = (router.clone(), write_timeout.clone());
        let guard = InFlightGuard::new(Arc::clone(&activity));
        async move {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(write_timeout);
            request.extensions_mut().insert(peer);
            let response = router.call(request).await.unwrap_or_else(|never: Infallible| match never {});
            Ok::<_, Infallible>(guard.attach(response))
        }
    });
    // Errors (invalid requests, timeouts, resets) concern only the client.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADER_FIELDS)
        .serve_connection(io, service)
        .await;
}

/// Marks a connection as responding, from the request until its response was passed on for writing.
struct InFlightGuard(Arc<Activity>);

impl InFlightGuard {
    fn new(activity: Arc<Activity>) -> InFlightGuard {
        activity.is_responding.store(true, Ordering::Relaxed);
        InFlightGuard(activity)
    }

    fn attach(self, response: Response) -> Response {
        let is_endless = response.extensions().get::<Endless>().is_some();
        self.0.is_streaming.store(is_endless, Ordering::Relaxed);
        response.map(|body| Body::new(GuardedBody { body, _guard: self }))
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.is_responding.store(false, Ordering::Relaxed);
    }
}

struct GuardedBody {
    body: Body,
    _guard: InFlightGuard,
}

impl hyper::body::Body for GuardedBody {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
