//! Why mounts are dead, as far as the loop is concerned: what the monitor wants to know goes to the desk, together
//! with the thread that is stuck; and the kernel log is listened to while there are mounts of servers that it speaks
//! of.

use crate::children::collector::CollectRequest;
use crate::children::collector::CollectorEvent;
use crate::children::collector::CollectorHandle;
use crate::monitor::{Input, ProbeId, Time, server_name};
use mio::{Registry, Token};
use platform::collect::KernelLog;
use platform::{DeviceNumber, Mount, MountTable};
use rustc_hash::FxHashMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A kernel that says so much at once is not listened to for this long: what it says then is not about servers.
const FLOOD_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct EvidenceCoordinator {
    registry: Registry,
    log_token: Token,
    pub(super) desk: CollectorHandle,
    /// Probes whose threads are being located.
    located: FxHashMap<ProbeId, DeviceNumber>,
    log: Log,
}

enum Log {
    /// Nobody has mounts of servers, or it was not tried yet.
    Closed,
    Open(KernelLog),
    /// It said too much; listened to again then.
    Flooded(KernelLog, Time),
    /// This user may not read it, or there is none: not tried again.
    Unreadable,
}

impl EvidenceCoordinator {
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub(super) fn new(
        registry: Registry,
        tokens: (Token, Token),
        program: Option<PathBuf>,
    ) -> io::Result<EvidenceCoordinator> {
        let desk = CollectorHandle::new(registry.try_clone()?, tokens.0, program)?;
        Ok(EvidenceCoordinator {
            registry,
            log_token: tokens.1,
            desk,
            located: FxHashMap::default(),
            log: Log::Closed,
        })
    }

    /// Evidence is wanted; true if the probe's thread is to be located.
    pub(super) fn collect(
        &mut self,
        now: Time,
        mount: &Mount,
        mount_ids: &[u32],
        probe: Option<ProbeId>,
        alone: bool,
        patience: Duration,
    ) {
        self.desk.collect(now, CollectRequest::new(mount, mount_ids, alone, patience));
        if let Some(probe) = probe {
            self.located.insert(probe, mount.device_number);
        }
    }

    /// A probe was found to be stuck there.
    pub(super) fn stuck(&mut self, probe: ProbeId, pid: u32, tid: u32) {
        if let Some(device) = self.located.remove(&probe).filter(|_| tid != 0) {
            self.desk.inspect_thread(device, pid, tid);
        }
    }

    /// A probe is over.
    pub(super) fn over(&mut self, probe: ProbeId) {
        self.located.remove(&probe);
    }

    /// What has been learned since.
    pub(super) fn news(&mut self) -> Vec<CollectorEvent> {
        self.desk.drain_events().collect()
    }

    /// The mount table was read: is there anybody whom the kernel log might speak of?
    pub(super) fn table_was_read(&mut self, table: &MountTable) {
        let wanted = table.iter().any(|mount| server_name(mount).is_some());
        match (&self.log, wanted) {
            (Log::Closed, true) => {
                let opened = KernelLog::open()
                    .and_then(|log| log.register(&self.registry, self.log_token).map(|()| log));
                self.log = opened.map_or(Log::Unreadable, Log::Open);
            }
            (Log::Open(_) | Log::Flooded(..), false) => self.log = Log::Closed,
            (Log::Closed | Log::Unreadable, false) => {}
            (Log::Open(_) | Log::Flooded(..) | Log::Unreadable, true) => {}
        }
    }

    /// There is something new in the kernel log.
    pub(super) fn log_is_readable(&mut self, now: Time) -> Vec<Input> {
        let Log::Open(log) = &mut self.log else { return Vec::new() };
        let (signs, all) = log.read_hints();
        if !all {
            // Closing would do the same; an error here only means that it wakes us for nothing.
            let _ = log.deregister(&self.registry);
            if let Log::Open(log) = std::mem::replace(&mut self.log, Log::Closed) {
                self.log = Log::Flooded(log, now + FLOOD_PAUSE);
            }
        }
        let input = |sign: platform::collect::ServerStatusHint| Input::ServerStatusHint {
            server: sign.server,
            responds: sign.responds,
        };
        signs.into_iter().map(input).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let log = if let Log::Flooded(_, until) = &self.log { Some(*until) } else { None };
        self.desk.next_deadline().into_iter().chain(log).min()
    }

    pub(super) fn handle_deadline(&mut self, now: Time) {
        self.desk.handle_deadline(now);
        if matches!(&self.log, Log::Flooded(_, until) if *until <= now)
            && let Log::Flooded(mut log, _) = std::mem::replace(&mut self.log, Log::Unreadable)
        {
            log.skip_to_end();
            if log.register(&self.registry, self.log_token).is_ok() {
                self.log = Log::Open(log);
            }
        }
    }
}
