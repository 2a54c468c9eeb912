//! The state and the decisions of the monitor. Pure: no I/O, no clock, no threads, no logging. Time is an argument,
//! decisions are [`Effect`]s; `daemon` executes them and feeds the results back.
//!
//! Components own their data, and the compiler prevents access by others:
//! * `registry`: the mount table, an entry for each watched mount, superblocks, visibility and health
//! * `scheduler`: which mount is probed when, runs, back-off, probes in flight
//! * `health`: the health of a mount, and the meaning of a probe's outcome (`classify`)
//! * `budgets`: what the mounts of each foreign user may cost
//! * `reports`: what was reported about each mount, and reminders
//! * `expected`: mounts that must exist
//! * `data_path`: what rules want to be read or written, and when
//! * `mount_options`: mounts whose options are other than expected
//! * `evidence`: when evidence is collected, and what was found
//! * `server_hints`: what the kernel reports about servers
//! * `unjudged`: which mounts were not judged for too long
//! * [`remedy`]: what could be done about a dead mount, and what forbids it
//!
//! [`Monitor::handle`] and [`Monitor::settle`] connect them, with one file for each kind of input: `table`, `probing`,
//! `responses`, `collecting`, `early_signs`. [`Monitor::status`] is in `status`. `saved` is what is left for the next daemon,
//! which `restoring` applies.

mod budgets;
mod collecting;
mod counters;
mod data_path;
mod early_signs;
mod event;
mod evidence;
mod expected;
mod flapping;
mod health;
mod id_map;
mod interface;
mod mount_options;
mod probing;
mod registry;
pub mod remedy;
mod reports;
mod responses;
mod restoring;
mod saved;
mod scheduler;
mod server_hints;
mod severity;
mod status;
mod statuses;
mod table;
#[doc(hidden)]
pub mod testing;
mod time;
mod timers;
mod unjudged;

pub use budgets::UserNotice;
pub use counters::{Counters, DURATION_BOUNDS, Durations, FsCounters};
pub use data_path::{DataPath, DataPathPolicy, DataPathStatus};
pub use early_signs::SignSubjects;
pub use event::Event;
pub use evidence::{EvidenceRecord, host_end, server_name};
pub use expected::{Expected, ExpectedStatus};
pub use health::{Failure, Health, Reason};
pub(crate) use id_map::IdMap;
pub use interface::{Effect, Input, PROOF_TIME, ProbeId, ProbeSelection, TableDoubt};
pub use interface::{FlapSettings, Flapping, LastResponse, LastRun, MountStatus, Status};
pub use interface::{MonitorConfig, MountSettings, Policy, ProbeSettings};
pub use mount_options::{ExpectedOptions, OptionDifference, OptionsPolicy, UnexpectedOptions};
pub use registry::{Change, diff};
pub use reports::ReportState;
pub use saved::{SavedHealth, SavedIdentity, SavedName, SavedStatus};
pub(crate) use scheduler::splitmix64;
pub use severity::Severity;
pub use statuses::MountStatuses;
pub use time::Time;

use budgets::{EventBudget, SignBudget, WatchBudget};
use counters::CounterTable;
use data_path::DataPaths;
use evidence::EvidencePolicy;
use expected::ExpectedMounts;
use mount_options::MountOptions;
use platform::{MountKey, MountTree, User};
use registry::{MountEntry, Registry};
use remedy::DeadMount;
use reports::Reports;
use scheduler::{Due, Scheduler};
use server_hints::ServerHints;
use std::collections::VecDeque;
use std::sync::Arc;
use unjudged::UnjudgedCheck;

/// The state machine. Feed it with [`Monitor::handle`], call [`Monitor::settle`], execute [`Monitor::next_effect`]
/// until there is none, and come back at [`Monitor::next_deadline`] at the latest.
pub struct Monitor {
    policy: Policy,
    /// Those of the last mount that was looked at.
    last_settings: Arc<MountSettings>,
    searches_every_directory: bool,
    registry: Registry,
    scheduler: Scheduler,
    reports: Reports,
    expected: ExpectedMounts,
    options: MountOptions,
    data_paths: DataPaths,
    evidence: EvidencePolicy,
    hints: ServerHints,
    watch_budget: WatchBudget,
    event_budget: EventBudget,
    sign_budget: SignBudget,
    counters: CounterTable,
    unjudged: UnjudgedCheck,
    last_run: Option<LastRun>,
    /// The mounts in the last status.
    statuses: MountStatuses,
    table_doubt: Option<TableDoubt>,
    /// What an earlier daemon has left; applied with the first mount table.
    saved: Option<SavedStatus>,
    effects: VecDeque<Effect>,
    /// The time of the last call, or of the one that is under way.
    now: Time,
}

