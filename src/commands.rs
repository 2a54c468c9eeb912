//! What each command does with the daemon's loop, and the exit status that it ends with.

use crate::cli::USAGE_ERROR;
use crate::config::{CheckConfig, CheckOutput, Config, Filter, resolve, select};
use crate::daemon::{Daemon, Ending, Options, Purpose, Told};
use crate::live::{Live, Snapshot};
use crate::metrics::{Outlets, Renderer, Tell, textfile};
use crate::monitor::{Event, Monitor, Policy, Settings, Status, Time};
use crate::report::escape::escape_os;
use crate::report::sink::{Delivery, Output};
use crate::report::terminal::{self, TerminalProgress};
use crate::report::{Message, PROCESS_NAME, Priority, Reporter, Sink, nagios, table};
use anyhow::Context as _;
use platform::{Mount, MountKey, MountTable, MountWatch};
use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long the end waits for the sinks: within the second that a stop may take, with room for a busy machine.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long the end waits for the push gateway before that: what is under way is given up, and a group that is to be
/// deleted is deleted by then or stays.
const LAST_PUSH: Duration = Duration::from_millis(400);
/// How long a single run waits for the push gateway and the text file.
const ONLY_PUSH: Duration = Duration::from_secs(1);
/// Some mounts are dead.
const DEAD: u8 = 1;

/// The daemon, or one run of it.
#[must_use]
pub fn daemon(config: Config) -> ExitCode {
    let reporter = match Reporter::start(&config.report) {
        Ok(reporter) => reporter,
        Err(error) => {
            return failed(&anyhow::Error::new(error).context("cannot start a thread for messages"));
        }
    };
    let result = watch(&config, &reporter);
    if let Ok(ending) = &result
        && ending.interrupted
    {
        reporter.notice(SystemTime::now(), Priority::Info, "Stopped");
    }
    reporter.close(LAST_WORDS);
    match result {
        Ok(ending) if config.once_only => ExitCode::from(once_status(&ending)),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn watch(config: &Config, reporter: &Reporter) -> anyhow::Result<Ending> {
    for warning in config.warnings() {
        reporter.notice(SystemTime::now(), Priority::Warning, &warning);
    }
    if !platform::process::is_root() {
        let text = "Not running as root: FUSE mounts of other users and mounts in directories closed to this user \
                    cannot be checked; they are shown as denied";
        reporter.notice(SystemTime::now(), Priority::Notice, text);
    }
    let dead_list = (config.print_bad_mounts && !config.once_only)
        .then(|| Sink::start("stdout", Lines))
        .transpose()
        .context("cannot start a thread for standard output")?;
    let metrics = &config.metrics;
    if let Some(path) = &metrics.textfile {
        check_textfile(path, &config.filter)?;
    }
    let renderer = Arc::new(Renderer::new(metrics.extras(reporter.sinks())));
    let live = (!metrics.is_empty() && !config.once_only).then(Live::new);
    let outlet_tell = teller(reporter);
    let outlets = match &live {
        Some(live) => Outlets::start(metrics, &renderer, live, &outlet_tell)
            .context("cannot start a thread for metrics")?,
        None => Outlets::default(),
    };
    let mut tell = |time: SystemTime, told: Told<'_>| match told {
        Told::Notice(priority, text) => {
            reporter.notice(time, priority, &text);
        }
        Told::Event(event, monitor) => {
            reporter.tell(time, event);
            if let (Event::Run { .. }, Some(sink)) = (event, &dead_list) {
                offer_dead(sink, time, monitor);
            }
        }
    };
    let (settings, filter) = (config.settings, config.filter.clone());
    let options =
        Options { interval: settings.poll_interval, policy: watch_all(settings, filter), prober: None, live };
    let purpose = if config.once_only { Purpose::Once(None) } else { Purpose::Watch };
    let ending = Daemon::new(options, &mut tell)?.run(purpose)?;
    outlets.stop(LAST_PUSH);
    if config.once_only && !ending.interrupted {
        Outlets::send_once(metrics, &renderer, &Arc::new(last_snapshot(&ending)), ONLY_PUSH, &outlet_tell);
    }
    if config.once_only && config.print_bad_mounts {
        print(&table::bad_mounts(&ending.status));
    }
    Ok(ending)
}

fn teller(reporter: &Reporter) -> Tell {
    let reporter = reporter.clone();
    Arc::new(move |priority, text: &str| drop(reporter.notice(SystemTime::now(), priority, text)))
}

/// The text file must not be what makes us hang. Its path is never asked: the mount table tells.
fn check_textfile(path: &Path, filter: &Filter) -> anyhow::Result<()> {
    match textfile::refusal(&mount_table()?, |mount| filter.admits(mount), path) {
        Some(reason) => anyhow::bail!("cannot write --textfile {}: {reason}", escape_os(path)),
        None => Ok(()),
    }
}

fn last_snapshot(ending: &Ending) -> Snapshot {
    let (status, at, wall) = (ending.status.clone(), ending.at, SystemTime::now());
    Snapshot { serial: 1, status, at, wall, probers: 0, probers_lost: 0 }
}

fn watch_all(settings: Settings, filter: Filter) -> Policy {
    Box::new(move |mount: &Mount| filter.admits(mount).then_some(settings))
}

fn once_status(ending: &Ending) -> u8 {
    if ending.status.dead > 0 {
        DEAD
    } else if ending.unjudged > 0 || ending.interrupted {
        USAGE_ERROR
    } else {
        0
    }
}

fn offer_dead(sink: &Sink, time: SystemTime, monitor: &Monitor) {
    let text = table::bad_mounts(&monitor.status());
    if !text.is_empty() {
        sink.offer(Arc::new(Message { time, priority: Priority::Info, text, event: None }));
    }
}

/// Standard output as a sink: nobody waits for its reader.
struct Lines;

impl Output for Lines {
    fn write(&mut self, message: &Message) -> Delivery {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(message.text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Delivery::Done,
            Err(_) => Delivery::Lost,
        }
    }
}

/// One run, shown.
#[must_use]
pub fn check(config: CheckConfig) -> ExitCode {
    match run_check(&config) {
        Ok(status) => ExitCode::from(status),
        Err(error) if config.output == CheckOutput::Nagios => {
            print(&format!("{}\n", nagios::unknown(&format!("{error:#}"))));
            ExitCode::from(nagios::State::Unknown.exit_status())
        }
        Err(error) => failed(&error),
    }
}

fn run_check(config: &CheckConfig) -> anyhow::Result<u8> {
    let plain = config.output == CheckOutput::Table;
    for warning in config.warnings().iter().filter(|_| plain) {
        eprintln!("{PROCESS_NAME}: {warning}");
    }
    let wanted = wanted(config)?;
    let mut troubles: Vec<String> = Vec::new();
    let mut tell = |_: SystemTime, told: Told<'_>| {
        if let Told::Notice(priority, text) = told
            && priority <= Priority::Warning
        {
            troubles.push(text);
        }
    };
    let settings = config.settings;
    let policy: Policy = Box::new(move |mount| wanted.contains(&mount.key).then_some(settings));
    let options = Options { interval: settings.poll_interval, policy, prober: None, live: None };
    let daemon = Daemon::new(options, &mut tell)?;
    let mut progress = TerminalProgress::new();
    let ending = if progress.is_shown() && config.output != CheckOutput::Nagios {
        let mut look = |status: &Status, now: Time| progress.show(status, now);
        daemon.run(Purpose::Once(Some(&mut look)))?
    } else {
        daemon.run(Purpose::Once(None))?
    };
    drop(progress); // wiped before anything else is written
    anyhow::ensure!(!ending.interrupted, "interrupted before every mount had an answer");
    for trouble in troubles.iter().filter(|_| plain) {
        eprintln!("{PROCESS_NAME}: {trouble}");
    }
    Ok(show(config, &ending))
}

