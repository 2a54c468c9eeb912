//! An attempt of the daemon, in a process of its own: see [`children::attempt`](crate::children::attempt).

use super::present_facts::{self, History, PresentFacts};
use super::{machine_facts, rights};
use crate::children::attempt::{AttemptMessage, AttemptRequest, serve};
use crate::children::files;
use crate::children::remedy::{AttemptEnd, AttemptEvent, BeginError, Remedies};
use crate::config::Config;
use crate::monitor::ProbeSettings;
use crate::monitor::remedy::{
    Guard, Initiator, KeptPath, Mode, Outcome, Plan, RefusalReason, RemedyReport, RemedySettings, Situation,
    Standing, plan,
};
use crate::render::escape::one_line;
use crate::render::{remedy_plan, remedy_progress};
use platform::{MountKey, MountTable};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// For processes that cannot be killed: they end with their storage, after minutes or days.
const STRANDED_INTERVAL: Duration = Duration::from_secs(1);

/// Becomes the process of an attempt.
pub fn attempt_remedy() -> ! {
    serve(|request, send| {
        let _ = files::use_children(); // without /dev/null; then files are read in place
        let report = make(request, send).unwrap_or_else(|error| {
            is_there(request.death.key).then(|| refused("not_judged", &format!("{error:#}")))
        });
        if let Some(report) = report {
            send(AttemptMessage::Report(report));
        }
    })
}

/// As long as this process lives, it keeps the lock of the server: a process of a step may still act.
fn wait_for_stranded(remedies: &mut Remedies) {
    while remedies.stranded() > 0 {
        thread::park_timeout(STRANDED_INTERVAL);
    }
}

/// Returns the last report; none if the mount is not dead any more.
fn make(
    request: &AttemptRequest,
    send: &mut dyn FnMut(AttemptMessage),
) -> anyhow::Result<Option<RemedyReport>> {
    let config = Arc::new(config_of(request));
    let kept = request.kept.iter().map(|file| {
        let (what, path) = file.what();
        KeptPath { what, path }
    });
    let history = History::Known(&request.death);
    let PresentFacts { mut facts, table } =
        present_facts::gather(&config, &request.mountpoint(), &history, kept.collect())?;
    facts.machine.resumed = request.resumed;
    let mode = request.settings.mode;
    let (mut remedies, mut standing) = (None, Standing::default());
    if mode == Mode::Act && facts.death.is_some() {
        if let Err(why) = rights::check(&facts) {
            return Ok(Some(refused("rights", &why)));
        }
        let remedies = remedies.insert(super::remedies(&config)?);
        standing = remedies.standing(&facts, &request.settings, Initiator::Daemon)?;
    }
    let planned = plan(Arc::new(facts), &request.settings, &standing);
    if planned.situation() == Situation::NotDead {
        return Ok(None);
    }
    if planned.is_refused() {
        return Ok(Some(remedy_plan::refusal_report(&planned)));
    }
    let report = RemedyReport::Planned { mode, steps: remedy_plan::planned_steps(&planned) };
    let Some(mut remedies) = remedies else { return Ok(Some(report)) };
    let report = act(&mut remedies, &planned, &request.settings, &table, report, send)?;
    if !matches!(report, RemedyReport::Failed { outcome: Outcome::Stranded, .. }) {
        return Ok(Some(report));
    }
    send(AttemptMessage::Report(report));
    send(AttemptMessage::Finished);
    wait_for_stranded(&mut remedies);
    Ok(None)
}

fn act(
    remedies: &mut Remedies,
    planned: &Plan,
    settings: &RemedySettings,
    table: &MountTable,
    report: RemedyReport,
    send: &mut dyn FnMut(AttemptMessage),
) -> anyhow::Result<RemedyReport> {
    let begun = Instant::now();
    let (mut report, mut step, mut last) = (Some(report), None, None);
    let mut on_event = |event: AttemptEvent<'_>| match event {
        AttemptEvent::Begins(kind) => {
            report.take().into_iter().for_each(|report| send(AttemptMessage::Report(report)));
            step = Some((kind, Instant::now()));
        }
        AttemptEvent::Call(call) if call.duration.is_some() => {
            send(AttemptMessage::Call(remedy_progress::audit(call)));
        }
        AttemptEvent::Call(_) => {}
        AttemptEvent::Ended(report) => {
            let Some((kind, begun)) = step else { return };
            let result = remedy_progress::step_result(kind, report, begun.elapsed());
            last = Some(result.clone());
            send(AttemptMessage::Report(RemedyReport::Step(result)));
        }
        AttemptEvent::LeftBehind(outcome) => {
            send(AttemptMessage::Call(remedy_progress::left_behind(outcome)));
        }
    };
    let attempted = remedies.attempt(planned, settings, table, Initiator::Daemon, &mut on_event);
    let AttemptEnd { outcome, gave_up } = match attempted {
        Ok(end) => end,
        Err(BeginError::Refused(guards)) => {
            let waits = guards.iter().all(Guard::passes);
            return Ok(RemedyReport::Refused { reasons: remedy_plan::reasons(&guards), waits });
        }
        Err(BeginError::Io(error)) => return Err(error.into()),
    };
    Ok(if outcome == Outcome::Remedied {
        RemedyReport::Remedied {
            took: begun.elapsed(),
            left: machine_facts::left_of(planned.mount(), outcome),
        }
    } else {
        let advice = remedy_progress::advice(outcome, planned, last.as_ref());
        RemedyReport::Failed { outcome, gave_up, advice }
    })
}

/// What the daemon was configured with, as far as it concerns this mount.
fn config_of(request: &AttemptRequest) -> Config {
    let settings = ProbeSettings {
        timeout: request.timeout,
        slow_after: request.slow_after,
        ..ProbeSettings::default()
    };
    Config {
        settings,
        fstab: request.fstab(),
        mount_namespace: request.mount_namespace(),
        ..Config::default()
    }
}

fn refused(guard: &str, why: &str) -> RemedyReport {
    let reason = RefusalReason { guard: guard.to_owned(), why: one_line(why).into_owned() };
    RemedyReport::Refused { reasons: vec![reason], waits: true }
}

fn is_there(key: MountKey) -> bool {
    MountTable::read().is_ok_and(|table| table.get(key).is_some())
}