impl Monitor {
    /// A monitor that starts its first run with the first mount table.
    ///
    /// `seed` makes this machine differ from others that started at the same moment or lost the same server: each should
    /// have its own. The second run then follows at some point within the interval after the first, and pauses before
    /// retries are slightly shorter. 0 changes nothing.
    pub fn new(config: MonitorConfig, seed: u64) -> Monitor {
        let mut expected = ExpectedMounts::default();
        expected.replace(config.expected);
        Monitor {
            policy: config.policy,
            last_settings: Arc::default(),
            searches_every_directory: config.searches_every_directory,
            registry: Registry::default(),
            scheduler: Scheduler::new(config.poll_interval, seed),
            reports: Reports::default(),
            expected,
            options: MountOptions::new(config.expected_options),
            data_paths: DataPaths::new(config.data_paths),
            evidence: EvidencePolicy::default(),
            hints: ServerHints::default(),
            watch_budget: WatchBudget::default(),
            event_budget: EventBudget::default(),
            sign_budget: SignBudget::default(),
            counters: CounterTable::default(),
            unjudged: UnjudgedCheck::default(),
            last_run: None,
            statuses: MountStatuses::default(),
            table_doubt: None,
            saved: None,
            effects: VecDeque::new(),
            now: Time::default(),
        }
    }

