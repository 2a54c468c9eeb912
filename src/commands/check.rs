//! One run, shown: by a daemon that is running anyway, or by asking the mounts.

use super::{client, failed, mount_namespace, once_status, print};
use crate::config::{CheckConfig, CheckOutput, Config, NO_MOUNT_LEFT, resolve, select};
use crate::daemon::{Daemon, EventHandler, Options, RunMode, RunResult};
use crate::monitor::{Expected, Status, Time};
use crate::output::Report;
use crate::render::PROCESS_NAME;
use crate::render::Priority;
use crate::render::document::document;
use crate::render::nagios;
use crate::render::table;
use crate::render::terminal::{self, TerminalProgress};
use platform::{MountKey, MountNamespace};
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

/// One run, shown.
#[must_use]
pub fn check(config: CheckConfig) -> ExitCode {
    match run(&config) {
        Ok(status) => ExitCode::from(status),
        Err(error) if config.output == CheckOutput::Nagios => {
            if let Err(error) = print(&format!("{}\n", nagios::unknown(&format!("{error:#}")))) {
                let _ = failed(&error);
            }
            ExitCode::from(nagios::State::Unknown.exit_status())
        }
        Err(error) => failed(&error),
    }
}

fn run(config: &CheckConfig) -> anyhow::Result<u8> {
    if let Some(answered) = client::check(config) {
        return answered;
    }
    let mut config = config.clone();
    let with_expected = Config::clone(&config.config).with_expected();
    config.config = with_expected.map(Arc::new).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let config = &config;
    let plain = config.output == CheckOutput::Table;
    for warning in config.warnings().iter().filter(|_| plain) {
        eprintln!("{PROCESS_NAME}: {warning}");
    }
    let namespace = mount_namespace::find(config.config.mount_namespace.as_deref())?;
    let wanted = wanted(config, namespace.as_ref())?;
    if wanted.is_empty() {
        anyhow::ensure!(config.output != CheckOutput::Nagios, NO_MOUNT_LEFT);
        if plain {
            eprintln!("{PROCESS_NAME}: {NO_MOUNT_LEFT}");
        }
    }
    let mut troubles: Vec<String> = Vec::new();
    let mut handle = |_: SystemTime, report: Report| {
        if let Report::Notice(priority, text) = report
            && priority <= Priority::Warning
        {
            troubles.push(text);
        }
    };
    let mut options = Options::new(&config.config, namespace);
    options.monitor.expected = expected(config);
    let check = config.clone();
    options.monitor.policy =
        Box::new(move |mount| wanted.contains(&mount.key).then(|| check.settings_of(mount)));
    let daemon = Daemon::new(options, EventHandler::Callback(&mut handle))?;
    let mut progress = TerminalProgress::new();
    let ending = if progress.is_shown() && config.output != CheckOutput::Nagios {
        let mut look = |status: &Status, now: Time| progress.show(status, now);
        daemon.run(RunMode::Once(Some(&mut look)))?
    } else {
        daemon.run(RunMode::Once(None))?
    };
    drop(progress); // wiped before anything else is written
    anyhow::ensure!(!ending.namespace_ended, "the mount namespace has ended");
    anyhow::ensure!(!ending.interrupted, "interrupted before every mount had an answer");
    for trouble in troubles.iter().filter(|_| plain) {
        eprintln!("{PROCESS_NAME}: {trouble}");
    }
    show(config, &ending)
}

/// Of the mounts that have to be there, those that were asked for.
fn expected(config: &CheckConfig) -> Vec<Arc<Expected>> {
    let all = &config.config.expected;
    let named = named(config);
    all.iter().filter(|it| named.is_empty() || named.contains(&it.mountpoint)).cloned().collect()
}

/// The mounts that were asked for.
fn wanted(config: &CheckConfig, namespace: Option<&MountNamespace>) -> anyhow::Result<HashSet<MountKey>> {
    let table = mount_namespace::table(namespace)?;
    let mut named = named(config);
    if !named.is_empty() {
        // One that is missing is an answer, not a mistake.
        let lacks = |path: &PathBuf| !table.iter().any(|mount| mount.mountpoint == *path);
        named.retain(|path| !(lacks(path) && config.config.expected.iter().any(|it| it.mountpoint == *path)));
        if named.is_empty() {
            return Ok(HashSet::new());
        }
    }
    match select(&table, &named, |mount| config.config.policy(mount).is_some()) {
        Ok(mounts) => Ok(mounts.iter().map(|mount| mount.key).collect()),
        Err(problems) => anyhow::bail!("{}", problems.join("; ")),
    }
}

fn named(config: &CheckConfig) -> Vec<PathBuf> {
    let here = match config.config.mount_namespace {
        None => std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        Some(_) => PathBuf::from("/"), // our directory is none of it
    };
    config.mountpoints.iter().map(|path| resolve(&here, path)).collect()
}

fn show(config: &CheckConfig, ending: &RunResult) -> anyhow::Result<u8> {
    match config.output {
        CheckOutput::Nagios => {
            let (state, line) = nagios::line(&ending.status);
            print(&format!("{line}\n"))?;
            return Ok(state.exit_status());
        }
        CheckOutput::Json => {
            print(&format!("{}\n", document(&ending.status, ending.at, SystemTime::now(), None)))?;
        }
        CheckOutput::Table => print(&table::table(&ending.status, ending.at, terminal::style()))?,
    }
    Ok(once_status(ending))
}
