//! Everything about one mount: by a daemon that is running, which has seen more, or by asking it ourselves.

use super::{failed, mount_namespace, print};
use crate::cli::USAGE_ERROR;
use crate::commands::unix_http::{ask, in_query};
use crate::config::{DiagnoseConfig, resolve};
use crate::daemon::{Daemon, EventHandler, Options, RunMode};
use crate::output::Report;
use crate::render::diagnosis;
use crate::render::escape::escape_os;
use crate::render::timestamp;
use anyhow::Context as _;
use platform::{Mount, MountKey, MountTable};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long fresh evidence of the daemon is waited for; what it has by then is shown.
const FRESH_LIMIT: Duration = Duration::from_secs(6);
/// What was found so lately is fresh: the daemon does not look again so soon.
const FRESH: Duration = Duration::from_secs(5);
/// How often the daemon is asked whether it has come.
const LOOK_AGAIN: Duration = Duration::from_millis(150);

/// Prints what is known, and what can be done.
#[must_use]
pub fn diagnose(config: &DiagnoseConfig) -> ExitCode {
    run(config).map_or_else(|error| failed(&error), ExitCode::from)
}

fn run(config: &DiagnoseConfig) -> anyhow::Result<u8> {
    // A path of another namespace does not begin where we are.
    let here = match config.config.mount_namespace {
        None => std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        Some(_) => PathBuf::from("/"),
    };
    let path = resolve(&here, &config.mountpoint);
    match by_daemon(config, &path) {
        Some((status, text)) => print(&text).map(|()| status),
        None => by_ourselves(config, &path),
    }
}

/// None if there is no daemon, or it does not watch this mount.
fn by_daemon(config: &DiagnoseConfig, path: &Path) -> Option<(u8, String)> {
    let socket = config.socket.as_deref()?;
    let asked = timestamp::rfc3339(SystemTime::now() - FRESH);
    let about = format!("mountpoint={}", in_query(&escape_os(path)));
    let mut answer = ask(socket, &format!("/api/v1/mounts?{about}&evidence=fresh")).ok()?;
    let end = Instant::now() + FRESH_LIMIT;
    while answer.status == 200 && is_awaited(&answer.body, &asked) && Instant::now() < end {
        thread::park_timeout(LOOK_AGAIN);
        answer = ask(socket, &format!("/api/v1/mounts?{about}")).ok()?;
    }
    let format = if config.json { "diagnosis-json" } else { "diagnosis" };
    let answer = ask(socket, &format!("/api/v1/mounts?{about}&format={format}")).ok()?;
    let newline = if config.json { "\n" } else { "" };
    (answer.status == 200).then(|| (answer.exit_status.unwrap_or(USAGE_ERROR), answer.body + newline))
}

/// Is there no verdict yet, or more to come about one that is dead?
fn is_awaited(body: &str, asked: &str) -> bool {
    let Ok(document) = serde_json::from_str::<serde_json::Value>(body) else { return false };
    // Times as they are written sort as they are.
    let is_fresh = |evidence: &serde_json::Value| {
        evidence["complete"] == true && evidence["time"].as_str().is_some_and(|time| time >= asked)
    };
    document["mounts"].as_array().into_iter().flatten().any(|mount| match mount["state"].as_str() {
        Some("pending") => true,
        Some("hung" | "failed") => mount["behind"].is_null() && !is_fresh(&mount["evidence"]),
        _ => false,
    })
}

fn by_ourselves(config: &DiagnoseConfig, path: &Path) -> anyhow::Result<u8> {
    let namespace = mount_namespace::find(config.config.mount_namespace.as_deref())?;
    let table = mount_namespace::table(namespace.as_ref())?;
    let on_top = table.iter().rfind(|mount| mount.mountpoint == path);
    let wanted = on_top.with_context(|| not_there(&table, path))?.key;
    let asked: HashSet<MountKey> = on_the_way(&table, path).map(|mount| mount.key).collect();
    let mut options = Options::new(&config.config, namespace);
    options.monitor.expected = Vec::new();
    let config_of_mounts = Arc::clone(&config.config);
    options.monitor.policy = Box::new(move |mount| {
        // A mount that is excluded from watching is diagnosed, too.
        let settings = || config_of_mounts.policy(mount).unwrap_or(config_of_mounts.settings);
        asked.contains(&mount.key).then(settings)
    });
    let mut ignore = |_: SystemTime, _: Report| {};
    let ending = Daemon::new(options, EventHandler::Callback(&mut ignore))?.run(RunMode::Explain)?;
    anyhow::ensure!(!ending.interrupted, "interrupted before the mount had an answer");
    let status = ending.status.mounts.iter().find(|status| status.mount.key == wanted);
    let status = status.with_context(|| format!("{} has disappeared", escape_os(path)))?;
    if config.json {
        print(&format!("{}\n", diagnosis::json(status, ending.at, SystemTime::now())))?;
    } else {
        print(&diagnosis::text(status, ending.at, SystemTime::now()))?;
    }
    Ok(diagnosis::exit_status(status))
}

/// The mounts that a path leads through: one of them may be what hangs.
fn on_the_way<'a>(table: &'a MountTable, path: &Path) -> impl Iterator<Item = &'a Mount> {
    table.iter().map(|mount| &**mount).filter(move |mount| path.starts_with(&mount.mountpoint))
}

fn not_there(table: &MountTable, path: &Path) -> String {
    let around = on_the_way(table, path).max_by_key(|mount| mount.mountpoint.as_os_str().len());
    let advice = around.map_or_else(String::new, |mount| {
        format!("; it lies in the mount {}, diagnose that one", escape_os(&mount.mountpoint))
    });
    format!("{} is no mount point (links are not followed){advice}", escape_os(path))
}
