//! `watch`: events as they happen, from the daemon or, without one, from its own event loop.

use super::client::{self, EventStream, StreamStart};
use super::{fail, ignore_broken_pipe, mount_namespace};
use crate::cli::USAGE_ERROR;
use crate::config::{ClientConfig, Config, DaemonAddress, WatchConfig};
use crate::daemon::{Daemon, EventHandler, Options, RunMode, WatchedTable};
use crate::output::sink::{Delivery, SinkWriter};
use crate::output::{Report, Sink};
use crate::render::{Message, PROCESS_NAME, Priority, json, messages, timestamp};
use anyhow::Context as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

pub fn watch(command: &WatchConfig) -> anyhow::Result<u8> {
    let client = &command.client;
    let start = command.last.map_or(StreamStart::Now, StreamStart::LastVital);
    match EventStream::open(&client.daemon, start) {
        Ok(events) => follow(client, events),
        Err(error) if client::is_absent(&error) => {
            if command.last.is_some() {
                eprintln!("{PROCESS_NAME}: no daemon is running, which would remember past events");
            }
            watch_standalone(client.json, &command.config)
        }
        Err(error) => return Err(client::describe(&client.daemon, error)),
    }?;
    Ok(0)
}

/// Prints events until the reader of standard output goes away; reconnects to a daemon that is restarted.
fn follow(client: &ClientConfig, mut events: EventStream) -> anyhow::Result<()> {
    loop {
        match events.next_event() {
            Ok(event) => {
                if !ignore_broken_pipe(print_line(&line(event, client.json)))? {
                    return Ok(());
                }
            }
            Err(_) => {
                eprintln!("{PROCESS_NAME}: the daemon is gone; reconnecting");
                events = reconnect(&client.daemon, events.position());
                eprintln!("{PROCESS_NAME}: the daemon is back");
            }
        }
    }
}

fn reconnect(daemon: &DaemonAddress, position: Option<u64>) -> EventStream {
    let start = position.map_or(StreamStart::Now, StreamStart::After);
    loop {
        thread::park_timeout(RECONNECT_INTERVAL);
        if let Ok(events) = EventStream::open(daemon, start) {
            return events;
        }
    }
}

fn line(event: String, json: bool) -> String {
    let fields = serde_json::from_str::<serde_json::Value>(&event);
    let Some(fields) = fields.ok().filter(|_| !json) else { return event };
    let text = |key: &str| fields[key].as_str().unwrap_or_default();
    match fields["missed"].as_u64() {
        Some(missed) => format!("{missed} events were missed: they came faster than they were read"),
        None => format!("{} {}", text("time"), text("message")),
    }
}

fn print_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Events go to standard output and nowhere else. The event loop does not wait for the readers of them and of warnings.
fn watch_standalone(json: bool, config: &Config) -> anyhow::Result<()> {
    let sink =
        Sink::start("stdout", EventLines { json }).context("cannot start a thread for standard output")?;
    let warnings = Sink::start("stderr", Warnings).context("cannot start a thread for standard error")?;
    let mut handle = |time: SystemTime, report: Report| match report {
        Report::Notice(priority, text) => {
            if priority <= Priority::Warning {
                warnings.offer(Arc::new(Message { time, priority, text, event: None }));
            }
        }
        Report::Event(event) => {
            let (priority, text) = messages::line(&event);
            sink.offer(Arc::new(Message { time, priority, text, event: Some(event) }));
        }
    };
    let config = config.clone().with_expected_mounts().map_err(anyhow::Error::msg)?;
    let namespace = mount_namespace::open(config.mount_namespace.as_deref())?;
    let table = WatchedTable::read(&config, namespace)?;
    let options = Options::new(&Arc::new(config), table);
    Daemon::new(options, EventHandler::Callback(&mut handle))?.run(RunMode::Watch)?;
    sink.close(CLOSE_TIMEOUT);
    warnings.close(CLOSE_TIMEOUT);
    Ok(())
}

/// Standard output as a sink. Without a reader the command ends.
struct EventLines {
    json: bool,
}

impl SinkWriter for EventLines {
    fn write(&mut self, message: &Message) -> Delivery {
        let line = if self.json {
            json::event(message)
        } else {
            format!("{} {}", timestamp::rfc3339(message.time), message.text)
        };
        match ignore_broken_pipe(print_line(&line)) {
            Ok(true) => Delivery::Done,
            Ok(false) => std::process::exit(0),
            Err(error) => {
                let _ = fail(&error);
                std::process::exit(USAGE_ERROR.into())
            }
        }
    }
}

/// Standard error as a sink.
struct Warnings;

impl SinkWriter for Warnings {
    fn write(&mut self, message: &Message) -> Delivery {
        let _ = writeln!(io::stderr(), "{PROCESS_NAME}: {}", message.text); // fails if standard error is closed
        Delivery::Done
    }
}
