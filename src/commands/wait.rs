//! `check --wait`: until the named mounts are there and respond. They are probed by children of this process, not by a
//! daemon: what counts is what the caller can reach, in its mount namespace and with its rights.

use super::terminal::Progress;
use super::{mount_namespace, print_status};
use crate::config::{CheckConfig, Config, select};
use crate::daemon::{Daemon, EventHandler, Options, RunMode, WatchedTable};
use crate::monitor::{Health, MountStatus, Status, Time};
use crate::output::Report;
use crate::render::escape::escape_os;
use crate::render::{HumanDuration, PROCESS_NAME};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How often each mount is probed: the caller starts so much later than it could.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const MISSING_STATUS: u8 = 1;

pub(super) fn wait(config: &CheckConfig, limit: Duration) -> anyhow::Result<u8> {
    let end = Instant::now() + limit;
    let named: Vec<PathBuf> =
        config.mountpoints.iter().map(|path| mount_namespace::resolve(&config.config, path)).collect();
    let mut ignore = |_: SystemTime, _: Report| {};
    let daemon = Daemon::new(options(config, &named)?, EventHandler::Callback(&mut ignore))?;
    let mut progress = Progress::on_stderr();
    let mut is_over = |status: &Status, now: Time| {
        if let Some(progress) = &mut progress {
            progress.show(status, now);
        }
        Instant::now() >= end || named.iter().all(|path| problem(status, path, now).is_none())
    };
    let result = daemon.run(RunMode::Until(&mut is_over))?;
    drop(progress);
    anyhow::ensure!(!result.namespace_ended, "the mount namespace has ended");
    anyhow::ensure!(!result.interrupted, "interrupted before every mount had responded");
    print_status(config.output, &result.snapshot)?;
    let mut exit_status = 0;
    for path in &named {
        if let Some(problem) = problem(&result.snapshot.status, path, result.snapshot.at) {
            let problem =
                problem.or_else(|| absence(config, path)).unwrap_or_else(|| "it has just appeared".into());
            eprintln!("{PROCESS_NAME}: {} after {}: {problem}", escape_os(path), HumanDuration(limit));
            exit_status = MISSING_STATUS;
        }
    }
    Ok(exit_status)
}

fn options(config: &CheckConfig, named: &[PathBuf]) -> anyhow::Result<Options> {
    let mut of_loop = Config::clone(&config.config);
    of_loop.settings.poll_interval = PROBE_INTERVAL;
    let namespace = mount_namespace::open(config.config.mount_namespace.as_deref())?;
    let of_loop = Arc::new(of_loop);
    let mut options = Options::new(&of_loop, WatchedTable::read(&of_loop, namespace)?);
    options.monitor.expected = Vec::new();
    let (config, named) = (config.clone(), named.to_vec());
    options.monitor.policy = Box::new(move |mount| {
        let is_wanted = named.iter().any(|path| mount.mountpoint == *path);
        let mut settings = config.settings_for(mount);
        settings.poll_interval = PROBE_INTERVAL;
        (is_wanted && config.config.policy(mount).is_some()).then_some(settings)
    });
    Ok(options)
}

/// Why a mount point cannot be used yet; none if it can be. The reason is unknown if no mount there is watched.
fn problem(status: &Status, path: &Path, now: Time) -> Option<Option<String>> {
    let mut there = status.mounts.iter().filter(|mount| mount.mount.mountpoint == *path).peekable();
    if there.peek().is_none() {
        return Some(None);
    }
    let text = match there.rfind(|mount| mount.health != Health::Hidden) {
        None => "another mount hides it".to_owned(),
        Some(mount) => match &mount.health {
            Health::Dead(failure) => format!("it is dead ({})", failure.reason.as_str()),
            Health::Denied(errno) => format!("this user may not check it ({errno})"),
            Health::Ok | Health::Slow if !is_late(mount, now) => return None,
            _ => "it has not responded".to_owned(),
        },
    };
    Some(Some(text))
}

/// It responded before, but may hang now.
fn is_late(mount: &MountStatus, now: Time) -> bool {
    mount.waiting_since.is_some_and(|since| now.since(since) >= mount.settings.slow_after)
}

/// Why no mount there is watched, from the present table.
fn absence(config: &CheckConfig, path: &Path) -> Option<String> {
    let namespace = mount_namespace::open(config.config.mount_namespace.as_deref()).ok()?;
    let table = mount_namespace::table(namespace.as_ref()).ok()?;
    let problems = select(&table, &[path.into()], |mount| config.config.policy(mount).is_some()).err()?;
    Some(problems.join("; "))
}
