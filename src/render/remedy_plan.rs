//! A plan of a remedy, for people and for programs.

#[cfg(test)]
mod tests;
mod words;

pub use words::guard;
pub(super) use words::purpose;

use super::HumanDuration;
use super::diagnosis::paragraph;
use super::escape::{escape_os, one_line};
use super::json;
use super::remedy_messages::cut;
use crate::monitor::remedy::{
    Forbids, Guard, MountAgain, Plan, Refusal, RemedySettings, Situation, Step, StepKind,
};
use crate::monitor::remedy::{PlannedStep, RefusalReason, RemedyReport};
use platform::Errno;
use serde::Serialize;

/// How success is verified.
const VERIFICATION: &str = "the mount has the same source and type, a new mount id, and a new superblock, or the old one is \
                            proved gone; it responds twice; who still holds the old one is listed";
/// The same of a mount that stays.
const VERIFICATION_OF_RESUMED: &str = "the mount responds twice";

/// The plan for a tired person: what would be done, what it breaks, what forbids it.
pub fn text(plan: &Plan) -> String {
    let mut text = paragraph("", "  ", &headline(plan));
    if plan.situation() == Situation::NotDead {
        return text + "\nNothing to do.\n";
    }
    if !plan.refusals().is_empty() {
        text += match (plan.is_refused(), plan.waits()) {
            (true, true) => "\nNothing is done yet\n",
            (true, false) => "\nNothing is done\n",
            (false, _) => "\nWhat is not done\n",
        };
        text.extend(plan.refusals().iter().map(|refusal| paragraph("  * ", "    ", &refusal_line(refusal))));
    }
    if !plan.steps().is_empty() {
        text += if plan.is_refused() { "\nSteps, if nothing forbade them\n" } else { "\nSteps\n" };
    }
    for (index, step) in plan.steps().iter().enumerate() {
        let Step { kind, harms } = step;
        text += &paragraph(&format!("  {}. ", index + 1), "     ", &line_of(*kind));
        text += &paragraph("     call: ", "       ", &words::call(*kind, plan));
        text.extend(harms.iter().map(|harm| paragraph("     breaks: ", "       ", &words::harm(harm))));
    }
    if plan.steps().iter().filter(|step| step.kind.removes_mount()).count() > 1 {
        text += "  Once the mount is gone, the other steps that would remove it are left out.\n";
    }
    text += "\nMounted again\n";
    let stays = || "not necessary: the mount stays".to_owned();
    text += &paragraph("  ", "  ", &if resumes(plan) { stays() } else { words::again(plan) });
    if let Some(how) = verification(plan) {
        text += "\nVerified\n";
        text += &paragraph("  ", "  ", how);
    }
    text += "\nIn use by\n";
    text += &paragraph("  ", "  ", &uses(plan));
    if !plan.unknowns().is_empty() {
        text += "\nNot known\n";
    }
    for unknown in plan.unknowns() {
        text += &paragraph("  * ", "    ", &format!("{}: {}", unknown.what, one_line(&unknown.why)));
    }
    text
}

/// The plan for one state in one or a few lines, to explain a rule.
pub fn explanation(plan: &Plan, indentation: &str) -> String {
    let mut line = format!("if {}: ", words::situation(plan.situation()));
    if plan.is_refused() {
        line += "nothing";
    } else {
        let steps: Vec<&str> = plan.steps().iter().map(|step| purpose(step.kind)).collect();
        line += &steps.join("; then ");
    }
    let next = format!("{indentation}  ");
    let mut text = paragraph(indentation, &next, &line);
    let not_chosen = |refusal: &&Refusal| refusal.guard.as_str() != "not_in_rule";
    for refusal in plan.refusals().iter().filter(not_chosen) {
        text += &paragraph(&format!("{next}- "), &format!("{next}  "), &refusal_line(refusal));
    }
    text
}

