//! A drill: one test event for every output, and what became of it at each. An output makes one attempt, without
//! retries, and tells its [`Receipt`] the result. Nothing waits for an output: at the deadline those without a result
//! have timed out, and what still waits in their queues is not sent any more.

use super::lock;
use crate::render::drill::{DrillReport, DrillResult, OutputReport};
use crate::render::escape::{escape_os, one_line};
use crate::render::timestamp::rfc3339;
use platform::{DeviceNumber, Mount, MountKey, ShortenedNames};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;
use tokio::time::timeout_at;

/// A drill ends after this time: the command that requested it ends within 10 s.
pub const DRILL_TIMEOUT: Duration = Duration::from_secs(9);
/// An attempt ends so long before the drill.
const REPORT_MARGIN: Duration = Duration::from_millis(500);
/// Minimum time between the beginnings of two drills: more than one lasts, so that there is one at a time, and so that
/// users who may request them cannot flood the receivers.
pub const DRILL_INTERVAL: Duration = Duration::from_secs(10);

/// Clones are handles of the same drill.
#[derive(Clone, Debug)]
pub struct Drill(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    mountpoint: PathBuf,
    time: SystemTime,
    begun: Instant,
    outputs: Mutex<Outputs>,
    changed: Notify,
}

#[derive(Default, Debug)]
struct Outputs {
    all: Vec<OutputState>,
    /// Whether all outputs are known.
    is_dispatched: bool,
}

#[derive(Debug)]
struct OutputState {
    output: &'static str,
    name: Option<String>,
    target: String,
    result: Option<(Outcome, Duration)>,
}

/// What became of the event at one output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Accepted,
    Sent,
    /// With what is missing.
    NobodyListening(Option<String>),
    Failed(String),
}

