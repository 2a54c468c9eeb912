//! What goes into the monitor and what comes out.

use super::{Event, Expected, Policy};
use platform::evidence::Evidence;
use platform::{Call, DeviceNumber, Mount, MountTable, ProbeOutcome, Target};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Names one probe for as long as the daemon runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProbeId(pub u64);

/// Something that happened outside.
#[derive(Debug)]
pub enum Input {
    /// The kernel says that a file server does not answer, and not which.
    ServerNotResponding,
    /// The mount table was read.
    TableUpdate(MountTable),
    /// A probe ended with an outcome, in time or late.
    ProbeResponded {
        /// Which.
        probe: ProbeId,
        /// How.
        outcome: ProbeOutcome,
        /// How long its calls took.
        took: Duration,
    },
    /// The prober confirms that a probe is inside a call.
    ProbeStuck {
        /// Which.
        probe: ProbeId,
        /// The call.
        call: Call,
        /// For how long its thread has been at it.
        elapsed: Duration,
    },
    /// A probe ended without saying anything about its mount: its prober died, did not start or does not respond.
    ProbeAborted {
        /// Which.
        probe: ProbeId,
    },
    /// A condemned probe resists SIGKILL.
    ProbeStranded {
        /// Which.
        probe: ProbeId,
    },
    /// A condemned probe is gone without an answer: its mount may be asked again.
    ProbeFreed {
        /// Which.
        probe: ProbeId,
    },
    /// A part of the evidence about a file system.
    EvidenceFound {
        /// Which.
        superblock: DeviceNumber,
        /// What was learned.
        evidence: Box<Evidence>,
    },
    /// No more will come of the evidence that was to be collected.
    EvidenceEnded {
        /// About which.
        superblock: DeviceNumber,
    },
    /// Somebody wants fresh evidence about what is dead at these mount points.
    EvidenceRequested {
        /// Which.
        mountpoints: Vec<PathBuf>,
    },
    /// The kernel's client says something of a server.
    ServerStatusHint {
        /// Its name, as mounts have it.
        server: Vec<u8>,
        /// That it responds again, or that it does not.
        responds: bool,
    },
    /// This process was not running for that long: whatever was waited for gets the time back.
    Stalled(Duration),
    /// The configuration was loaded again.
    Reconfigured(MonitorConfig),
}

/// What the operator configures.
pub struct MonitorConfig {
    /// From one run to the next.
    pub poll_interval: Duration,
    /// Which mounts are watched, and how.
    pub policy: Policy,
    /// Mounts that have to be there.
    pub expected: Vec<Arc<Expected>>,
}

impl fmt::Debug for MonitorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorConfig").field("poll_interval", &self.poll_interval).finish_non_exhaustive()
    }
}

/// Why the mount table may be out of date.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TableDoubt {
    /// A run has started: a good moment to read it in full, for not every change causes an event.
    RunStarted,
    /// A probe's response contradicts it, or an expected mount is missing in it.
    Contradicted,
}

/// Something to be done outside. Carried out in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Ask this mount.
    StartProbe {
        /// Under this name.
        probe: ProbeId,
        /// The mount.
        target: Arc<Target>,
    },
    /// This probe is overdue: ask its prober whether it is really inside a call.
    ConfirmHang {
        /// Which.
        probe: ProbeId,
    },
    /// The verdict on this probe is spoken: get rid of it.
    AbandonProbe {
        /// Which.
        probe: ProbeId,
    },
    /// Collect evidence about this mount's file system. `EvidenceEnded` follows, and before it what is found.
    CollectEvidence {
        /// One of its mounts.
        mount: Arc<Mount>,
        /// The table's ids of all of them.
        mount_ids: Vec<u32>,
        /// The probe that waits for it, which can be looked at while it is there.
        probe: Option<ProbeId>,
        /// Does it hang, and no other file system of its kind?
        alone: bool,
        /// For how long its server may be waited for.
        patience: Duration,
    },
    /// Tell people.
    Report(Event),
}
