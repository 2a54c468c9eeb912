//! The daemon, or a single run of it: started and ended in the right order.

use super::service::{Service, renderer, start_hooks, teller};
use super::{
    NAMESPACE_ENDED, failed, machine_seed, mount_namespace, mount_table, once_status, policy, print,
    textfile_problem,
};
use crate::cli::ConfigSource;
use crate::config::{Config, NO_MOUNT_LEFT};
use crate::daemon::{Daemon, Options, RunMode, RunResult, Told};
use crate::monitor::Event;
use crate::output::Reporter;
use crate::output::exporters::Exporters;
use crate::render::Priority;
use crate::render::Snapshot;
use crate::render::table;
use platform::service::ServiceManager;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long the end waits for the sinks: within the second that a stop may take, with room for a busy machine.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long the end waits for the push gateway before that: what is under way is given up, and a group that is to be
/// deleted is deleted by then or stays.
const LAST_PUSH: Duration = Duration::from_millis(400);
/// How long the end waits for hooks: commands that run may end by themselves for half of it.
const LAST_HOOKS: Duration = Duration::from_millis(300);
/// How long a single run waits for its hooks: as long as a script that is started by cron would be let go on.
const ONLY_HOOKS: Duration = Duration::from_secs(5);
/// How long a single run waits for the push gateway and the text file.
const ONLY_PUSH: Duration = Duration::from_secs(1);

/// Watches until it is stopped, or once. `manager` is the service manager that started us, if there is one.
#[must_use]
pub fn daemon(
    config: Arc<Config>,
    source: ConfigSource,
    manager: io::Result<Option<ServiceManager>>,
) -> ExitCode {
    let reporter = match Reporter::start(&config.report) {
        Ok(reporter) => reporter,
        Err(error) => {
            return failed(&anyhow::Error::new(error).context("cannot start a thread for messages"));
        }
    };
    let once_only = config.once_only;
    let manager = manager.unwrap_or_else(|error| {
        let text = format!("Cannot reach the service manager that NOTIFY_SOCKET names: {error}");
        reporter.notice(SystemTime::now(), Priority::Warning, &text);
        None
    });
    let result = run(config, source, manager, &reporter);
    if let Ok(ending) = &result
        && ending.interrupted
    {
        reporter.notice(SystemTime::now(), Priority::Info, "Stopped");
    }
    reporter.close(LAST_WORDS);
    match result {
        Ok(ending) if ending.namespace_ended => ExitCode::from(NAMESPACE_ENDED),
        Ok(ending) if once_only => ExitCode::from(once_status(&ending)),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn run(
    config: Arc<Config>,
    source: ConfigSource,
    manager: Option<ServiceManager>,
    reporter: &Reporter,
) -> anyhow::Result<RunResult> {
    for warning in config.warnings() {
        reporter.notice(SystemTime::now(), Priority::Warning, &warning);
    }
    if !platform::process::is_root() {
        let text = "Not running as root: FUSE mounts of other users and mounts in directories closed to this user \
                    cannot be checked; they are shown as denied";
        reporter.notice(SystemTime::now(), Priority::Notice, text);
    }
    if let Some(problem) = textfile_problem(&config) {
        anyhow::bail!(problem);
    }
    let namespace = mount_namespace::find(config.mount_namespace.as_deref())?;
    if let Some(file) = &config.mount_namespace {
        let text = mount_namespace::watched(file, namespace.as_ref());
        reporter.notice(SystemTime::now(), Priority::Info, &text);
    }
    let options = Options { namespace, ..options(&config) };
    if config.once_only {
        once(&config, options, reporter)
    } else {
        watch(config, options, source, manager, reporter)
    }
}

fn once(config: &Config, options: Options, reporter: &Reporter) -> anyhow::Result<RunResult> {
    let hooks = start_hooks(config, reporter)?;
    let mut tell = |time, told: Told<'_>| match told {
        Told::Notice(priority, text) => drop(reporter.notice(time, priority, &text)),
        Told::Event(event, _) => {
            let (severity, selected) = config.rules.on(event);
            hooks.offer(&reporter.tell(time, event, severity), selected, severity.as_str());
            if let Event::Run { mounts: 0, .. } = event {
                reporter.notice(time, Priority::Warning, &format!("Nothing to watch: {NO_MOUNT_LEFT}"));
            }
        }
    };
    let ending = Daemon::new(options, &mut tell)?.run(RunMode::Once(None))?;
    if !ending.interrupted && !config.metrics.is_empty() {
        let renderer = renderer(config, reporter, &hooks);
        let snapshot = Arc::new(last_snapshot(config, &ending));
        Exporters::send_once(&config.metrics, &renderer, &snapshot, ONLY_PUSH, &teller(reporter));
    }
    if !ending.interrupted && !hooks.finish(ONLY_HOOKS) {
        let text = format!("Hooks are not done after {}s; they are given up", ONLY_HOOKS.as_secs());
        reporter.notice(SystemTime::now(), Priority::Warning, &text);
    }
    hooks.stop(LAST_HOOKS);
    if config.print_bad_mounts {
        print(&table::bad_mounts(&ending.status))?;
    }
    Ok(ending)
}

fn watch(
    config: Arc<Config>,
    mut options: Options,
    source: ConfigSource,
    manager: Option<ServiceManager>,
    reporter: &Reporter,
) -> anyhow::Result<RunResult> {
    options.seed = machine_seed::seed(&mount_table()?);
    let mut service = Service::start(config, Box::new(move || source.reload()), reporter)?;
    options.live = Some(service.live());
    let ending = Daemon::new(options, &mut service).and_then(|it| it.serving(manager).run(RunMode::Watch));
    service.stop(LAST_PUSH, LAST_HOOKS);
    ending
}

fn options(config: &Arc<Config>) -> Options {
    let (settings, expected) = (config.settings, config.expected.clone());
    let policy = policy(Arc::clone(config));
    Options { settings, policy, expected, prober: None, live: None, namespace: None, seed: 0 }
}

fn last_snapshot(config: &Config, ending: &RunResult) -> Snapshot {
    let (status, at, wall) = (ending.status.clone(), ending.at, SystemTime::now());
    Snapshot { serial: 1, status, at, wall, settings: config.settings, probers: 0, probers_stranded: 0 }
}
