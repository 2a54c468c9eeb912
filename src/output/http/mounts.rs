//! `/api/v1/mounts`: the status as JSON, or rendered for the commands of this program.

use super::in_parts::PartsBody;
use super::limits::MAX_WIDTH;
use super::{RouteContext, response};
use crate::monitor::{ExpectedStatus, Health, MountStatus, ProbeSelection, Status};
use crate::output::{SharedState, lock};
use crate::render::escape::escape_os;
use crate::render::json::{self, StatusText};
use crate::render::nagios::{PluginRequest, Thresholds};
use crate::render::table::{self, Style};
use crate::render::{Snapshot, StatusSummary, diagnosis, nagios, notices};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The header with the exit status of a command that prints this response.
pub(crate) const EXIT_STATUS: HeaderName = HeaderName::from_static("x-exit-status");
/// The state of an expected mount that is not mounted.
const MISSING: &str = "missing";
const JSON: &str = "application/json";

/// The response without parameters, compressed with a permit. Its length tells simple clients whether it is complete: so
/// a long document is made once more for that, with each snapshot.
pub(super) async fn all_mounts(
    context: &RouteContext,
    snapshot: &Snapshot,
    permit: Option<OwnedSemaphorePermit>,
) -> Response {
    let last_event = context.state.events().last();
    let text = || StatusText::new(snapshot, Some(last_event));
    let length = async {
        let key = (snapshot.serial, last_event);
        let known = *lock(&context.document_length);
        if known.0 == key {
            return Some(known.1);
        }
        let length = PartsBody::new(text(), None, &context.render_lock).length().await;
        *lock(&context.document_length) = (key, length);
        Some(length)
    };
    let parts = PartsBody::new(text(), permit, &context.render_lock);
    let response = response::in_parts(parts, JSON, length).await;
    with_exit_status(response, snapshot, exit_status(snapshot))
}

/// The response to a request with parameters.
pub(super) fn selected_mounts(state: &SharedState, snapshot: &Snapshot, query: &MountsQuery) -> Response {
    if query.mountpoints.is_empty() && query.states.is_empty() {
        return query.respond(state, snapshot);
    }
    match query.select(&snapshot.status) {
        Ok(status) => query.respond(state, &Snapshot { status: Arc::new(status), ..snapshot.clone() }),
        Err(problem) => response::text(StatusCode::NOT_FOUND, &problem),
    }
}

/// The result is unknown before the first run is complete.
fn with_exit_status(mut response: Response, snapshot: &Snapshot, status: u8) -> Response {
    if snapshot.status.last_run.is_some() {
        response.headers_mut().insert(EXIT_STATUS, HeaderValue::from(u16::from(status)));
    }
    response
}

fn exit_status(snapshot: &Snapshot) -> u8 {
    StatusSummary::of(&snapshot.status).exit_status()
}

/// The parameters of a request.
#[derive(Default)]
pub(super) struct MountsQuery {
    mountpoints: HashSet<String>,
    states: HashSet<String>,
    format: Format,
    style: Style,
    thresholds: Thresholds,
    has_fresh_evidence: bool,
    has_fresh_probes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Format {
    #[default]
    Json,
    Table,
    Nagios,
    Diagnosis,
    DiagnosisJson,
}

impl MountsQuery {
    pub(super) fn parse(parameters: &[(String, String)]) -> Result<MountsQuery, String> {
        let mut query = MountsQuery::default();
        for (key, value) in parameters {
            match (key.as_str(), value.as_str()) {
                ("mountpoint", _) => {
                    query.mountpoints.insert(value.clone());
                }
                ("state", _) => {
                    query.states.insert(value.clone());
                }
                ("format", _) => query.format = Format::parse(value)?,
                ("evidence", "fresh") => query.has_fresh_evidence = true,
                ("evidence", _) => return Err("evidence: use fresh".to_owned()),
                ("probe", "fresh") => query.has_fresh_probes = true,
                ("probe", _) => return Err("probe: use fresh".to_owned()),
                ("width", number) => match number.parse() {
                    Ok(width) if width <= MAX_WIDTH => query.style.width = Some(width),
                    _ => return Err(format!("width: use a number of columns, at most {MAX_WIDTH}")),
                },
                ("warning", range) => query.thresholds.warning = Some(threshold("warning", range)?),
                ("critical", range) => query.thresholds.critical = Some(threshold("critical", range)?),
                ("colours", "1") => query.style.colours = true,
                ("colours", "0") => query.style.colours = false,
                ("colours", _) => return Err("colours: use 0 or 1".to_owned()),
                _ => {
                    let known =
                        "mountpoint, state, format, width, colours, warning, critical, evidence or probe";
                    return Err(format!("unknown parameter; use {known}"));
                }
            }
        }
        let is_diagnosis = matches!(query.format, Format::Diagnosis | Format::DiagnosisJson);
        if is_diagnosis && query.mountpoints.len() != 1 {
            return Err("a diagnosis requires exactly one mountpoint".to_owned());
        }
        Ok(query)
    }