impl Drill {
    pub(super) fn new(mountpoint: PathBuf) -> Drill {
        Drill(Arc::new(Shared {
            mountpoint,
            time: SystemTime::now(),
            begun: Instant::now(),
            outputs: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// The mount point of the pretended mount.
    pub(super) fn mountpoint(&self) -> &Path {
        &self.0.mountpoint
    }

    pub(super) fn time(&self) -> SystemTime {
        self.0.time
    }

    /// It is over: no output gets it any more.
    pub(super) fn has_ended(&self) -> bool {
        self.0.begun.elapsed() >= DRILL_TIMEOUT
    }

    /// Adds an output, which has to tell the receipt its result.
    pub(super) fn expect(&self, output: &'static str, target: impl Into<String>) -> Receipt {
        self.expect_named(output, None, target.into())
    }

    pub(super) fn expect_hook(&self, name: &str, target: String) -> Receipt {
        self.expect_named("hook", Some(name.to_owned()), target)
    }

    fn expect_named(&self, output: &'static str, name: Option<String>, target: String) -> Receipt {
        let target = one_line(&target).into_owned();
        let all = &mut lock(&self.0.outputs).all;
        all.push(OutputState { output, name, target, result: None });
        Receipt { drill: self.clone(), index: all.len() - 1 }
    }

    /// All outputs have been added.
    pub(super) fn set_dispatched(&self) {
        lock(&self.0.outputs).is_dispatched = true;
        self.0.changed.notify_one();
    }

    /// Waits for all results, at most until the deadline. `None` if the drill did not reach the outputs.
    pub(super) async fn finish(&self) -> Option<DrillReport> {
        let deadline = self.0.begun + DRILL_TIMEOUT;
        while !self.is_complete() && timeout_at(deadline.into(), self.0.changed.notified()).await.is_ok() {}
        self.report()
    }

    fn is_complete(&self) -> bool {
        let outputs = lock(&self.0.outputs);
        outputs.is_dispatched && outputs.all.iter().all(|output| output.result.is_some())
    }

    pub(super) fn report(&self) -> Option<DrillReport> {
        let outputs = lock(&self.0.outputs);
        let all = outputs.all.iter().map(OutputState::report).collect();
        let mountpoint = escape_os(&self.0.mountpoint).into_owned();
        let report = DrillReport::new(mountpoint, rfc3339(self.0.time), self.0.begun.elapsed(), all);
        outputs.is_dispatched.then_some(report)
    }
}

impl OutputState {
    fn report(&self) -> OutputReport {
        let seconds = DRILL_TIMEOUT.as_secs();
        let timed_out = || (DrillResult::TimedOut, Some(format!("no result in {seconds}s")), DRILL_TIMEOUT);
        let (result, detail, took) = self.result.as_ref().map_or_else(timed_out, |(outcome, took)| {
            let (result, detail) = match outcome {
                Outcome::Accepted => (DrillResult::Accepted, None),
                Outcome::Sent => (DrillResult::Sent, None),
                Outcome::NobodyListening(why) => (DrillResult::NobodyListening, why.clone()),
                Outcome::Failed(why) => (DrillResult::Failed, Some(why.clone())),
            };
            (result, detail, *took)
        });
        OutputReport {
            output: self.output.to_owned(),
            name: self.name.clone(),
            target: self.target.clone(),
            result,
            detail: detail.map(|text| one_line(&text).into_owned()),
            took_seconds: (took.as_secs_f64() * 1e6).round() / 1e6,
        }
    }
}

/// A mount that does not exist.
pub(super) fn pretended_mount(mountpoint: &Path) -> Mount {
    Mount {
        key: MountKey(0),
        id: 0,
        parent: 0,
        device_number: DeviceNumber { major: 0, minor: 0 },
        root: "/".into(),
        mountpoint: mountpoint.as_os_str().into(),
        fstype: "drill".into(),
        device: "drill".into(),
        options: "rw".into(),
        super_options: "rw".into(),
        connection_owner: None,
        shortened: ShortenedNames::default(),
    }
}

/// Where one output says what became of the event. If it is dropped before, so was the event.
#[derive(Debug)]
pub(super) struct Receipt {
    drill: Drill,
    index: usize,
}

impl Receipt {
    /// The drill is over: the event is not sent any more.
    pub(super) fn has_expired(&self) -> bool {
        self.drill.has_ended()
    }

    /// The timeout of an attempt that begins now: its error comes in time for the report.
    pub(super) fn timeout(&self) -> Duration {
        DRILL_TIMEOUT.saturating_sub(self.drill.0.begun.elapsed() + REPORT_MARGIN)
    }

    /// Only the first result counts.
    pub(super) fn finish(&self, outcome: Outcome) {
        let shared = &self.drill.0;
        let result = (outcome, shared.begun.elapsed());
        lock(&shared.outputs).all[self.index].result.get_or_insert(result);
        shared.changed.notify_one();
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.finish(Outcome::Failed("it was dropped before it was sent".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(drill: &Drill) -> Option<DrillReport> {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(drill.finish())
    }

    #[test]
    fn first_result_counts_and_a_dropped_event_is_a_failure() {
        let drill = Drill::new("/a\nb".into());
        let [one, two, three] = ["a", "b", "c"].map(|output| drill.expect(output, "x\ty"));
        one.finish(Outcome::Accepted);
        one.finish(Outcome::Failed("later".to_owned()));
        drop([one, two]);
        three.finish(Outcome::NobodyListening(None));
        drill.set_dispatched();
        let report = finish(&drill).unwrap();
        assert_eq!((report.mountpoint.as_str(), report.ok), ("/a\\012b", false));
        let results: Vec<_> = report.outputs.iter().map(|output| output.result).collect();
        assert_eq!(results, [DrillResult::Accepted, DrillResult::Failed, DrillResult::NobodyListening]);
        assert_eq!(report.outputs[0].target, "x\\011y");
        assert_eq!(report.outputs[1].detail.as_deref(), Some("it was dropped before it was sent"));
    }

    #[test]
    fn drill_that_reaches_no_output_has_no_report() {
        let drill = Drill::new("/x".into());
        let _receipt = drill.expect("a", "");
        assert_eq!((drill.report(), drill.is_complete()), (None, false));
    }
}
