//! A stream whose writes fail when they make no progress for too long: a peer that stops reading is disconnected.

use super::limits::WRITE_TIMEOUT;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// The timeout of one connection, in seconds. Handlers change it for their responses.
#[derive(Clone, Debug)]
pub(super) struct WriteTimeout(Arc<AtomicU64>);

impl WriteTimeout {
    pub(super) fn new() -> WriteTimeout {
        WriteTimeout(Arc::new(AtomicU64::new(WRITE_TIMEOUT.as_secs())))
    }

    pub(super) fn set(&self, timeout: Duration) {
        self.0.store(timeout.as_secs(), Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

pub(super) struct TimeoutStream<S> {
    stream: S,
    timeout: WriteTimeout,
    timer: Pin<Box<Sleep>>,
    is_blocked: bool,
}

impl<S> TimeoutStream<S> {
    pub(super) fn new(stream: S, timeout: WriteTimeout) -> TimeoutStream<S> {
        let timer = Box::pin(sleep(timeout.get()));
        TimeoutStream { stream, timeout, timer, is_blocked: false }
    }

    /// Returns the result of a write, or an error if writes have been pending for longer than the timeout.
    fn check<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.is_blocked = false;
            return result;
        }
        if !self.is_blocked {
            self.is_blocked = true;
            let deadline = Instant::now() + self.timeout.get();
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.check(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.check(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.check(context, result)
    }
}