/// The settings of a rule in one line.
pub fn settings_line(settings: &RemedySettings) -> String {
    let names = |list: Vec<&str>| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    format!(
        "{} after {}; steps: {}; allow: {}; remount: {}; at most {} attempts in {}",
        settings.mode.as_str(),
        HumanDuration(settings.after),
        names(settings.steps.iter().map(|step| step.as_str()).collect()),
        names(settings.allow.iter().map(|consent| consent.as_str()).collect()),
        one_line(settings.remount.as_str()),
        settings.max_attempts,
        HumanDuration(settings.window)
    )
}

/// The plan for programs.
pub fn json(plan: &Plan) -> String {
    json::to_line(&PlanObject::new(plan))
}

/// The steps with their calls, for reports.
pub fn planned_steps(plan: &Plan) -> Vec<PlannedStep> {
    let step = |step: &Step| PlannedStep { step: step.kind, call: bounded(words::call(step.kind, plan)) };
    plan.steps().iter().map(step).collect()
}

/// Why nothing is done: what forbids everything, or else every step.
pub fn refusal_report(plan: &Plan) -> RemedyReport {
    let (of_all, of_steps): (Vec<&Refusal>, Vec<&Refusal>) =
        plan.refusals().iter().partition(|refusal| refusal.forbids == Forbids::Everything);
    let refusals = if of_all.is_empty() { of_steps } else { of_all };
    let reasons = reasons(refusals.iter().map(|refusal| &refusal.guard));
    RemedyReport::Refused { reasons, waits: plan.waits() }
}

/// Each guard in words.
pub fn reasons<'g>(guards: impl IntoIterator<Item = &'g Guard>) -> Vec<RefusalReason> {
    let reason = |it: &Guard| RefusalReason { guard: it.as_str().to_owned(), why: bounded(guard(it)) };
    guards.into_iter().map(reason).collect()
}

/// A text of bounded length for reports, which have one line.
pub(super) fn bounded(text: String) -> String {
    cut(&text).into_owned()
}

fn headline(plan: &Plan) -> String {
    let mount = plan.mount();
    let peers = plan.facts().peer_group.map(|group| format!(", peer group {group}")).unwrap_or_default();
    let about = format!(
        "{} ({} from {}; mount id {}, superblock {}{peers})",
        escape_os(&mount.mountpoint),
        escape_os(&mount.fstype),
        escape_os(&mount.device),
        mount.key.0,
        mount.device_number
    );
    let Some(death) = &plan.facts().death else { return format!("{about} is not dead") };
    let situation = words::situation(plan.situation());
    let is_said = |reason: &String| situation == reason || situation.starts_with(&format!("{reason}, "));
    let reason = Some(death.reason.as_str().to_owned()).filter(|reason| !is_said(reason));
    let details: Vec<String> = reason.into_iter().chain(death.errno.map(Errno::name)).collect();
    let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
    // Without a daemon, nobody knows.
    let since =
        if death.lasted.is_zero() { String::new() } else { format!(" for {}", HumanDuration(death.lasted)) };
    format!("{about} is dead{since}: {situation}{details}")
}

fn line_of(kind: StepKind) -> String {
    format!("{}: {}", kind.as_str(), purpose(kind))
}

fn refusal_line(refusal: &Refusal) -> String {
    let why = guard(&refusal.guard);
    match &refusal.forbids {
        Forbids::Everything => why,
        Forbids::Steps(steps) => {
            let steps: Vec<&str> = steps.iter().map(|step| step.as_str()).collect();
            format!("no {}: {why}", steps.join(", "))
        }
    }
}

/// The server of the mount continues, and nothing else is done.
fn resumes(plan: &Plan) -> bool {
    plan.steps().iter().any(|step| step.kind == StepKind::Resume)
}

fn verification(plan: &Plan) -> Option<&'static str> {
    let how = if resumes(plan) { VERIFICATION_OF_RESUMED } else { VERIFICATION };
    plan.steps().iter().any(|step| step.kind == StepKind::Verify).then_some(how)
}

