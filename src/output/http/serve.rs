//! Connections: accepted up to a limit, each with limits of its own. When all are taken, one that nobody waits for
//! makes room: whoever opens thousands drives out his own.

use super::limits::{ACCEPT_PAUSE, HEADER_BYTES, HEADER_FIELDS, HEADER_TIME};
use super::stall::{Patience, Stalling};
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

/// What connections come from.
pub(super) trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    async fn next(&self) -> io::Result<Self::Stream>;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;
    async fn next(&self) -> io::Result<Self::Stream> {
        let (stream, _) = self.accept().await?;
        // Events are small and wanted now.
        stream.set_nodelay(true).ok();
        Ok(stream)
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;
    async fn next(&self) -> io::Result<Self::Stream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves for ever.
pub(super) async fn serve<A: Accept>(listener: A, router: Router, most: usize) {
    let mut connections = Connections { open: Vec::with_capacity(most), most };
    loop {
        match listener.next().await {
            Ok(stream) => connections.add(stream, &router),
            // The client was faster than we.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // No descriptors, no memory: it stays so for a while, and the listener stays readable.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

struct Connections {
    /// In the order in which they came.
    open: Vec<Connection>,
    most: usize,
}

struct Connection {
    task: AbortHandle,
    busy: Arc<Busy>,
}

/// What a connection is doing.
#[derive(Default)]
struct Busy {
    /// Somebody waits for an answer.
    answering: AtomicBool,
    /// The answer has no end.
    following: AtomicBool,
}

impl Connections {
    fn add(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: &Router) {
        if self.open.len() >= self.most {
            self.open.retain(|connection| !connection.task.is_finished());
        }
        if self.open.len() >= self.most {
            self.make_room();
        }
        let busy = Arc::new(Busy::default());
        let task = tokio::spawn(converse(stream, router.clone(), Arc::clone(&busy))).abort_handle();
        self.open.push(Connection { task, busy });
    }

    /// The oldest that is not in the middle of an answer goes; failing that, the oldest that follows no events.
    fn make_room(&mut self) {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let idle = self.open.iter().position(|connection| !is(&connection.busy.answering));
        let other = || self.open.iter().position(|connection| !is(&connection.busy.following));
        let victim = self.open.remove(idle.or_else(other).unwrap_or(0));
        victim.task.abort();
    }
}

async fn converse<S>(stream: S, router: Router, busy: Arc<Busy>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = Patience::new();
    let io = TokioIo::new(Stalling::new(stream, patience.clone()));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (mut router, busy, patience) = (router.clone(), Arc::clone(&busy), patience.clone());
        async move {
            let answering = Answering::begin(busy);
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(patience);
            let response = router.call(request).await.unwrap_or_else(|never: Infallible| match never {});
            Ok::<_, Infallible>(answering.with(response))
        }
    });
    // How it ended is the client's business: garbage, time-outs and resets are all the same here.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_FIELDS)
        .serve_connection(io, service)
        .await;
}

/// Keeps a connection busy until its answer has been taken over for writing.
struct Answering(Arc<Busy>);

impl Answering {
    fn begin(busy: Arc<Busy>) -> Answering {
        busy.answering.store(true, Ordering::Relaxed);
        Answering(busy)
    }

    fn with(self, response: Response) -> Response {
        let endless = hyper::body::Body::size_hint(response.body()).exact().is_none();
        self.0.following.store(endless, Ordering::Relaxed);
        response.map(|body| Body::new(Answer { body, _answering: self }))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.store(false, Ordering::Relaxed);
    }
}

/// A body that knows when it is done with.
struct Answer {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for Answer {
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
