//! Carrying out the steps of a remedy, each in a child that can be killed.
//!
//! ```text
//!   a thread of the daemon, or a command                child: makes the calls of one step, may wait forever
//!   Remedies -> Action -> running --- request, locks --> process --> steps: umount2, move_mount, mount PATH, …
//!     ^           judge <------------ calls, result <------+            `--> record: intent and outcome in /run
//!     `-- the mount table, before and after
//! ```
//!
//! * [`Remedies`] permits one [`Action`] for a server, and a number for the machine, by locks that the daemon and commands
//!   share. The child holds them too: one that cannot be killed keeps its server locked, whatever becomes of its parent.
//! * `running` is the parent's end of one child. After the deadline the child is killed with the programs that it started.
//!   One that does not end is stranded: no step for its server is made while it exists.
//! * `judge` decides from the mount table what a step has done; what the child says counts only for what the table does
//!   not show.
//! * [`Remedies::attempt`] makes the steps of a plan one after another. What was tried is in `attempt_store`, which the
//!   daemon and commands share.
//! * `steps` are the calls, `mounting` the programs that mount (`mount_unit`: what a unit mounts), `record` what was begun
//!   and done since the machine started.

mod action;
mod attempt;
mod attempt_store;
mod judge;
mod mount_unit;
mod mounting;
pub(super) mod process;
mod record;
mod running;
mod steps;
mod wire;

pub use action::{Action, BeginError, REMEDY_DIRECTORY, Remedies, StepDetails};
pub use attempt::{AttemptEnd, AttemptEvent};
pub use judge::{NotVerified, StepOutcome};
pub use mounting::{HowToMount, SettingsFrom};
pub use record::{RecordedOutcome, RecordedStep, StepRecords, uptime_in};
pub use running::{ChildEnd, StepReport};
pub use wire::{CallError, CallRecord, NamespaceFile, NotMade, Response};
