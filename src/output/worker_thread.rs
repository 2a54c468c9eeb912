//! Threads of outputs that run asynchronous code: starts, wakes and stops them.

use super::lock;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Instant;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::sleep_until;

/// The handle of a thread. Dropping it does not stop the thread.
#[derive(Debug)]
pub(super) struct WorkerThread {
    /// Nothing is sent: the channel is disconnected when the thread ends.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl WorkerThread {
    /// Names are looked up and files are read in at most `blocking_threads` additional threads.
    pub(super) fn runtime(blocking_threads: usize) -> io::Result<Runtime> {
        Builder::new_current_thread().enable_all().max_blocking_threads(blocking_threads).build()
    }

    pub(super) fn start(
        name: &str,
        runtime: Runtime,
        run: impl FnOnce(&Runtime) + Send + 'static,
    ) -> io::Result<WorkerThread> {
        let (end, ended) = mpsc::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            run(&runtime);
            drop(end);
            runtime.shutdown_background(); // a lookup of a name may hang
        })?;
        Ok(WorkerThread { ended: Mutex::new(ended) })
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.ended).try_recv() == Err(mpsc::TryRecvError::Disconnected)
    }

    /// Waits for the end of the thread, at most until the deadline.
    pub(super) fn wait(&self, deadline: Instant) {
        let _ = lock(&self.ended).recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Wakes and stops the one task of a thread.
#[derive(Debug, Default)]
pub(super) struct Signals {
    wake: Notify,
    is_stopping: AtomicBool,
}

impl Signals {
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Returns after [`Signals::wake`], which may have been called before, or at this time.
    pub(super) async fn woken(&self, until: Option<Instant>) {
        let Some(until) = until else { return self.wake.notified().await };
        tokio::select! {
            () = self.wake.notified() => {}
            () = sleep_until(until.into()) => {}
        }
    }

    pub(super) async fn stopped(&self) {
        while !self.is_stopping() {
            self.wake.notified().await;
        }
    }
}
