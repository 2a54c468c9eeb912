//! `remedy`: the plan for a dead mount, and with `--act` its steps. No path of the mount is touched here: probes, work on
//! files and steps are made in child processes.

mod acting;
mod attempt;
mod machine_facts;
mod present_facts;
mod rights;
mod table_facts;

pub use attempt::attempt_remedy;
pub(super) use table_facts::facts_of_table;

use super::{mount_namespace, print};
use crate::children::remedy::{NamespaceFile, REMEDY_DIRECTORY, Remedies};
use crate::config::{Config, RemedyConfig, RemedyTask};
use crate::monitor::remedy::{Plan, RemedyFacts, RemedySettings, Situation, Standing, plan};
use crate::render::{PROCESS_NAME, remedy_plan};
use anyhow::Context as _;
use present_facts::{History, PresentFacts};
use std::path::Path;
use std::sync::Arc;

/// Nothing may be done.
const REFUSED: u8 = 2;
const STILL_DEAD: u8 = 1;

pub fn remedy(config: &RemedyConfig) -> anyhow::Result<u8> {
    let mountpoint = mount_namespace::resolve(&config.config, &config.mountpoint);
    if config.task == RemedyTask::Reset {
        return acting::reset(config, &mountpoint);
    }
    let PresentFacts { mut facts, table } = {
        let (history, kept) = (History::OfDaemon(&config.daemon), present_facts::kept_files(&config.config));
        present_facts::gather(&config.config, &mountpoint, &history, kept)?
    };
    let settings = config.settings_for(&facts.mount);
    let planned = plan_of(&facts, &settings);
    print_plan(config, &planned)?;
    if !platform::remedy::IS_SUPPORTED {
        eprintln!("{PROCESS_NAME}: {}", rights::NEVER_RUN);
    }
    if config.task == RemedyTask::Act && facts.death.is_some() {
        rights::check(&facts).map_err(anyhow::Error::msg)?;
    }
    if config.task == RemedyTask::Plan || planned.is_refused() || planned.situation() == Situation::NotDead {
        return Ok(exit_status(&planned));
    }
    present_facts::confirm(config, &mut facts)?;
    let planned = plan_of(&facts, &settings);
    if planned.is_refused() {
        print_plan(config, &planned)?;
        return Ok(REFUSED);
    }
    acting::act(config, &planned, &settings, &table)
}

/// Those for mounts of the mount namespace of this configuration.
fn remedies(config: &Config) -> anyhow::Result<Remedies> {
    let remedies = Remedies::new(Path::new(REMEDY_DIRECTORY), None)
        .with_context(|| format!("cannot use {REMEDY_DIRECTORY} (root is needed)"))?;
    Ok(match mount_namespace::open(config.mount_namespace.as_deref())? {
        None => remedies,
        Some(namespace) => remedies.in_namespace(NamespaceFile::of(&namespace)),
    })
}

fn print_plan(config: &RemedyConfig, plan: &Plan) -> anyhow::Result<()> {
    print(&if config.json { remedy_plan::json(plan) + "\n" } else { remedy_plan::text(plan) + "\n" })
}

fn plan_of(facts: &RemedyFacts, settings: &RemedySettings) -> Plan {
    plan(Arc::new(facts.clone()), settings, &Standing::default())
}

fn exit_status(plan: &Plan) -> u8 {
    match plan.situation() {
        Situation::NotDead => 0,
        _ if plan.is_refused() => REFUSED,
        _ => STILL_DEAD,
    }
}
