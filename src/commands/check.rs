//! `check`: one run, printed. The running daemon responds if it can; otherwise the mounts are probed here.

use super::terminal::{self, Progress};
use super::wait::wait;
use super::{client, fail, mount_namespace, plugin_timeout, print, print_status};
use crate::config::{CheckConfig, CheckOutput, Config, NO_MOUNT_LEFT, select};
use crate::daemon::{Daemon, EventHandler, Options, RunMode, RunResult, WatchedTable};
use crate::monitor::{Status, Time};
use crate::output::Report;
use crate::render::nagios::PluginRequest;
use crate::render::{PROCESS_NAME, Priority, nagios};
use platform::{MountKey, MountTable};
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// The default command of the image ends with this text. The image cannot know its own name.
const IN_IMAGE: &str = "
These are the mounts of this container. The following command watches those of the host instead, with a status page on
http://127.0.0.1:9817/. It needs root and these capabilities to enter the mount namespace of the host. Replace IMAGE with
the name of this image:

  docker run -d --name mounts --restart=unless-stopped --pid=host --user=0:0 --tmpfs=/run --cap-drop=ALL \\
      --cap-add=SYS_ADMIN --cap-add=SYS_CHROOT --cap-add=SYS_PTRACE --security-opt=apparmor=unconfined \\
      -p 127.0.0.1:9817:9817 IMAGE --mount-namespace=/proc/1/ns/mnt --listen-address=0.0.0.0:9817

Then `docker exec mounts mount_status_monitor status` shows them.
";

pub fn check(config: CheckConfig) -> anyhow::Result<u8> {
    let in_image = config.in_image;
    let result = check_mounts(config);
    if in_image {
        print(IN_IMAGE)?;
    }
    result
}

fn check_mounts(config: CheckConfig) -> anyhow::Result<u8> {
    let output = config.output;
    if let Some(limit) = config.wait {
        return wait(&config, limit);
    }
    match query_daemon(&config).unwrap_or_else(|refused| probe(config, refused.as_ref())) {
        Err(error) if output == CheckOutput::Nagios => {
            plugin_timeout::begin_result();
            if let Err(error) = print(&format!("{}\n", nagios::unknown(&format!("{error:#}")))) {
                let _ = fail(&error);
            }
            Ok(nagios::State::Unknown.exit_status())
        }
        result => result,
    }
}

/// Prints the daemon's response and returns the exit status. Without a usable response, why this user may not have one.
fn query_daemon(config: &CheckConfig) -> Result<anyhow::Result<u8>, Option<anyhow::Error>> {
    let (daemon, named) = (config.daemon.as_ref().ok_or(None)?, mountpoints(config));
    // Somebody who names a mount, or looks at a terminal, asks how it is now. Others read what is known every minute.
    let is_fresh = !named.is_empty() || config.output == CheckOutput::Table && terminal::is_interactive();
    let target = client::mounts_target(config.output, &config.thresholds, &named, is_fresh);
    let response = if is_fresh {
        client::get_fresh(daemon, &target, config.config.longest_timeout())
    } else {
        client::get(daemon, &target)
    };
    let is_refused = |error: &io::Error| error.kind() == ErrorKind::PermissionDenied;
    let response = response.map_err(|error| is_refused(&error).then(|| client::describe(daemon, error)))?;
    if response.status != 200 {
        return Err(None);
    }
    if config.output == CheckOutput::Nagios {
        plugin_timeout::begin_result();
    }
    Ok(response.print(config.output == CheckOutput::Json))
}

/// With `refused`, a daemon may know more than this user can find out.
fn probe(mut config: CheckConfig, refused: Option<&anyhow::Error>) -> anyhow::Result<u8> {
    let with_expected = Config::clone(&config.config).with_expected_mounts();
    config.config = with_expected.map(Arc::new).map_err(anyhow::Error::msg)?;
    let warn = |text: &str| {
        if config.output == CheckOutput::Table {
            eprintln!("{PROCESS_NAME}: {text}");
        }
    };
    if let Some(refused) = refused {
        warn(&format!("{refused:#}; probing with the rights of this user"));
    }
    config.config.warnings().iter().for_each(|warning| warn(warning));
    let namespace = mount_namespace::open(config.config.mount_namespace.as_deref())?;
    let table = WatchedTable::read(&config.config, namespace)?;
    let selected = selected(&config, table.table())?;
    if selected.is_empty() {
        anyhow::ensure!(config.output != CheckOutput::Nagios, NO_MOUNT_LEFT);
        warn(NO_MOUNT_LEFT);
    }
    let mut options = Options::new(&config.config, table);
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
    let denied_is_unknown = refused.is_some() || !config.mountpoints.is_empty();
    let request = PluginRequest { denied_is_unknown, thresholds: config.thresholds.clone() };
    print_result(config.output, &request, &result)
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

fn selected(config: &CheckConfig, table: &MountTable) -> anyhow::Result<HashSet<MountKey>> {
    let mut named = mountpoints(config);
    if !named.is_empty() {
        // An expected mount that is missing is a result of the check, not a wrong argument.
        let is_expected = |path: &PathBuf| config.config.expected.iter().any(|it| it.mountpoint == *path);
        named.retain(|path| table.iter().any(|mount| mount.mountpoint == *path) || !is_expected(path));
        if named.is_empty() {
            return Ok(HashSet::new());
        }
    }
    match select(table, &named, |mount| config.config.policy(mount).is_some()) {
        Ok(mounts) => Ok(mounts.iter().map(|mount| mount.key).collect()),
        Err(problems) => anyhow::bail!("{}", problems.join("; ")),
    }
}

fn print_result(output: CheckOutput, request: &PluginRequest, result: &RunResult) -> anyhow::Result<u8> {
    if output != CheckOutput::Nagios {
        print_status(output, &result.snapshot)?;
        return Ok(result.exit_status());
    }
    plugin_timeout::begin_result();
    let (state, line) = nagios::line(&result.snapshot.status, result.snapshot.at, request);
    print(&(line + "\n"))?;
    Ok(state.exit_status())
}