    /// The mounts to probe before the response.
    pub(super) fn probe_selection(&self, status: &Status) -> Option<ProbeSelection> {
        if !self.has_fresh_probes {
            return None;
        }
        if self.mountpoints.is_empty() {
            return Some(ProbeSelection::All);
        }
        let is_named =
            |status: &&MountStatus| self.mountpoints.contains(&*escape_os(&status.mount.mountpoint));
        let keys = status.mounts.iter().filter(is_named).map(|status| status.mount.key);
        Some(ProbeSelection::These(keys.collect()))
    }

    /// A status of the selected mounts only, or an error that names a mount point that is not watched.
    fn select(&self, status: &Status) -> Result<Status, String> {
        let paths: Vec<Cow<'_, str>> =
            status.mounts.iter().map(|mount| escape_os(&mount.mount.mountpoint)).collect();
        let missing: Vec<Cow<'_, str>> =
            status.missing_mounts().map(|mount| escape_os(&mount.expected.mountpoint)).collect();
        let known: HashSet<&str> = paths.iter().chain(&missing).map(AsRef::as_ref).collect();
        if let Some(unknown) = self.mountpoints.iter().find(|path| !known.contains(path.as_str())) {
            return Err(format!("{unknown} is not a watched mount"));
        }
        let contains = |names: &HashSet<String>, name: &str| names.is_empty() || names.contains(name);
        let is_selected =
            |path: &str, state: &str| contains(&self.mountpoints, path) && contains(&self.states, state);
        let mounts = status
            .mounts
            .iter()
            .zip(&paths)
            .filter(|(mount, path)| is_selected(path, mount.health.as_str()))
            .map(|(mount, _)| mount.clone())
            .collect();
        let is_expected = |mount: &&ExpectedStatus| {
            let state = if mount.missing_since.is_some() { MISSING } else { "" };
            is_selected(&escape_os(&mount.expected.mountpoint), state)
        };
        let expected = status.expected.iter().filter(is_expected).cloned().collect();
        let mut selected = Status { mounts, expected, ..status.clone() };
        let summary = StatusSummary::of(&selected);
        (selected.total, selected.dead) = (summary.total, summary.dead);
        Ok(selected)
    }

    fn respond(&self, state: &SharedState, snapshot: &Snapshot) -> Response {
        let status = &snapshot.status;
        if self.has_fresh_evidence {
            let dead = status.mounts.iter().filter(|mount| mount.health.failure().is_some());
            state.request_evidence(dead.map(|mount| mount.mount.mountpoint.to_path_buf()));
        }
        let text = |text: &str| response::text(StatusCode::OK, text);
        let (exit_status, response) = match self.format {
            Format::Json => {
                let text = json::status(snapshot, Some(state.events().last()));
                (exit_status(snapshot), response::body(text, JSON))
            }
            Format::Table => {
                let table = table::of_daemon(snapshot, self.style);
                (exit_status(snapshot), text(&(table + &notices::of_daemon(snapshot))))
            }
            Format::Nagios => {
                let denied_is_unknown = !self.mountpoints.is_empty();
                let request = PluginRequest { denied_is_unknown, thresholds: self.thresholds.clone() };
                let (plugin_state, line) = nagios::line(status, snapshot.at, &request);
                (plugin_state.exit_status(), text(&line))
            }
            Format::Diagnosis | Format::DiagnosisJson => {
                let Some(mount) = visible_mount(status) else {
                    return response::text(StatusCode::NOT_FOUND, "the mount is not in a requested state");
                };
                let response = if self.format == Format::Diagnosis {
                    text(&diagnosis::text(mount, snapshot))
                } else {
                    response::body(diagnosis::json(mount, snapshot), JSON)
                };
                (diagnosis::exit_status(mount), response)
            }
        };
        with_exit_status(response, snapshot, exit_status)
    }
}

fn threshold(name: &str, range: &str) -> Result<nagios::Range, String> {
    range.parse().map_err(|problem| format!("{name}: {problem}"))
}

impl Format {
    fn parse(name: &str) -> Result<Format, String> {
        Ok(match name {
            "json" => Format::Json,
            "table" => Format::Table,
            "nagios" => Format::Nagios,
            "diagnosis" => Format::Diagnosis,
            "diagnosis-json" => Format::DiagnosisJson,
            _ => return Err("format: use json, table, nagios, diagnosis or diagnosis-json".to_owned()),
        })
    }
}

/// The mount that the path reaches, of all mounts on that path.
fn visible_mount(status: &Status) -> Option<&MountStatus> {
    let mut mounts = status.mounts.iter();
    let last = status.mounts.iter().next_back();
    mounts.rfind(|mount| mount.health != Health::Hidden).or(last)
}
