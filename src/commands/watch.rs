//! `watch`: events as they happen, from the daemon or, without one, from its own event loop.

use super::client::{self, EventStream, SseEvent};
use super::{fail, ignore_broken_pipe, mount_namespace};
use crate::cli::USAGE_ERROR;
use crate::config::{ClientConfig, Config};
use crate::daemon::{Daemon, EventHandler, Options, RunMode};
use crate::output::sink::{Delivery, SinkWriter};
use crate::output::{Report, Sink};
use crate::render::{Message, PROCESS_NAME, Priority, json, messages, timestamp};
use anyhow::Context as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

pub fn watch(client: &ClientConfig, config: Arc<Config>) -> anyhow::Result<u8> {
    match EventStream::open(&client.socket, None) {
        Ok(events) => follow(client, events),
        Err(error) if client::is_absent(&error) => watch_standalone(client.json, config),
        Err(error) => return Err(client::describe(&client.socket, error)),
    }?;
    Ok(0)
}

/// Prints events until the reader of standard output goes away; reconnects to a daemon that is restarted.
fn follow(client: &ClientConfig, mut events: EventStream) -> anyhow::Result<()> {
    let mut last = None;
    loop {
        match events.next_event() {
            Ok(event) => {
                last = event.id.or(last);
                if !ignore_broken_pipe(print_line(&line(&event, client.json)))? {
                    return Ok(());
                }
            }
            Err(_) => {
                eprintln!("{PROCESS_NAME}: the daemon is gone; reconnecting");
                events = reconnect(&client.socket, last);
                eprintln!("{PROCESS_NAME}: the daemon is back");
            }
        }
    }
}

fn reconnect(socket: &Path, last: Option<u64>) -> EventStream {
    loop {
        thread::park_timeout(RECONNECT_INTERVAL);
        if let Ok(events) = EventStream::open(socket, last) {
            return events;
        }
    }
}

fn line(event: &SseEvent, json: bool) -> String {
    let fields = serde_json::from_str::<serde_json::Value>(&event.data);
    let Some(fields) = fields.ok().filter(|_| !json) else { return event.data.clone() };
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

/// Events go to standard output and nowhere else.
fn watch_standalone(json: bool, config: Arc<Config>) -> anyhow::Result<()> {
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
    let config = Config::clone(&config).with_expected_mounts().map_err(anyhow::Error::msg)?;
    let namespace = mount_namespace::open(config.mount_namespace.as_deref())?;
    let options = Options::new(&Arc::new(config), namespace);
    Daemon::new(options, EventHandler::Callback(&mut handle))?.run(RunMode::Watch)?;
    sink.close(CLOSE_TIMEOUT);
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
