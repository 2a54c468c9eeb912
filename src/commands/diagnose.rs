//! `diagnose`: everything about one mount, from the running daemon, which knows more, or by probing it here.

use super::diagnosed_mount::DiagnosedMount;
use super::{client, mount_namespace, print, surroundings};
use crate::config::{Config, DiagnoseConfig};
use crate::daemon::{Daemon, EventHandler, Options, RunMode, WatchedTable};
use crate::output::Report;
use crate::render::escape::escape_os;
use crate::render::{Snapshot, diagnosis, timestamp};
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
    let DiagnosedMount { mountpoint, explanation } =
        DiagnosedMount::find(&config.config, &config.mountpoint)?;
    let (status, mut diagnosis) = match query_daemon(config, &mountpoint) {
        Some(response) => (response.exit_status(), response.body),
        None => diagnose_directly(config, &mountpoint)?,
    };
    // A mount that responds needs no repair.
    if status != 0 {
        let surroundings = surroundings::find(&config.config, &mountpoint);
        diagnosis =
            if config.json { surroundings.in_json(&diagnosis) } else { surroundings.in_text(&diagnosis) };
    }
    match explanation {
        _ if config.json => print(&(diagnosis + "\n"))?,
        explanation => print(&(explanation.unwrap_or_default() + &diagnosis))?,
    }
    Ok(status)
}

/// `None` if there is no daemon or it does not watch this mount.
fn query_daemon(config: &DiagnoseConfig, path: &Path) -> Option<client::Response> {
    let daemon = config.daemon.as_ref()?;
    let target = |parameters: &[(&str, &str)]| client::target(&[path.into()], parameters);
    let get = |parameters: &[(&str, &str)]| client::get(daemon, &target(parameters)).ok();
    let longest_timeout = config.config.longest_timeout();
    let get_fresh = |parameter| {
        client::get_fresh(daemon, &target(&[client::FRESH_PROBES, parameter]), longest_timeout).ok()
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

/// The exit status and the text.
fn diagnose_directly(config: &DiagnoseConfig, path: &Path) -> anyhow::Result<(u8, String)> {
    let namespace = mount_namespace::open(config.config.mount_namespace.as_deref())?;
    let watched = WatchedTable::read(&config.config, namespace)?;
    let table = watched.table();
    let topmost = table.iter().rfind(|mount| mount.mountpoint == path);
    let wanted = topmost.with_context(|| format!("{} is not a mount point", escape_os(path)))?.key;
    // The path leads through these mounts: any of them may hang.
    let on_path = table.iter().filter(|mount| path.starts_with(&mount.mountpoint));
    let probed: HashSet<MountKey> = on_path.map(|mount| mount.key).collect();
    let snapshot = explain(&config.config, watched, probed)?;
    let status = snapshot.status.mounts.iter().find(|status| status.mount.key == wanted);
    let status = status.with_context(|| format!("{} has disappeared", escape_os(path)))?;
    let diagnosis = if config.json { diagnosis::json } else { diagnosis::text };
    Ok((diagnosis::exit_status(status), diagnosis(status, &snapshot)))
}

/// Probes these mounts, and collects evidence about those that are dead.
pub(super) fn explain(
    config: &Arc<Config>,
    watched: WatchedTable,
    probed: HashSet<MountKey>,
) -> anyhow::Result<Arc<Snapshot>> {
    let mut options = Options::new(config, watched);
    options.monitor.expected = Vec::new();
    let config = Arc::clone(config);
    options.monitor.policy = Box::new(move |mount| {
        // Mounts that are excluded from watching are also looked at.
        let settings = || config.policy(mount).unwrap_or(config.settings);
        probed.contains(&mount.key).then(settings)
    });
    let mut ignore = |_: SystemTime, _: Report| {};
    let result = Daemon::new(options, EventHandler::Callback(&mut ignore))?.run(RunMode::Explain)?;
    anyhow::ensure!(!result.interrupted, "interrupted before the mount had responded");
    Ok(result.snapshot)
}