    /// Processes an input. Time never runs backwards.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.now = now;
        match input {
            Input::TableUpdate(update) => self.update_table(now, update),
            Input::ProbeResponded { probe, outcome, took } => self.on_response(now, probe, &outcome, took),
            Input::ProbeStuck { probe, call, elapsed } => self.on_probe_stuck(now, probe, call, elapsed),
            Input::ProbeAborted { probe } => self.on_probe_aborted(now, probe),
            Input::ProbeFreed { probe } => self.on_probe_freed(now, probe),
            Input::EvidenceFound { superblock, evidence } => {
                self.on_evidence_found(now, superblock, *evidence);
            }
            Input::EvidenceEnded { superblock } => self.on_evidence_ended(superblock),
            Input::EvidenceRequested { mountpoints } => self.collect_on_request(now, &mountpoints),
            Input::ProbesRequested(selection) => self.probe_on_request(now, &selection),
            Input::ServerStatusHint { server, responds } => self.on_server_hint(now, &server, responds),
            Input::StorageStall(storage) => self.on_storage_stall(now, storage),
            Input::EarlySigns(signs) => self.on_early_signs(now, &signs),
            Input::ServerNotResponding => self.on_server_stall(now),
            Input::Reconfigured(config) => self.reconfigure(now, config),
            Input::Stalled(lost) => {
                self.scheduler.probes.extend_deadlines(now, lost);
                self.mark_waiting();
                self.unjudged.on_stall(now, lost);
            }
            Input::Resumed => self.resume(now),
        }
    }

    /// Does what is due by `now`. Must be called after all inputs of one turn, so that responses that have arrived are
    /// handled before deadlines are checked.
    pub fn settle(&mut self, now: Time) {
        self.now = now;
        while let Some(due) = self.scheduler.probes.pop_due(now) {
            if due.remaining.is_zero() {
                self.effects.push_back(Effect::ConfirmHang { probe: due.id });
            }
            if due.is_suspect {
                self.on_probe_suspect(now, due);
            }
        }
        while let Some(due) = self.scheduler.timers.pop_due(now) {
            match due {
                Due::Superblock(superblock) => self.on_superblock_due(now, superblock),
                Due::Mount(key) => self.on_mount_due(now, key),
                Due::Run => self.start_run(now),
            }
        }
        while let Some(key) = self.reports.reminders.pop_due(now) {
            self.remind(now, key);
        }
        while let Some(key) = self.reports.flap_checks.pop_due(now) {
            self.check_flapping(now, key);
        }
        while let Some(key) = self.evidence.reminders.pop_due(now) {
            self.collect_for_reminder(now, key);
        }
        if self.expected.take_recheck(now) {
            self.doubt_table(TableDoubt::Contradicted);
        }
        if self.registry.take_hang_ended() {
            self.reprobe_blocked(now);
        }
        self.start_ready(now);
        self.check_unjudged(now);
        self.close_run(now);
        self.effects.extend(self.event_budget.take_summary(now).into_iter().map(Effect::Notify));
    }

    /// The number of watched mounts that are not hidden.
    pub fn visible_mounts(&self) -> usize {
        self.registry.visible_entries()
    }

    /// The number of mounts of the table that the policy leaves out.
    pub fn excluded_mounts(&self) -> usize {
        self.registry.unwatched().saturating_sub(self.watch_budget.not_watched())
    }

    /// When [`Monitor::settle`] must be called next, if no input arrives before.
    pub fn next_deadline(&self) -> Option<Time> {
        let others = [
            self.reports.reminders.next_deadline(),
            self.reports.flap_checks.next_deadline(),
            self.evidence.reminders.next_deadline(),
            self.expected.next_deadline(),
            self.unjudged.next_deadline(),
            self.event_budget.next_deadline(),
        ];
        self.scheduler.next_deadline().into_iter().chain(others.into_iter().flatten()).min()
    }

    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Why the mount table should be read, if there is a reason since the last call.
    pub fn take_table_doubt(&mut self) -> Option<TableDoubt> {
        self.table_doubt.take()
    }

    /// How many times the health of a mount has changed so far, or was judged for somebody who waits.
    /// [`Monitor::status`] changes in other ways only if something is reported.
    pub fn health_revision(&self) -> u64 {
        self.registry.health_revision()
    }

    /// All mounts, including those that are not watched.
    pub fn tree(&self) -> &MountTree {
        self.registry.tree()
    }

    /// Whether there are mounts about which the kernel log may say something, watched or not.
    pub fn has_hinted_mounts(&self) -> bool {
        self.registry.has_hinted_mounts()
    }

    /// The mounts that are dead and can be reached by their own path. Costs a look at each mount if there is one.
    pub fn dead_mounts(&self) -> impl Iterator<Item = DeadMount<'_>> {
        let entries = (self.registry.dead_entries() > 0).then(|| self.registry.entries());
        let visible = entries.into_iter().flatten().filter(|entry| !entry.is_hidden);
        visible.filter_map(|entry| {
            // What an earlier daemon has left is no reason to act.
            let failure = entry.health.failure().filter(|_| entry.judged_at.is_some())?;
            Some(DeadMount { mount: &entry.mount, failure, since: entry.since })
        })
    }

    /// Is evidence being collected?
    pub fn is_collecting(&self) -> bool {
        self.evidence.is_collecting()
    }

    /// Whether an expected mount is missing.
    #[must_use]
    pub fn is_mount_missing(&self) -> bool {
        self.expected.is_any_missing()
    }

    fn doubt_table(&mut self, doubt: TableDoubt) {
        self.table_doubt = self.table_doubt.max(Some(doubt));
    }

    /// Whether a line about the prober of this user may be logged. What may not is summed up later.
    pub fn admit_notice(&mut self, now: Time, user: User) -> bool {
        self.event_budget.admit(now, user, false)
    }

    /// Returns whether it is reported: the events about the mounts of a user are limited.
    fn report(&mut self, event: Event) -> bool {
        let of_mount = |key| self.registry.get(key).map_or_else(|| self.registry.user(key), MountEntry::user);
        let user = match &event {
            Event::Found { .. } => User::System, // the operator expects it
            _ => event.mount().map_or(User::System, |mount| of_mount(mount.key)),
        };
        self.report_of(user, event)
    }

    fn report_of(&mut self, user: User, event: Event) -> bool {
        self.counters.on_event(&event);
        let is_reported = self.event_budget.admit(self.now, user, event.is_vital());
        if is_reported {
            self.effects.push_back(Effect::Report(event));
        } else {
            self.counters.totals.not_reported += 1;
        }
        is_reported
    }

    fn report_all(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.report(event);
        }
    }

    /// Plans the next reminder about a dead mount, and the collection of evidence before it.
    fn plan_reminder(&mut self, now: Time, key: MountKey) {
        let entry = self.registry.get(key);
        if let Some(at) = entry.and_then(|entry| self.reports.plan_reminder(now, entry)) {
            self.evidence.plan_for_reminder(now, key, at);
        }
    }

    /// Reminders about a mount, and the collections of evidence before them, end.
    fn stop_reminders(&mut self, key: MountKey) {
        self.reports.reminders.cancel(key);
        self.evidence.reminders.cancel(key);
    }

    /// Reports the run if it is complete. The first also waits until it is known which expected mounts are missing.
    fn close_run(&mut self, now: Time) {
        if self.last_run.is_none() && self.expected.has_suspects() {
            return;
        }
        let Some((started_at, unjudged)) = self.scheduler.close_run() else { return };
        let took = now - started_at;
        self.last_run = Some(LastRun { at: now, took });
        let (mounts, dead) = (self.registry.visible_entries(), self.registry.dead_entries());
        self.report(Event::Run { mounts, dead, unjudged, took });
    }
}
