//! The outcome of one event at one hook.

use crate::output::DrillOutcome;
use platform::command::RunningCommand;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HookOutcome {
    /// The command exited with 0, or the server accepted the request.
    Ok,
    /// The command did not start or exited otherwise, or the server refused the request.
    Failed,
    /// The command did not exit, or the server did not respond, in time.
    Timeout,
    /// It did not run or was cancelled, because the queue was full or the daemon stopped.
    Dropped,
}

impl HookOutcome {
    /// The values of the label `outcome`, in the order of the variants.
    pub(super) const LABELS: [&str; 4] = ["ok", "failed", "timeout", "dropped"];
}

/// The result of one run.
#[derive(Debug)]
pub(super) struct HookResult {
    pub(super) outcome: HookOutcome,
    /// Why it failed; empty if it did not.
    pub(super) text: String,
    /// A command that was killed and has not exited.
    pub(super) stranded: Option<RunningCommand>,
}

impl HookResult {
    pub(super) const fn ok() -> HookResult {
        HookResult::new(HookOutcome::Ok, String::new())
    }

    pub(super) const fn failed(text: String) -> HookResult {
        HookResult::new(HookOutcome::Failed, text)
    }

    pub(super) fn cancelled() -> HookResult {
        HookResult::new(HookOutcome::Dropped, "the daemon stops".to_owned())
    }

    /// What a drill says about it.
    pub(super) fn of_drill(&self) -> DrillOutcome {
        match self.outcome {
            HookOutcome::Ok => DrillOutcome::Accepted,
            _ => DrillOutcome::Failed(self.text.clone()),
        }
    }

    pub(super) const fn new(outcome: HookOutcome, text: String) -> HookResult {
        HookResult { outcome, text, stranded: None }
    }
}
