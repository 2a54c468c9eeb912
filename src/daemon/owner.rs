//! What the loop needs of whoever runs it, and what it gives back.

use crate::monitor::{Event, Expected, Monitor, Policy, ProbeSettings, Status, Time};
use crate::output::SharedState;
use crate::render::Priority;
use mio::Waker;
use platform::{MountNamespace, MountTable};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// Whom the loop tells what happens, and who may come to want something else while it runs.
pub trait Owner {
    /// Something happened.
    fn told(&mut self, time: SystemTime, told: Told<'_>);

    /// How the loop is woken up to ask for wishes.
    fn wake_with(&mut self, _waker: Arc<Waker>) {}

    /// SIGHUP came. Whoever has no use for it is to be ended by it, as by a terminal that is closed.
    fn hung_up(&mut self) -> Ended {
        Ended(true)
    }

    /// Was something asked for by SIGHUP that [`Owner::wishes`] has not answered yet?
    fn is_reloading(&self) -> bool {
        false
    }

    /// What is wanted from now on, if that is something else. `table` is the present one.
    fn wishes(&mut self, _table: &MountTable) -> Option<ConfigUpdate> {
        None
    }
}

impl<F: FnMut(SystemTime, Told<'_>)> Owner for F {
    fn told(&mut self, time: SystemTime, told: Told<'_>) {
        self(time, told);
    }
}

/// Is the loop to end?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended(pub bool);

/// Which mounts are watched from now on, and how.
pub struct ConfigUpdate {
    /// How, where there is no rule.
    pub settings: ProbeSettings,
    /// Which, and how.
    pub policy: Policy,
    /// Which have to be there.
    pub expected: Vec<Arc<Expected>>,
}

/// What to watch, and how.
pub struct Options {
    /// How mounts are watched for which there is no rule.
    pub settings: ProbeSettings,
    /// Which mounts, and how.
    pub policy: Policy,
    /// Which mounts have to be there.
    pub expected: Vec<Arc<Expected>>,
    /// The program to start probers from, if it is not this one.
    pub prober: Option<PathBuf>,
    /// Where to show what is known, if anybody serves it.
    pub live: Option<SharedState>,
    /// The mount namespace to watch, if it is not our own.
    pub namespace: Option<MountNamespace>,
    /// What keeps this machine apart from others; see [`Monitor::spread`].
    pub seed: u64,
}

/// Is shown what is known.
pub type ProgressCallback<'a> = &'a mut dyn FnMut(&Status, Time);

/// What the daemon runs for.
pub enum RunMode<'a> {
    /// To watch until a signal ends it.
    Watch,
    /// To judge every mount once. Whoever looks on is shown what is known, a few times a second.
    Once(Option<ProgressCallback<'a>>),
    /// The same, and to wait for the evidence about those that are dead.
    Explain,
}

/// How it ended.
pub struct RunResult {
    /// What is known in the end.
    pub status: Status,
    /// When that was.
    pub at: Time,
    /// Mounts about which nothing could be learned in the last run.
    pub unjudged: usize,
    /// Did a signal end it?
    pub interrupted: bool,
    /// Is the mount namespace that was watched no more?
    pub namespace_ended: bool,
}

/// Something for people: an event of a mount, or news of the daemon itself.
pub enum Told<'a> {
    /// An event, and the monitor at that moment.
    Event(&'a Event, &'a Monitor),
    /// A sentence.
    Notice(Priority, String),
}
