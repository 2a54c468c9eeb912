//! `check`: one run, printed. The running daemon responds if it can; otherwise the mounts are probed here.

use super::terminal::{self, Progress};
use super::{client, fail, mount_namespace, print};
use crate::config::{CheckConfig, CheckOutput, Config, NO_MOUNT_LEFT, select};
use crate::daemon::{Daemon, EventHandler, Options, RunMode, RunResult};
use crate::monitor::{Status, Time};
use crate::output::Report;
use crate::render::{PROCESS_NAME, Priority, json, nagios, table};
use platform::{MountKey, MountNamespace};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

pub fn check(config: CheckConfig) -> anyhow::Result<u8> {
    let output = config.output;
    match query_daemon(&config).unwrap_or_else(|| probe(config)) {
        Err(error) if output == CheckOutput::Nagios => {
            if let Err(error) = print(&format!("{}\n", nagios::unknown(&format!("{error:#}")))) {
                let _ = fail(&error);
            }
            Ok(nagios::State::Unknown.exit_status())
        }
        result => result,
    }
}

/// Prints the daemon's response and returns the exit status; `None` if there is no usable response.
fn query_daemon(config: &CheckConfig) -> Option<anyhow::Result<u8>> {
    let (socket, named) = (config.socket.as_deref()?, mountpoints(config));
    // Somebody who names a mount, or looks at a terminal, asks how it is now. Others read what is known every minute.
    let is_fresh = !named.is_empty() || config.output == CheckOutput::Table && terminal::is_interactive();
    let target = client::mounts_target(config.output, &named, is_fresh);
    let response = if is_fresh {
        client::get_fresh(socket, &target, config.config.longest_timeout()).ok()?
    } else {
        client::get(socket, &target).ok()?
    };
    (response.status == 200).then(|| response.print(config.output == CheckOutput::Json))
}

fn probe(mut config: CheckConfig) -> anyhow::Result<u8> {
    let with_expected = Config::clone(&config.config).with_expected_mounts();
    config.config = with_expected.map(Arc::new).map_err(anyhow::Error::msg)?;
    let warn = |text: &str| {
        if config.output == CheckOutput::Table {
            eprintln!("{PROCESS_NAME}: {text}");
        }
    };
    config.config.warnings().iter().for_each(|warning| warn(warning));
    let namespace = mount_namespace::open(config.config.mount_namespace.as_deref())?;
    let selected = selected(&config, namespace.as_ref())?;
    if selected.is_empty() {
        anyhow::ensure!(config.output != CheckOutput::Nagios, NO_MOUNT_LEFT);
        warn(NO_MOUNT_LEFT);
    }
    let mut options = Options::new(&config.config, namespace);
    let named = mountpoints(&config);
    options.monitor.expected.retain(|it| named.is_empty() || named.contains(&it.mountpoint));
    let settings = config.clone();
    options.monitor.policy =
        Box::new(move |mount| selected.contains(&mount.key).then(|| settings.settings_for(mount)));
    let mut warnings: Vec<String> = Vec::new(); // printed after the progress line is gone
    let mut handle = |_: SystemTime, report: Report| match report {
        Report::Notice(priority, text) if priority <= Priority::Warning => warnings.push(text),
        _ => {}
    };
    let daemon = Daemon::new(options, EventHandler::Callback(&mut handle))?;
    let result = run(daemon, config.output)?;
    anyhow::ensure!(!result.namespace_ended, "the mount namespace has ended");
    anyhow::ensure!(!result.interrupted, "interrupted before every mount had responded");
    warnings.iter().for_each(|warning| warn(warning));
    print_result(config.output, &result)
}

fn run(daemon: Daemon<'_>, output: CheckOutput) -> anyhow::Result<RunResult> {
    let Some(mut progress) = Progress::on_stderr().filter(|_| output != CheckOutput::Nagios) else {
        return daemon.run(RunMode::Once(None));
    };
    let mut on_progress = |status: &Status, now: Time| progress.show(status, now);
    daemon.run(RunMode::Once(Some(&mut on_progress)))
}

fn mountpoints(config: &CheckConfig) -> Vec<PathBuf> {
    let resolve = |path: &PathBuf| mount_namespace::resolve(&config.config, path);
    config.mountpoints.iter().map(resolve).collect()
}

fn selected(config: &CheckConfig, namespace: Option<&MountNamespace>) -> anyhow::Result<HashSet<MountKey>> {
    let table = mount_namespace::table(namespace)?;
    let mut named = mountpoints(config);
    if !named.is_empty() {
        // An expected mount that is missing is a result of the check, not a wrong argument.
        let is_expected = |path: &PathBuf| config.config.expected.iter().any(|it| it.mountpoint == *path);
        named.retain(|path| table.iter().any(|mount| mount.mountpoint == *path) || !is_expected(path));
        if named.is_empty() {
            return Ok(HashSet::new());
        }
    }
    match select(&table, &named, |mount| config.config.policy(mount).is_some()) {
        Ok(mounts) => Ok(mounts.iter().map(|mount| mount.key).collect()),
        Err(problems) => anyhow::bail!("{}", problems.join("; ")),
    }
}

fn print_result(output: CheckOutput, result: &RunResult) -> anyhow::Result<u8> {
    let snapshot = &result.snapshot;
    let (text, exit_status) = match output {
        CheckOutput::Nagios => {
            let (state, line) = nagios::line(&snapshot.status, snapshot.at);
            (line + "\n", state.exit_status())
        }
        CheckOutput::Json => (json::status(snapshot, None) + "\n", result.exit_status()),
        CheckOutput::Table => {
            (table::table(&snapshot.status, snapshot.at, terminal::style()), result.exit_status())
        }
    };
    print(&text)?;
    Ok(exit_status)
}
