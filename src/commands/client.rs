//! The commands that ask a running daemon: `status`, `watch`, and `check` where a daemon's answer will do.

use super::{failed, ignore_broken_pipe, mount_namespace, print};
use crate::cli::USAGE_ERROR;
use crate::commands::unix_http::{Answer, Events, ServerSent, ask, in_query};
use crate::config::{CheckConfig, CheckOutput, ClientConfig, Config, resolve};
use crate::daemon::{Daemon, EventHandler, Options, RunMode};
use crate::output::sink::{Delivery, Output};
use crate::output::{Report, Sink};
use crate::render::Message;
use crate::render::PROCESS_NAME;
use crate::render::Priority;
use crate::render::escape::escape_os;
use crate::render::json;
use crate::render::messages;
use crate::render::terminal;
use crate::render::timestamp;
use anyhow::Context as _;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

/// How long `watch` waits before it looks for a daemon that went away.
const RETURN_PAUSE: Duration = Duration::from_secs(1);
/// How long the last events may take to be written.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What the daemon knows.
#[must_use]
pub fn status(config: &ClientConfig) -> ExitCode {
    let form = if config.json { CheckOutput::Json } else { CheckOutput::Table };
    match ask(&config.socket, &target(form, &[])) {
        Ok(answer) if answer.status == 200 => {
            show(form, &answer).map_or_else(|error| failed(&error), ExitCode::from)
        }
        Ok(answer) => failed(&anyhow::anyhow!("the daemon says: {}", answer.body.trim_end())),
        Err(error) => failed(&no_daemon(&config.socket, error)),
    }
}

/// The exit status of `check` if a daemon could answer it. Whatever is in the way, the mounts can still be asked.
pub(super) fn check(config: &CheckConfig) -> Option<anyhow::Result<u8>> {
    let socket = config.socket.as_ref()?;
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let named: Vec<PathBuf> = config.mountpoints.iter().map(|path| resolve(&here, path)).collect();
    let answer = ask(socket, &target(config.output, &named)).ok()?;
    (answer.status == 200).then(|| show(config.output, &answer))
}

fn target(form: CheckOutput, mountpoints: &[PathBuf]) -> String {
    let mut target = match form {
        CheckOutput::Json if mountpoints.is_empty() => "/api/v1/mounts".to_owned(),
        CheckOutput::Json => "/api/v1/mounts?format=json".to_owned(),
        CheckOutput::Nagios => "/api/v1/mounts?format=nagios".to_owned(),
        CheckOutput::Table => {
            let style = terminal::style();
            let width = style.width.map(|width| format!("&width={width}")).unwrap_or_default();
            format!("/api/v1/mounts?format=table{width}&colours={}", u8::from(style.colours))
        }
    };
    for path in mountpoints {
        target.push_str(&format!("&mountpoint={}", in_query(&escape_os(path))));
    }
    target
}

/// Prints it and returns the exit status.
fn show(form: CheckOutput, answer: &Answer) -> anyhow::Result<u8> {
    let end = if form == CheckOutput::Json { "\n" } else { "" };
    print(&format!("{}{end}", answer.body))?;
    Ok(answer.exit_status.unwrap_or(USAGE_ERROR))
}

fn no_daemon(socket: &Path, error: io::Error) -> anyhow::Error {
    let path = escape_os(socket);
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            anyhow::anyhow!(
                "no daemon is running: nobody listens on {path}; `check` asks the mounts directly"
            )
        }
        ErrorKind::PermissionDenied => anyhow::anyhow!("this user may not ask the daemon on {path}: {error}"),
        _ => anyhow::Error::new(error).context(format!("the daemon on {path} cannot be asked")),
    }
}

/// Events as they happen, from the daemon or, without one, from a loop of our own.
#[must_use]
pub fn watch(ask: &ClientConfig, config: Arc<Config>) -> ExitCode {
    let result = match Events::follow(&ask.socket, None) {
        Ok(events) => follow(ask, events),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            alone(ask.json, config)
        }
        Err(error) => Err(no_daemon(&ask.socket, error)),
    };
    result.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

/// Until the reader goes away. A daemon that is restarted is found again.
fn follow(config: &ClientConfig, mut events: Events) -> anyhow::Result<()> {
    let mut last = None;
    loop {
        match events.next_event() {
            Ok(event) => {
                last = event.id.or(last);
                if !ignore_broken_pipe(write_line(&line(&event, config.json)))? {
                    return Ok(());
                }
            }
            Err(_) => {
                eprintln!("{PROCESS_NAME}: the daemon is gone; waiting for it");
                events = return_of_daemon(&config.socket, last);
                eprintln!("{PROCESS_NAME}: the daemon is back");
            }
        }
    }
}

fn return_of_daemon(socket: &Path, last: Option<u64>) -> Events {
    loop {
        thread::park_timeout(RETURN_PAUSE);
        if let Ok(events) = Events::follow(socket, last) {
            return events;
        }
    }
}

fn line(event: &ServerSent, json: bool) -> String {
    if json {
        return event.data.clone();
    }
    let Ok(told) = serde_json::from_str::<serde_json::Value>(&event.data) else { return event.data.clone() };
    let word = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    match told["missed"].as_u64() {
        Some(missed) => format!("{missed} events are lost: they came faster than they were read"),
        None => format!("{} {}", word("time"), word("message")),
    }
}

fn write_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// The daemon's loop, its events on standard output and nowhere else.
fn alone(json: bool, config: Arc<Config>) -> anyhow::Result<()> {
    let sink =
        Sink::start("stdout", EventLines { json }).context("cannot start a thread for standard output")?;
    let mut handle = |time: SystemTime, report: Report| match report {
        Report::Notice(priority, text) => {
            if priority <= Priority::Warning {
                eprintln!("{PROCESS_NAME}: {text}");
            }
        }
        Report::Event(event) => {
            let (priority, text) = messages::line(&event);
            sink.offer(Arc::new(Message { time, priority, text, event: Some(event) }));
        }
    };
    let config = Config::clone(&config).with_expected().map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let namespace = mount_namespace::find(config.mount_namespace.as_deref())?;
    let options = Options::new(&Arc::new(config), namespace);
    Daemon::new(options, EventHandler::Callback(&mut handle))?.run(RunMode::Watch)?;
    sink.finish();
    sink.close(LAST_WORDS);
    Ok(())
}

/// Standard output as a sink. Without its reader there is nothing left to do.
struct EventLines {
    json: bool,
}

impl Output for EventLines {
    fn write(&mut self, message: &Message) -> Delivery {
        let line = if self.json {
            json::object(message)
        } else {
            format!("{} {}", timestamp::rfc3339(message.time), message.text)
        };
        match ignore_broken_pipe(write_line(&line)) {
            Ok(true) => Delivery::Done,
            Ok(false) => std::process::exit(0),
            Err(error) => {
                let _ = failed(&error);
                std::process::exit(USAGE_ERROR.into())
            }
        }
    }
}
