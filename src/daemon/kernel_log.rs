//! What the kernel log says about file servers, read while there are mounts of such servers.

use crate::monitor::{Input, Time, server_name};
use mio::{Registry, Token};
use platform::MountTable;
use platform::collect::KernelLog;
use platform::evidence::ServerStatusHint;
use std::io;
use std::time::Duration;

/// After a flood of messages the log is not read for this long: what it says then is not about servers.
const FLOOD_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct KernelLogWatch {
    registry: Registry,
    token: Token,
    state: State,
}

enum State {
    Closed,
    Open(KernelLog),
    /// Read again at that time.
    Flooded(KernelLog, Time),
    /// There is none, or this user may not read it: not tried again.
    Unreadable,
}

impl KernelLogWatch {
    pub(super) fn new(registry: Registry, token: Token) -> KernelLogWatch {
        KernelLogWatch { registry, token, state: State::Closed }
    }

    /// Opens or closes the log as this mount table needs it.
    pub(super) fn set_table(&mut self, table: &MountTable) {
        let is_needed = || table.iter().any(|mount| server_name(mount).is_some());
        match self.state {
            State::Closed if is_needed() => {
                self.state = self.open().map_or(State::Unreadable, State::Open);
            }
            State::Open(_) | State::Flooded(..) if !is_needed() => self.state = State::Closed,
            _ => {}
        }
    }

    fn open(&self) -> io::Result<KernelLog> {
        let log = KernelLog::open()?;
        log.register(&self.registry, self.token)?;
        Ok(log)
    }

    pub(super) fn read(&mut self, now: Time) -> Vec<Input> {
        let State::Open(log) = &mut self.state else { return Vec::new() };
        let (hints, is_complete) = log.read_hints();
        if !is_complete {
            let _ = log.deregister(&self.registry); // an error only means useless wake-ups
            if let State::Open(log) = std::mem::replace(&mut self.state, State::Closed) {
                self.state = State::Flooded(log, now + FLOOD_PAUSE);
            }
        }
        let input =
            |hint: ServerStatusHint| Input::ServerStatusHint { server: hint.server, responds: hint.responds };
        hints.into_iter().map(input).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        if let State::Flooded(_, until) = &self.state { Some(*until) } else { None }
    }

    pub(super) fn handle_deadline(&mut self, now: Time) {
        if self.next_deadline().is_some_and(|until| until <= now)
            && let State::Flooded(mut log, _) = std::mem::replace(&mut self.state, State::Unreadable)
        {
            log.skip_to_end();
            if log.register(&self.registry, self.token).is_ok() {
                self.state = State::Open(log);
            }
        }
    }
}
