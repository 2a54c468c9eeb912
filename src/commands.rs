//! What each command does with the daemon's loop, and the exit status that it ends with.

mod asking;

pub use asking::{status, watch};

use crate::cli::USAGE_ERROR;
use crate::config::{CheckConfig, CheckOutput, Config, Filter, resolve, select};
use crate::daemon::{Daemon, Ending, Options, Purpose, Told};
use crate::http::{self, Server};
use crate::live::{Live, Snapshot};
use crate::monitor::{Event, Monitor, Policy, Settings, Status, Time};
use crate::report::document::document;
use crate::report::sink::{Delivery, Output};
use crate::report::terminal::{self, TerminalProgress};
use crate::report::{Message, PROCESS_NAME, Priority, Reporter, Sink, nagios, table};
use anyhow::Context as _;
use platform::{Mount, MountKey, MountTable, MountWatch};
use std::collections::HashSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long the end waits for the sinks: within the second that a stop may take, with room for a busy machine.
const LAST_WORDS: Duration = Duration::from_millis(300);
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
    let result = run(&config, &reporter);
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

fn run(config: &Config, reporter: &Reporter) -> anyhow::Result<Ending> {
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
    let (live, server) = serve(config, reporter)?;
    let mut tell = |time: SystemTime, told: Told<'_>| match told {
        Told::Notice(priority, text) => {
            reporter.notice(time, priority, &text);
        }
        Told::Event(event, monitor) => {
            let message = reporter.tell(time, event);
            if let Some(live) = &live {
                live.tell(message);
            }
            if let (Event::Run { .. }, Some(sink)) = (event, &dead_list) {
                offer_dead(sink, time, monitor);
            }
        }
    };
    let (settings, filter) = (config.settings, config.filter.clone());
    let options = Options {
        interval: settings.poll_interval,
        policy: watch_all(settings, filter),
        prober: None,
        live: live.clone(),
    };
    let purpose = if config.once_only { Purpose::Once(None) } else { Purpose::Watch };
    let ending = Daemon::new(options, &mut tell)?.run(purpose);
    if let Some(server) = server {
        server.stop();
    }
    let ending = ending?;
    if config.once_only && config.print_bad_mounts {
        print(&table::bad_mounts(&ending.status));
    }
    Ok(ending)
}

/// What the daemon shows, and the server that shows it, if anybody is to see it.
fn serve(config: &Config, reporter: &Reporter) -> anyhow::Result<(Option<Live>, Option<Server>)> {
    if config.once_only {
        return Ok((None, None));
    }
    let live = Live::new();
    let warner = reporter.clone();
    let warn = Box::new(move |text: &str| {
        warner.notice(SystemTime::now(), Priority::Warning, text);
    });
    let renderer: http::Renderer = Arc::new(two_gauges);
    let server = http::start(&config.http, config.settings, live.clone(), renderer, warn)
        .context("cannot start a thread for HTTP")?;
    Ok((server.is_some().then_some(live), server))
}

/// Stands in for all metrics.
fn two_gauges(snapshot: &Snapshot) -> Vec<u8> {
    let Status { total, dead, .. } = snapshot.status;
    format!("# TYPE total_mountpoints gauge\ntotal_mountpoints {total}\n# TYPE dead_mountpoints gauge\ndead_mountpoints {dead}\n").into_bytes()
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
    if let Some(status) = asking::check(config) {
        return Ok(status);
    }
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
    let path = platform::OWN_MOUNT_TABLE;
    let table: MountTable = MountWatch::open(path.as_ref())
        .and_then(|mut watch| watch.read())
        .with_context(|| format!("cannot read {path}: is /proc mounted?"))?;
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let named: Vec<PathBuf> = config.mountpoints.iter().map(|path| resolve(&here, path)).collect();
    match select(&table, &named, &config.filter) {
        Ok(mounts) => Ok(mounts.iter().map(|mount| mount.key).collect()),
        Err(problems) => anyhow::bail!("{}", problems.join("; ")),
    }
}

fn show(config: &CheckConfig, ending: &Ending) -> u8 {
    match config.output {
        CheckOutput::Nagios => {
            let (state, line) = nagios::line(&ending.status, &config.settings);
            print(&format!("{line}\n"));
            return state.exit_status();
        }
        CheckOutput::Json => {
            print(&format!("{}\n", document(&ending.status, ending.at, SystemTime::now(), None)));
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
