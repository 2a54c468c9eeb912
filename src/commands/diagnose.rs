//! `diagnose`: everything about one mount, from the running daemon, which knows more, or by probing it here.

use super::{client, mount_namespace, print};
use crate::config::{DiagnoseConfig, not_a_mount_point};
use crate::daemon::{Daemon, EventHandler, Options, RunMode};
use crate::output::Report;
use crate::render::escape::escape_os;
use crate::render::{diagnosis, timestamp};
use anyhow::Context as _;
use platform::MountKey;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long to wait for the daemon's evidence before the available evidence is shown.
const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(6);
/// Evidence that is at most this old is fresh: the daemon would not collect it again so soon.
const EVIDENCE_MAX_AGE: Duration = Duration::from_secs(5);
const QUERY_INTERVAL: Duration = Duration::from_millis(150);

pub fn diagnose(config: &DiagnoseConfig) -> anyhow::Result<u8> {
    let path = mount_namespace::resolve(&config.config, &config.mountpoint);
    match query_daemon(config, &path) {
        Some(response) => response.print(config.json),
        None => diagnose_directly(config, &path),
    }
}

/// `None` if there is no daemon or it does not watch this mount.
fn query_daemon(config: &DiagnoseConfig, path: &Path) -> Option<client::Response> {
    let socket = config.socket.as_deref()?;
    let target = |parameters: &[(&str, &str)]| client::target(&[path.into()], parameters);
    let get = |parameters: &[(&str, &str)]| client::get(socket, &target(parameters)).ok();
    let longest_timeout = config.config.longest_timeout();
    let get_fresh = |parameter| {
        client::get_fresh(socket, &target(&[client::FRESH_PROBES, parameter]), longest_timeout).ok()
    };
    let fresh_after = timestamp::rfc3339(SystemTime::now() - EVIDENCE_MAX_AGE);
    let mut response = get_fresh(("evidence", "fresh"))?;
    let end = Instant::now() + EVIDENCE_TIMEOUT;
    while response.status == 200 && is_incomplete(&response.body, &fresh_after) && Instant::now() < end {
        thread::park_timeout(QUERY_INTERVAL);
        response = get(&[])?;
    }
    let format = if config.json { "diagnosis-json" } else { "diagnosis" };
    get_fresh(("format", format)).filter(|response| response.status == 200)
}

/// The mount has not been judged, or it is dead and fresh evidence is still pending.
fn is_incomplete(body: &str, fresh_after: &str) -> bool {
    let Ok(document) = serde_json::from_str::<serde_json::Value>(body) else { return false };
    let is_fresh = |evidence: &serde_json::Value| {
        // RFC 3339 in UTC sorts as text.
        evidence["complete"] == true && evidence["time"].as_str().is_some_and(|time| time >= fresh_after)
    };
    document["mounts"].as_array().into_iter().flatten().any(|mount| match mount["state"].as_str() {
        Some("pending") => true,
        Some("hung" | "failed") => mount["behind"].is_null() && !is_fresh(&mount["evidence"]),
        _ => false,
    })
}

fn diagnose_directly(config: &DiagnoseConfig, path: &Path) -> anyhow::Result<u8> {
    let namespace = mount_namespace::open(config.config.mount_namespace.as_deref())?;
    let table = mount_namespace::table(namespace.as_ref())?;
    let topmost = table.iter().rfind(|mount| mount.mountpoint == path);
    let wanted = topmost.with_context(|| not_a_mount_point(&table, path, "diagnose"))?.key;
    // The path leads through these mounts: any of them may hang.
    let on_path = table.iter().filter(|mount| path.starts_with(&mount.mountpoint));
    let probed: HashSet<MountKey> = on_path.map(|mount| mount.key).collect();
    let mut options = Options::new(&config.config, namespace);
    options.monitor.expected = Vec::new();
    let config_of_mounts = Arc::clone(&config.config);
    options.monitor.policy = Box::new(move |mount| {
        // Mounts that are excluded from watching are also diagnosed.
        let settings = || config_of_mounts.policy(mount).unwrap_or(config_of_mounts.settings);
        probed.contains(&mount.key).then(settings)
    });
    let mut ignore = |_: SystemTime, _: Report| {};
    let result = Daemon::new(options, EventHandler::Callback(&mut ignore))?.run(RunMode::Explain)?;
    anyhow::ensure!(!result.interrupted, "interrupted before the mount had responded");
    let status = result.snapshot.status.mounts.iter().find(|status| status.mount.key == wanted);
    let status = status.with_context(|| format!("{} has disappeared", escape_os(path)))?;
    if config.json {
        print(&format!("{}\n", diagnosis::json(status, &result.snapshot)))?;
    } else {
        print(&diagnosis::text(status, &result.snapshot))?;
    }
    Ok(diagnosis::exit_status(status))
}
