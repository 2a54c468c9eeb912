//! The launchers: the processes that start the other children from memory, so that they start while the storage of the
//! program hangs. The event loop never waits for them: one that does not work is killed, and the second takes over and
//! starts another one. Without a launcher, children are started from the file of the program.

use crate::backoff::Backoff;
use crate::monitor::Time;
use platform::process::{self, ExitStatus, launcher_process};
use std::io;
use std::time::Duration;

/// The launcher starts a child within a millisecond; this allows for a busy machine. It is much less than the timeout
/// of a probe, so that a launcher that is stopped delays no judgement by an interval.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// An event loop that wakes later than this after its deadline was suspended, and perhaps the launcher with it: the wait
/// starts anew.
const MAX_LATENESS: Duration = Duration::from_millis(250);
const MIN_RESTART_PAUSE: Duration = Duration::from_secs(1);
/// A launcher that cannot be started is hardly missed: children are started from the file.
const MAX_RESTART_PAUSE: Duration = Duration::from_secs(60);

/// Makes this process independent of the storage of its program, and starts a launcher. Must be called before any
/// thread is started.
///
/// # Errors
/// The system refuses. The process goes on from its file.
pub(crate) fn run_from_memory() -> io::Result<()> {
    process::run_from_memory()?;
    launcher_process::start(super::run)
        .map_err(|error| io::Error::new(error.kind(), format!("no launcher: {error}")))
}

/// The event loop's view of the launchers.
pub(crate) struct LauncherWatch {
    /// The oldest request without an answer, and when it was first seen.
    waiting: Option<(u64, Time)>,
    restart_at: Option<Time>,
    restarts: Backoff<Time>,
}

/// What an operator should know about the launcher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LauncherNotice {
    /// It ended, and another one is ready or not.
    Ended { how: ExitStatus, has_other: bool },
    /// It did not start a child in time; it is killed.
    Unresponsive,
}

impl LauncherWatch {
    pub(crate) fn new() -> LauncherWatch {
        LauncherWatch {
            waiting: None,
            restart_at: process::runs_from_memory().then(Time::default), // the second one
            restarts: Backoff::new(MIN_RESTART_PAUSE, MAX_RESTART_PAUSE),
        }
    }

    /// Must be called at the end of each turn of the event loop.
    pub(crate) fn check(&mut self, now: Time) -> Option<LauncherNotice> {
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            if launcher_process::complete().is_err() {
                self.restart_at = Some(now + self.restarts.next(now));
            }
        }
        self.waiting = launcher_process::oldest_request().map(|request| match self.waiting {
            Some((before, since)) if before == request => (request, since),
            _ => (request, now),
        });
        let (request, since) = self.waiting.as_mut()?;
        if now < *since + ANSWER_TIMEOUT {
            return None;
        }
        if now >= *since + ANSWER_TIMEOUT + MAX_LATENESS {
            *since = now;
            return None;
        }
        launcher_process::kill(*request);
        self.waiting = None;
        Some(LauncherNotice::Unresponsive)
    }

    /// Must be called after a SIGCHLD, before the other children are reaped: those that it did not start end with it.
    pub(crate) fn reap(&mut self, now: Time) -> Option<LauncherNotice> {
        let mut notice = None;
        while let Some((how, has_other)) = launcher_process::try_reap() {
            self.waiting = None;
            self.restart_at = Some(now + self.restarts.next(now));
            notice = notice.or(self.restarts.has_grown().then_some((how, has_other)));
        }
        notice.map(|(how, has_other)| LauncherNotice::Ended { how, has_other })
    }

    /// When [`LauncherWatch::check`] must be called next.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let answer = self.waiting.map(|(_, since)| since + ANSWER_TIMEOUT);
        self.restart_at.into_iter().chain(answer).min()
    }
}
