//! What goes into the monitor and what comes out.

use super::{Event, Reading};
use platform::evidence::Evidence;
use platform::{Call, DeviceNumber, Mount, MountTable, ProbeOutcome, Target};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Names one probe for as long as the daemon runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProbeId(pub u64);

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// The kernel says that the mount table changed.
    TableChanged,
    /// The kernel says that a file server does not answer, and not which.
    ServerNotResponding,
    /// A reading of the mount table; `whole` unless it may lack changes of options and paths.
    MountTable {
        /// The mounts.
        table: MountTable,
        /// Does it show everything?
        whole: bool,
    },
    /// What the last reading, with all that followed from it in this process, cost.
    TableCost {
        /// Time spent.
        spent: Duration,
        /// Was it a whole reading?
        whole: bool,
    },
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
    /// Only time has passed.
    Tick,
}

/// Something to be done outside. Carried out in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Read the mount table and hand it in.
    ReadTable(Reading),
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
