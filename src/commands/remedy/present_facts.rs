//! The facts about a mount as it is now: it is probed, with the mounts on its path and those of its superblock.

use super::{facts_of_table, machine_facts};
use crate::commands::diagnose::explain;
use crate::commands::{client, mount_namespace};
use crate::config::{Config, DaemonAddress, RemedyConfig};
use crate::daemon::WatchedTable;
use crate::monitor::remedy::{
    Confirmation, Death, FuseServer, KeptPath, Known, RemedyFacts, Sibling, SiblingHealth,
};
use crate::monitor::{Failure, Health, MountStatus, Reason, server_name};
use crate::render::escape::escape_os;
use crate::render::{Snapshot, timestamp};
use anyhow::Context as _;
use platform::evidence::{self, Evidence, Observation, ServerResponse};
use platform::{MountKey, MountTable};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(super) struct PresentFacts {
    pub(super) facts: RemedyFacts,
    /// From before the mount was probed.
    pub(super) table: MountTable,
}

/// What is known about the death from before.
pub(super) enum History<'a> {
    /// What this daemon knows, if there is one.
    OfDaemon(&'a DaemonAddress),
    Known(&'a Death),
}

/// Probes, and gathers what a plan needs. `kept` are paths that must never be lost.
pub(super) fn gather(
    config: &Arc<Config>,
    mountpoint: &Path,
    history: &History<'_>,
    kept: Vec<KeptPath>,
) -> anyhow::Result<PresentFacts> {
    let (snapshot, table) = probe(config, mountpoint)?;
    let can_be_reached = |status: &&MountStatus| status.health != Health::Hidden;
    let statuses: Vec<&MountStatus> = snapshot.status.mounts.iter().filter(can_be_reached).collect();
    let here = escape_os(mountpoint);
    let status = statuses.iter().find(|status| status.mount.mountpoint == mountpoint);
    let status = status.with_context(|| format!("{here} has disappeared, or another mount covers it"))?;
    let (mut facts, _) = facts_of_table(config, &status.mount, &table);
    match &status.health {
        Health::Dead(failure) => add_death(history, failure, &snapshot, &mut facts),
        Health::Ok | Health::Slow => facts.confirmation = Confirmation::Responds,
        other => anyhow::bail!("{here} could not be judged: it is {}", other.as_str()),
    }
    let health_of = |path: &Path| {
        let status = statuses.iter().find(|status| status.mount.mountpoint == path);
        status.map(|status| status.health.clone())
    };
    for ancestor in &mut facts.ancestors {
        ancestor.is_dead = matches!(health_of(&ancestor.mountpoint), Some(Health::Dead(_)));
    }
    for Sibling { mountpoint, health } in &mut facts.siblings {
        *health = match health_of(mountpoint) {
            Some(Health::Dead(_)) => SiblingHealth::Dead,
            Some(Health::Ok | Health::Slow) => SiblingHealth::Responds,
            _ => SiblingHealth::Unknown,
        };
    }
    let mount = Arc::clone(&facts.mount);
    let is_other = |other: &&Arc<platform::Mount>| {
        other.device_number != mount.device_number
            && server_name(other).is_some_and(|name| Some(name) == server_name(&mount))
    };
    facts.server.others = table.iter().filter(is_other).map(|other| other.mountpoint.to_path_buf()).collect();
    facts.kept = kept.into_iter().chain(kept_paths()).collect();
    machine_facts::add(&mut facts, config, &table);
    Ok(PresentFacts { facts, table })
}

/// Only probes it again.
pub(super) fn confirm(config: &RemedyConfig, facts: &mut RemedyFacts) -> anyhow::Result<()> {
    let (snapshot, _) = probe(&config.config, &facts.mount.mountpoint)?;
    let status = snapshot.status.mounts.iter().find(|status| status.mount.key == facts.mount.key);
    facts.confirmation = match status.map(|status| &status.health) {
        Some(Health::Dead(failure)) => confirmation(failure, &snapshot),
        Some(Health::Ok | Health::Slow) => Confirmation::Responds,
        _ => Confirmation::None,
    };
    Ok(())
}

/// The mount, those that its path leads through, and those of its superblock.
fn probe(config: &Arc<Config>, mountpoint: &Path) -> anyhow::Result<(Arc<Snapshot>, MountTable)> {
    let namespace = mount_namespace::open(config.mount_namespace.as_deref())?;
    let watched = WatchedTable::read(config, namespace)?;
    let table = watched.table().clone();
    let here: Vec<_> = table.iter().filter(|mount| mount.mountpoint == mountpoint).collect();
    anyhow::ensure!(!here.is_empty(), "{} is not a mount point", escape_os(mountpoint));
    let is_probed = |mount: &&Arc<platform::Mount>| {
        mountpoint.starts_with(&mount.mountpoint)
            || here.iter().any(|other| other.device_number == mount.device_number)
    };
    let probed: HashSet<MountKey> = table.iter().filter(is_probed).map(|mount| mount.key).collect();
    Ok((explain(config, watched, probed)?, table))
}

fn add_death(history: &History<'_>, failure: &Failure, snapshot: &Snapshot, facts: &mut RemedyFacts) {
    let Failure { reason, errno, call, .. } = *failure;
    facts.death = Some(match history {
        History::Known(death) => (*death).clone(),
        History::OfDaemon(daemon) => {
            let lasted = dead_for(daemon, &facts.mount.mountpoint).unwrap_or_default();
            let stale_for = if reason == Reason::Stale { lasted } else { Duration::ZERO };
            Death { key: facts.mount.key, reason, errno, call, lasted, stale_for }
        }
    });
    facts.confirmation = confirmation(failure, snapshot);
    let record = failure.evidence.as_deref();
    if let Some(record) = record {
        add_evidence(&record.evidence, reason, facts);
    }
}

fn confirmation(failure: &Failure, snapshot: &Snapshot) -> Confirmation {
    Confirmation::Dead { reason: failure.reason, prober_ended: snapshot.probers_stranded == 0 }
}

fn add_evidence(evidence: &Evidence, reason: Reason, facts: &mut RemedyFacts) {
    if let Some(check) = &evidence.server {
        facts.server.answers = match check.response {
            ServerResponse::Replies | ServerResponse::Connects => Ok(true),
            ServerResponse::NotChecked => Err("too many servers were being asked".to_owned()),
            _ => Ok(false),
        };
    }
    if let Some(observation) = &evidence.fuse_server {
        facts.fuse_server = fuse_server(observation, reason);
    }
}

fn fuse_server(observation: &Observation<evidence::FuseServer>, reason: Reason) -> Known<FuseServer> {
    match observation {
        Observation::Found(evidence::FuseServer::Process { pid, state: 'T' | 't', .. }) => {
            Ok(FuseServer::Stopped { pid: *pid })
        }
        Observation::Found(evidence::FuseServer::Process { pid, .. }) => {
            Ok(FuseServer::Running { pid: *pid })
        }
        // A connection without a process that has it open is what the kernel calls disconnected.
        Observation::Found(evidence::FuseServer::NotSeen) if reason == Reason::Disconnected => {
            Ok(FuseServer::Gone)
        }
        Observation::Found(evidence::FuseServer::NotSeen) => Err("no process was seen".to_owned()),
        Observation::NeedsRoot => Err("requires root".to_owned()),
        Observation::Unknown => Err("the kernel does not say it (before Linux 6.16)".to_owned()),
    }
}

/// Since when, as a running daemon knows it.
fn dead_for(daemon: &DaemonAddress, mountpoint: &Path) -> Option<Duration> {
    let target = client::target(&[PathBuf::from(mountpoint)], &[]);
    let response = client::get(daemon, &target).ok().filter(|response| response.status == 200)?;
    let document: serde_json::Value = serde_json::from_str(&response.body).ok()?;
    let mut mounts = document["mounts"].as_array()?.iter();
    let dead = mounts.find(|mount| matches!(mount["state"].as_str(), Some("hung" | "failed")))?;
    let since = timestamp::parse(dead["since"].as_str()?)?;
    SystemTime::now().duration_since(since).ok()
}

/// Of the configuration of a daemon.
pub(super) fn kept_files(config: &Config) -> Vec<KeptPath> {
    let kept = |what, path: &Path| KeptPath { what, path: path.to_owned() };
    let files = config.files.iter().map(|file| kept("a configuration file", file));
    files.chain(config.http.socket.path().map(|path| kept("the socket of the daemon", path))).collect()
}

/// Besides the paths of the system and the files of the daemon.
fn kept_paths() -> impl Iterator<Item = KeptPath> {
    let program = std::env::current_exe().ok().map(|path| KeptPath { what: "this program", path });
    let home = KeptPath { what: "the home of root", path: "/root".into() };
    program.into_iter().chain([home])
}