/// The mounts that were asked for.
fn wanted(config: &CheckConfig) -> anyhow::Result<HashSet<MountKey>> {
    let table = mount_table()?;
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let named: Vec<PathBuf> = config.mountpoints.iter().map(|path| resolve(&here, path)).collect();
    match select(&table, &named, &config.filter) {
        Ok(mounts) => Ok(mounts.iter().map(|mount| mount.key).collect()),
        Err(problems) => anyhow::bail!("{}", problems.join("; ")),
    }
}

fn mount_table() -> anyhow::Result<MountTable> {
    let path = platform::OWN_MOUNT_TABLE;
    MountWatch::open(path.as_ref())
        .and_then(|mut watch| watch.read())
        .with_context(|| format!("cannot read {path}: is /proc mounted?"))
}

fn show(config: &CheckConfig, ending: &Ending) -> u8 {
    match config.output {
        CheckOutput::Nagios => {
            let (state, line) = nagios::line(&ending.status, &config.settings);
            print(&format!("{line}\n"));
            return state.exit_status();
        }
        CheckOutput::Json => {
            print(&format!("{}\n", table::document(&ending.status, ending.at, SystemTime::now())));
        }
        CheckOutput::Table => print(&table::table(&ending.status, ending.at, terminal::style())),
    }
    once_status(ending)
}

fn print(text: &str) {
    // A reader that went away has seen what it wanted.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("{PROCESS_NAME}: {error:#}");
    ExitCode::from(USAGE_ERROR)
}