fn uses(plan: &Plan) -> String {
    let facts = plan.facts();
    let users = match &facts.users {
        Ok(1) => "1 process with open files or its working directory there".to_owned(),
        Ok(users) => format!("{users} processes with open files or their working directory there"),
        Err(_) => "an unknown number of processes".to_owned(),
    };
    let unwritten = match &facts.unwritten {
        Ok(0) => "nothing is unwritten".to_owned(),
        Ok(bytes) => format!("{bytes} bytes are unwritten"),
        Err(_) => "how much is unwritten is not known".to_owned(),
    };
    format!("{users}; {unwritten}")
}

/// All names are escaped.
#[derive(Serialize)]
struct PlanObject {
    mountpoint: String,
    fstype: String,
    device: String,
    mount_id: u64,
    superblock: String,
    peer_group: Option<u64>,
    situation: &'static str,
    reason: Option<&'static str>,
    errno: Option<String>,
    dead_for_seconds: Option<f64>,
    refused: bool,
    /// It is refused only for now.
    waits: bool,
    steps: Vec<StepObject>,
    refusals: Vec<RefusalObject>,
    mount_again: AgainObject,
    verification: Option<&'static str>,
    users: Option<usize>,
    unwritten_bytes: Option<u64>,
    unknown: Vec<UnknownObject>,
}

#[derive(Serialize)]
struct StepObject {
    step: &'static str,
    purpose: &'static str,
    call: String,
    breaks: Vec<String>,
}

#[derive(Serialize)]
struct RefusalObject {
    guard: &'static str,
    /// Null if it forbids everything.
    steps: Option<Vec<&'static str>>,
    why: String,
}

#[derive(Serialize)]
struct AgainObject {
    how: &'static str,
    text: String,
}

#[derive(Serialize)]
struct UnknownObject {
    what: &'static str,
    why: String,
}

impl PlanObject {
    fn new(plan: &Plan) -> PlanObject {
        let (mount, facts) = (plan.mount(), plan.facts());
        let death = facts.death.as_ref();
        let unknown = |it: &crate::monitor::remedy::Unknown| UnknownObject {
            what: it.what,
            why: one_line(&it.why).into_owned(),
        };
        PlanObject {
            mountpoint: escape_os(&mount.mountpoint).into_owned(),
            fstype: escape_os(&mount.fstype).into_owned(),
            device: escape_os(&mount.device).into_owned(),
            mount_id: mount.key.0,
            superblock: mount.device_number.to_string(),
            peer_group: facts.peer_group,
            situation: plan.situation().as_str(),
            reason: death.map(|death| death.reason.as_str()),
            errno: death.and_then(|death| Some(death.errno?.name())),
            dead_for_seconds: death.map(|death| death.lasted.as_secs_f64()),
            refused: plan.is_refused(),
            waits: plan.waits(),
            steps: plan.steps().iter().map(|step| StepObject::new(step, plan)).collect(),
            refusals: plan.refusals().iter().map(RefusalObject::new).collect(),
            mount_again: AgainObject { how: how(plan.mount_again()), text: words::again(plan) },
            verification: verification(plan),
            users: facts.users.as_ref().ok().copied(),
            unwritten_bytes: facts.unwritten.as_ref().ok().copied(),
            unknown: plan.unknowns().iter().map(unknown).collect(),
        }
    }
}

impl StepObject {
    fn new(step: &Step, plan: &Plan) -> StepObject {
        StepObject {
            step: step.kind.as_str(),
            purpose: purpose(step.kind),
            call: words::call(step.kind, plan),
            breaks: step.harms.iter().map(words::harm).collect(),
        }
    }
}

impl RefusalObject {
    fn new(refusal: &Refusal) -> RefusalObject {
        let steps = match &refusal.forbids {
            Forbids::Everything => None,
            Forbids::Steps(steps) => Some(steps.iter().map(|step| step.as_str()).collect()),
        };
        RefusalObject { guard: refusal.guard.as_str(), steps, why: guard(&refusal.guard) }
    }
}

const fn how(again: &MountAgain) -> &'static str {
    match again {
        MountAgain::Privately { .. } => "privately",
        MountAgain::ByUnit(_) => "unit",
        MountAgain::ByAutofs => "autofs",
        MountAgain::Never(_) => "never",
    }
}
