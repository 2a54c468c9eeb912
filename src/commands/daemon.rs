//! The daemon, or a single run of it: starts and stops everything around the event loop.

use super::{fail, machine_seed, mount_namespace, print};
use crate::children::files::StderrCopier;
use crate::children::launcher;
use crate::cli::USAGE_ERROR;
use crate::config::{Config, ConfigReloader, ConfigSource};
use crate::daemon::{Daemon, EventHandler, Options, RunMode, RunResult, WatchedTable};
use crate::output::{Dispatcher, Outputs, Report, Reporter, saved_state};
use crate::render::escape::escape_os;
use crate::render::{HumanDuration, Priority, table};
use anyhow::Context as _;
use platform::service::ServiceManager;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAMESPACE_ENDED: u8 = 3;
/// A stop waits this long for log lines: a part of the second that a stop may take.
const LOG_CLOSE_TIMEOUT: Duration = Duration::from_millis(200);
/// And this long until the last of them are in a file: the rest of that second.
const STDERR_CLOSE_TIMEOUT: Duration = Duration::from_millis(150);

pub fn daemon(
    config: Arc<Config>,
    source: ConfigSource,
    manager: io::Result<Option<ServiceManager>>,
) -> anyhow::Result<u8> {
    platform::limit_heap();
    let memory = match config.run_from_memory {
        true => launcher::run_from_memory(), // before the first thread
        false => Ok(()),
    };
    let copier = StderrCopier::start().context("cannot start a process for standard error")?;
    let result = run_with_messages(config, source, manager, memory);
    let Some(copier) = copier else { return result };
    let status = result.unwrap_or_else(|error| {
        let _ = fail(&error); // while there is still a standard error
        USAGE_ERROR
    });
    copier.finish(STDERR_CLOSE_TIMEOUT);
    Ok(status)
}

fn run_with_messages(
    config: Arc<Config>,
    source: ConfigSource,
    manager: io::Result<Option<ServiceManager>>,
    memory: io::Result<()>,
) -> anyhow::Result<u8> {
    let reporter = Reporter::start(&config.report).context("cannot start a thread for messages")?;
    let log = reporter.log_fn();
    if let Err(error) = memory {
        let text = format!(
            "Cannot run from memory: {error}; if the storage of this program hangs, the daemon hangs too"
        );
        let is_impossible = error.kind() == io::ErrorKind::Unsupported;
        log(if is_impossible { Priority::Info } else { Priority::Warning }, &text);
    }
    let once_only = config.once_only;
    let manager = manager.unwrap_or_else(|error| {
        let text = format!("Cannot reach the service manager that NOTIFY_SOCKET names: {error}");
        log(Priority::Warning, &text);
        None
    });
    let result = run(config, source, manager, &reporter);
    let is_stopped = result.as_ref().is_ok_and(|ended| ended.interrupted);
    reporter.close_with(is_stopped.then_some("Stopped"), LOG_CLOSE_TIMEOUT);
    let ended = result?;
    Ok(match ended.exit_status() {
        _ if ended.namespace_ended => NAMESPACE_ENDED,
        _ if !once_only => 0,
        0 if ended.interrupted => USAGE_ERROR,
        status => status,
    })
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
    let table = WatchedTable::read(&config, namespace)?;
    if config.once_only {
        run_once(&config, table, reporter)
    } else {
        watch(config, table, source, manager, reporter)
    }
}

fn run_once(config: &Arc<Config>, table: WatchedTable, reporter: &Reporter) -> anyhow::Result<RunResult> {
    let mut outputs = Dispatcher::new(Arc::clone(config), reporter.clone())?;
    let mut handle = |time, report: Report| outputs.report(Instant::now(), time, &report);
    let options = Options { seed: seed(config, &table)?, ..Options::new(config, table) };
    let daemon = Daemon::new(options, EventHandler::Callback(&mut handle))?;
    let ended = daemon.run(RunMode::Once(None))?;
    if !ended.interrupted {
        outputs.finish_single_run(&ended.snapshot);
    }
    outputs.stop();
    if config.print_bad_mounts {
        print(&table::bad_mounts(&ended.snapshot.status))?;
    }
    Ok(ended)
}

fn seed(config: &Config, table: &WatchedTable) -> anyhow::Result<u64> {
    Ok(match config.mount_namespace {
        None => machine_seed::seed(table.table()),
        Some(_) => machine_seed::seed(&mount_namespace::table(None)?),
    })
}

fn watch(
    config: Arc<Config>,
    table: WatchedTable,
    source: ConfigSource,
    manager: Option<ServiceManager>,
    reporter: &Reporter,
) -> anyhow::Result<RunResult> {
    let seed = seed(&config, &table)?;
    let socket = &config.http.socket;
    let state = saved_state::open(socket, table.clock_start(), table.namespace(), &reporter.log_fn());
    let saved = state.as_ref().and_then(|(_, restored)| Some(restored.as_ref()?.status.clone()));
    let outputs = Outputs::start_with_state(Arc::clone(&config), reporter.clone(), table.table(), state)?;
    let options = Options { seed, saved, ..Options::new(&config, table) };
    let run = || {
        let daemon = Daemon::new(options, EventHandler::Outputs(&outputs))?;
        let log = reporter.log_fn();
        log(Priority::Info, &start_line(&config, daemon.watched_mounts(), daemon.excluded_mounts()));
        let warn = move |text: String| log(Priority::Warning, &text);
        let reloader = ConfigReloader::start(&config, source, daemon.waker(), warn)
            .context("cannot start a thread for configuration")?;
        daemon
            .with_remedies(&config)?
            .with_early_signs(&config)?
            .with_service(reloader, manager)
            .run(RunMode::Watch)
    };
    let result = run();
    outputs.stop();
    result
}

/// What somebody who starts the daemon wants to know. A listener that fails has a warning of its own.
fn start_line(config: &Config, mounts: usize, excluded: usize) -> String {
    let mut mounts = match mounts {
        1 => "1 mount".to_owned(),
        n => format!("{n} mounts"),
    };
    if excluded > 0 {
        mounts += &format!(" ({excluded} excluded)");
    }
    let interval = HumanDuration(config.settings.poll_interval);
    let timeout = HumanDuration(config.settings.timeout);
    let page = match config.http.listen {
        Some(address) => {
            let is_encrypted = config.http.web_access.as_ref().is_some_and(|access| access.is_encrypted());
            format!("status page {}://{address}/", if is_encrypted { "https" } else { "http" })
        }
        None => "no status page".to_owned(),
    };
    let file = match &*config.files {
        [] => "no configuration file".to_owned(),
        [file] => format!("configuration {}", escape_os(file)),
        [file, more @ ..] => format!("configuration {} and {} more", escape_os(file), more.len()),
    };
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "Started mount_status_monitor {version}: watching {mounts}, probing every {interval} with a timeout of \
         {timeout}; {page}; {file}"
    )
}
