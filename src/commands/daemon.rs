//! The daemon, or a single run of it: starts and stops everything around the event loop.

use super::{fail, machine_seed, mount_namespace, print};
use crate::cli::USAGE_ERROR;
use crate::config::{Config, ConfigReloader, ConfigSource, NO_MOUNT_LEFT};
use crate::daemon::{Daemon, EventHandler, Options, RunMode, RunResult};
use crate::monitor::Event;
use crate::output::alertmanager::AlertmanagerClient;
use crate::output::exporters::Exporters;
use crate::output::hooks::Hooks;
use crate::output::metrics::{MetricSources, Renderer};
use crate::output::{Outputs, Report, Reporter};
use crate::render::{Priority, Snapshot, StatusSummary, table};
use anyhow::Context as _;
use platform::MountNamespace;
use platform::service::ServiceManager;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Exit status: the watched mount namespace has ended.
const NAMESPACE_ENDED: u8 = 3;
/// A stop waits this long for log lines: what the other outputs leave of the second that it may take.
const LOG_CLOSE_TIMEOUT: Duration = Duration::from_millis(300);
/// A single run waits this long for its hooks: cron would let a script run on as long.
const ONCE_HOOKS_TIMEOUT: Duration = Duration::from_secs(5);
/// Hooks that are not done by then are stopped within this.
const ONCE_HOOKS_STOP_TIMEOUT: Duration = Duration::from_millis(300);
/// A single run waits this long for the push gateway and the text file.
const ONCE_EXPORTERS_TIMEOUT: Duration = Duration::from_secs(1);

/// Watches until it is stopped, or runs once.
#[must_use]
pub fn daemon(
    config: Arc<Config>,
    source: ConfigSource,
    manager: io::Result<Option<ServiceManager>>,
) -> ExitCode {
    let reporter = match Reporter::start(&config.report) {
        Ok(reporter) => reporter,
        Err(error) => {
            return fail(&anyhow::Error::new(error).context("cannot start a thread for messages"));
        }
    };
    let log = reporter.log_fn();
    let once_only = config.once_only;
    let manager = manager.unwrap_or_else(|error| {
        let text = format!("Cannot reach the service manager that NOTIFY_SOCKET names: {error}");
        log(Priority::Warning, &text);
        None
    });
    let result = run(config, source, manager, &reporter);
    if result.as_ref().is_ok_and(|ended| ended.interrupted) {
        log(Priority::Info, "Stopped");
    }
    reporter.close(LOG_CLOSE_TIMEOUT);
    match result {
        Ok(ended) if ended.namespace_ended => ExitCode::from(NAMESPACE_ENDED),
        Ok(ended) if once_only => ExitCode::from(once_status(&ended)),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn run(
    config: Arc<Config>,
    source: ConfigSource,
    manager: Option<ServiceManager>,
    reporter: &Reporter,
) -> anyhow::Result<RunResult> {
    let log = reporter.log_fn();
    for warning in config.warnings() {
        log(Priority::Warning, &warning);
    }
    if !platform::process::is_root() {
        let text = "Not running as root: FUSE mounts of other users and mounts in directories closed to this user \
                    cannot be checked; they are shown as denied";
        log(Priority::Notice, text);
    }
    let namespace = mount_namespace::open(config.mount_namespace.as_deref())?;
    if let Some(file) = &config.mount_namespace {
        log(Priority::Info, &mount_namespace::description(file, namespace.as_ref()));
    }
    if config.once_only {
        run_once(&config, namespace, reporter)
    } else {
        watch(config, namespace, source, manager, reporter)
    }
}

fn run_once(
    config: &Arc<Config>,
    namespace: Option<MountNamespace>,
    reporter: &Reporter,
) -> anyhow::Result<RunResult> {
    let log = reporter.log_fn();
    let hooks = Hooks::start(&config.hooks, Arc::clone(&log)).context("cannot start a thread for hooks")?;
    let mut handle = |time, report: Report| match report {
        Report::Notice(priority, text) => reporter.notice(time, priority, &text),
        Report::Event(event) => {
            let (severity, selected) = config.rules.route(&event);
            hooks.offer(&reporter.report(time, &event, severity), selected, severity.as_str());
            if let Event::Run { mounts: 0, .. } = event {
                reporter.notice(time, Priority::Warning, &format!("Nothing to watch: {NO_MOUNT_LEFT}"));
            }
        }
    };
    let daemon = Daemon::new(Options::new(config, namespace), EventHandler::Callback(&mut handle))?;
    let ended = daemon.run(RunMode::Once(None))?;
    let alertmanager = AlertmanagerClient::new(Arc::clone(&log));
    if !ended.interrupted {
        let snapshot = Arc::new(Snapshot {
            serial: 1,
            status: ended.status.clone(),
            at: ended.at,
            wall: SystemTime::now(),
            settings: config.settings,
            probers: 0,
            probers_stranded: 0,
        });
        alertmanager.update(&snapshot, config).context("cannot start a thread for Alertmanager")?;
        if !config.metrics.is_empty() {
            let sources = config.metrics.sources(reporter.sinks());
            let renderer = Arc::new(Renderer::new(MetricSources { hooks: Some(hooks.clone()), ..sources }));
            Exporters::export_once(&config.metrics, &renderer, &snapshot, ONCE_EXPORTERS_TIMEOUT, &log);
        }
        let deadline = Instant::now() + ONCE_HOOKS_TIMEOUT;
        let hooks_done = hooks.wait_until_idle(ONCE_HOOKS_TIMEOUT);
        if !alertmanager.wait_until_idle(deadline.saturating_duration_since(Instant::now())) || !hooks_done {
            let text =
                format!("Hooks are not done after {}s; they are stopped", ONCE_HOOKS_TIMEOUT.as_secs());
            log(Priority::Warning, &text);
        }
    }
    hooks.stop(ONCE_HOOKS_STOP_TIMEOUT);
    alertmanager.stop(Duration::ZERO);
    if config.print_bad_mounts {
        print(&table::bad_mounts(&ended.status))?;
    }
    Ok(ended)
}

fn watch(
    config: Arc<Config>,
    namespace: Option<MountNamespace>,
    source: ConfigSource,
    manager: Option<ServiceManager>,
    reporter: &Reporter,
) -> anyhow::Result<RunResult> {
    let load = Box::new(move || source.load());
    let seed = machine_seed::seed(&mount_namespace::table(None)?);
    let table = mount_namespace::table(namespace.as_ref())?;
    let options = Options { seed, ..Options::new(&config, namespace) };
    let outputs = Outputs::start(Arc::clone(&config), reporter.clone(), &table)?;
    let run = || {
        let daemon = Daemon::new(options, EventHandler::Outputs(&outputs))?;
        let log = reporter.log_fn();
        let warn = move |text: String| log(Priority::Warning, &text);
        let reloader = ConfigReloader::start(&config, load, daemon.waker(), warn)
            .context("cannot start a thread for configuration")?;
        daemon.with_service(reloader, manager).run(RunMode::Watch)
    };
    let result = run();
    outputs.stop();
    result
}

fn once_status(ended: &RunResult) -> u8 {
    match StatusSummary::of(&ended.status).exit_status() {
        0 if ended.interrupted => USAGE_ERROR,
        status => status,
    }
}
