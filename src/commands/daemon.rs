//! The daemon, or a single run of it: the sinks, the servers and the loop, started and ended in the right order.

use super::{NAMESPACE_ENDED, elsewhere, failed, fleet, mount_table, once_status, print, watch_all};
use crate::config::{Config, NO_MOUNT_LEFT};
use crate::daemon::{Daemon, Ending, Options, Purpose, Told};
use crate::http::{self, Server};
use crate::live::{Live, Snapshot};
use crate::metrics::{Outlets, Renderer, Tell, textfile};
use crate::monitor::{Event, Monitor};
use crate::report::escape::escape_os;
use crate::report::sink::{Delivery, Output};
use crate::report::{Message, Priority, Reporter, Sink, table};
use anyhow::Context as _;
use platform::{MountNamespace, MountTable};
use std::io::Write as _;
use std::path::Path;
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

/// Watches until it is stopped, or once.
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
        Ok(ending) if ending.namespace_ended => ExitCode::from(NAMESPACE_ENDED),
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
    if let Some(path) = &config.metrics.textfile {
        check_textfile(path, config, &mount_table()?)?;
    }
    let namespace = elsewhere::find(config.mount_namespace.as_deref())?;
    if let Some(file) = &config.mount_namespace {
        let text = elsewhere::watched(file, namespace.as_ref());
        reporter.notice(SystemTime::now(), Priority::Info, &text);
    }
    if config.once_only { once(config, reporter, namespace) } else { watch(config, reporter, namespace) }
}

fn once(config: &Config, reporter: &Reporter, namespace: Option<MountNamespace>) -> anyhow::Result<Ending> {
    let mut first_run = true;
    let mut tell = |time, told: Told<'_>| drop(message(reporter, time, &told, &mut first_run));
    let options = Options { namespace, ..options(config, None) };
    let ending = Daemon::new(options, &mut tell)?.run(Purpose::Once(None))?;
    if !ending.interrupted && !config.metrics.is_empty() {
        let renderer = Arc::new(Renderer::new(config.metrics.extras(reporter.sinks())));
        let snapshot = Arc::new(last_snapshot(&ending));
        Outlets::send_once(&config.metrics, &renderer, &snapshot, ONLY_PUSH, &teller(reporter));
    }
    if config.print_bad_mounts {
        print(&table::bad_mounts(&ending.status))?;
    }
    Ok(ending)
}

fn watch(config: &Config, reporter: &Reporter, namespace: Option<MountNamespace>) -> anyhow::Result<Ending> {
    let dead_list = config
        .print_bad_mounts
        .then(|| Sink::start("stdout", Lines))
        .transpose()
        .context("cannot start a thread for standard output")?;
    let renderer = Arc::new(Renderer::new(config.metrics.extras(reporter.sinks())));
    let live = Live::new();
    let outlets = Outlets::start(&config.metrics, &renderer, &live, &teller(reporter))
        .context("cannot start a thread for metrics")?;
    let server = serve(config, reporter, &live, renderer).context("cannot start a thread for HTTP")?;
    // Snapshots are made only if somebody is there to look at them.
    let live = (server.is_some() || !config.metrics.is_empty()).then_some(live);
    let mut first_run = true;
    let mut tell = |time, told: Told<'_>| {
        let message = message(reporter, time, &told, &mut first_run);
        let Told::Event(event, monitor) = told else { return };
        if let Some(live) = &live {
            live.tell(message);
        }
        if let (Event::Run { .. }, Some(sink)) = (event, &dead_list) {
            offer_dead(sink, time, monitor);
        }
    };
    let seed = fleet::seed(&mount_table()?);
    let options = Options { namespace, seed, ..options(config, live.clone()) };
    let ending = Daemon::new(options, &mut tell).and_then(|it| it.run(Purpose::Watch));
    if let Some(server) = server {
        server.stop();
    }
    outlets.stop(LAST_PUSH);
    ending
}

fn options(config: &Config, live: Option<Live>) -> Options {
    let policy = watch_all(config.settings, config.filter.clone());
    Options { interval: config.settings.poll_interval, policy, prober: None, live, namespace: None, seed: 0 }
}

/// Tells the sinks, and after a first run that found nothing, why.
fn message(reporter: &Reporter, time: SystemTime, told: &Told<'_>, first_run: &mut bool) -> Arc<Message> {
    let event = match told {
        Told::Notice(priority, text) => return reporter.notice(time, *priority, text),
        Told::Event(event, _) => event,
    };
    let message = reporter.tell(time, event);
    if let Event::Run { mounts, .. } = event
        && std::mem::take(first_run)
        && *mounts == 0
    {
        let text = format!("Nothing to watch: {NO_MOUNT_LEFT}");
        reporter.notice(time, Priority::Warning, &text);
    }
    message
}

fn serve(
    config: &Config,
    reporter: &Reporter,
    live: &Live,
    renderer: Arc<Renderer>,
) -> std::io::Result<Option<Server>> {
    let tell = teller(reporter);
    let warn = Box::new(move |text: &str| tell(Priority::Warning, text));
    let render: http::Renderer = Arc::new(move |snapshot| renderer.render(snapshot));
    http::start(&config.http, config.settings, live.clone(), render, warn)
}

fn teller(reporter: &Reporter) -> Tell {
    let reporter = reporter.clone();
    Arc::new(move |priority, text: &str| drop(reporter.notice(SystemTime::now(), priority, text)))
}

/// The text file must not be what makes us hang. Its path is never asked: the mount table tells.
fn check_textfile(path: &Path, config: &Config, table: &MountTable) -> anyhow::Result<()> {
    match textfile::refusal(table, |mount| config.filter.admits(mount), path) {
        Some(reason) => anyhow::bail!("cannot write --textfile {}: {reason}", escape_os(path)),
        None => Ok(()),
    }
}

fn last_snapshot(ending: &Ending) -> Snapshot {
    let (status, at, wall) = (ending.status.clone(), ending.at, SystemTime::now());
    Snapshot { serial: 1, status, at, wall, probers: 0, probers_lost: 0 }
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
