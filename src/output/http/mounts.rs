//! `/api/v1/mounts`: what is known of the mounts, as the document for programs, or ready to be shown.

use super::cache::{Cache, wants_gzip};
use super::{State, reply};
use crate::monitor::{ExpectedStatus, Health, Status};
use crate::render::Snapshot;
use crate::render::StatusSummary;
use crate::render::diagnosis;
use crate::render::document::{Running, document};
use crate::render::escape::escape_os;
use crate::render::nagios;
use crate::render::table::{Style, table};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// The exit status that a command has if it shows this answer.
pub(crate) const EXIT_STATUS: HeaderName = HeaderName::from_static("x-exit-status");
/// The state of an expected mount that is not there.
const MISSING: &str = "missing";
const JSON: &str = "application/json";
/// Columns of a table that somebody may ask for.
const WIDEST: usize = 10_000;

/// The document of a whole snapshot.
pub(super) fn whole(state: &Arc<super::Told>, snapshot: &Snapshot) -> Vec<u8> {
    let running = Running {
        serial: snapshot.serial,
        last_event: state.live.events().last(),
        settings: snapshot.settings,
        probers: snapshot.probers,
        probers_stranded: snapshot.probers_stranded,
    };
    document(&snapshot.status, snapshot.at, snapshot.wall, Some(running)).into_bytes()
}

/// What somebody asks for, from the query.
#[derive(Default)]
struct Question {
    mountpoints: HashSet<String>,
    states: HashSet<String>,
    form: Form,
    style: Style,
    fresh_evidence: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    #[default]
    Json,
    Table,
    Nagios,
    Diagnosis,
    DiagnosisJson,
}

/// The document of all mounts, made once for everybody.
pub(super) fn whole_answer(cache: &Cache, snapshot: &Snapshot, headers: &HeaderMap) -> Response {
    let gzip = wants_gzip(headers);
    let response = reply::cached(cache.get(snapshot, gzip), JSON, gzip);
    with_exit_status(response, snapshot, exit_status(snapshot))
}

/// The answer to a question of its own.
pub(super) fn answer(state: &State, snapshot: &Snapshot, query: &[(String, String)]) -> Response {
    let question = match Question::of(query) {
        Ok(question) => question,
        Err(problem) => return reply::text(StatusCode::BAD_REQUEST, &problem),
    };
    if !question.selects() {
        return question.show(state, snapshot);
    }
    match question.select(&snapshot.status) {
        Ok(status) => question.show(state, &Snapshot { status, ..snapshot.clone() }),
        Err(problem) => reply::text(StatusCode::NOT_FOUND, &problem),
    }
}

/// Before the first run is complete nobody knows how it will end.
fn with_exit_status(mut response: Response, snapshot: &Snapshot, status: u8) -> Response {
    if snapshot.status.last_run.is_some() {
        response.headers_mut().insert(EXIT_STATUS, HeaderValue::from(u16::from(status)));
    }
    response
}

/// As `check` would end: 1 if mounts are dead, 2 if some could not be judged.
fn exit_status(snapshot: &Snapshot) -> u8 {
    StatusSummary::of(&snapshot.status).exit_status()
}

impl Question {
    fn of(query: &[(String, String)]) -> Result<Question, String> {
        let mut question = Question::default();
        for (key, value) in query {
            match (key.as_str(), value.as_str()) {
                ("mountpoint", _) => {
                    question.mountpoints.insert(value.clone());
                }
                ("state", _) => {
                    question.states.insert(value.clone());
                }
                ("format", "json") => question.form = Form::Json,
                ("format", "table") => question.form = Form::Table,
                ("format", "nagios") => question.form = Form::Nagios,
                ("format", "diagnosis") => question.form = Form::Diagnosis,
                ("format", "diagnosis-json") => question.form = Form::DiagnosisJson,
                ("evidence", "fresh") => question.fresh_evidence = true,
                ("evidence", _) => return Err("evidence: use fresh".to_owned()),
                ("width", number) => match number.parse() {
                    Ok(width) if width <= WIDEST => question.style.width = Some(width),
                    _ => return Err("width: use a number of columns, at most 10000".to_owned()),
                },
                ("colours", "1") => question.style.colours = true,
                ("colours", "0") => question.style.colours = false,
                ("format", _) => {
                    return Err("format: use json, table, nagios, diagnosis or diagnosis-json".to_owned());
                }
                ("colours", _) => return Err("colours: use 0 or 1".to_owned()),
                _ => {
                    return Err(
                        "unknown parameter; use mountpoint, state, format, width, colours or evidence".into(),
                    );
                }
            }
        }
        let is_diagnosis = matches!(question.form, Form::Diagnosis | Form::DiagnosisJson);
        if is_diagnosis && question.mountpoints.len() != 1 {
            return Err("a diagnosis requires exactly one mountpoint".to_owned());
        }
        Ok(question)
    }

    fn selects(&self) -> bool {
        !self.mountpoints.is_empty() || !self.states.is_empty()
    }

    /// A status of these mounts alone, or the name of the first that is not there.
    fn select(&self, status: &Status) -> Result<Status, String> {
        let paths: Vec<Cow<'_, str>> =
            status.mounts.iter().map(|mount| escape_os(&mount.mount.mountpoint)).collect();
        // One that is missing is known, too: that is an answer.
        let missing: Vec<Cow<'_, str>> =
            status.missing_mounts().map(|it| escape_os(&it.expected.mountpoint)).collect();
        let known: HashSet<&str> = paths.iter().chain(&missing).map(AsRef::as_ref).collect();
        if let Some(unknown) = self.mountpoints.iter().find(|wanted| !known.contains(wanted.as_str())) {
            return Err(format!("{unknown} is not a watched mount"));
        }
        let is_wanted = |wanted: &HashSet<String>, name: &str| wanted.is_empty() || wanted.contains(name);
        let chosen = status.mounts.iter().zip(&paths).filter(|(mount, path)| {
            is_wanted(&self.mountpoints, path) && is_wanted(&self.states, mount.health.as_str())
        });
        let mounts = chosen.map(|(mount, _)| mount.clone()).collect();
        let is_expected = |it: &&ExpectedStatus| {
            let state = if it.missing_since.is_some() { MISSING } else { "" };
            is_wanted(&self.mountpoints, &escape_os(&it.expected.mountpoint))
                && is_wanted(&self.states, state)
        };
        let expected = status.expected.iter().filter(is_expected).cloned().collect();
        let mut selected = Status { mounts, expected, ..status.clone() };
        let verdict = StatusSummary::of(&selected);
        (selected.total, selected.dead) = (verdict.total, verdict.dead);
        Ok(selected)
    }

    fn show(&self, state: &State, snapshot: &Snapshot) -> Response {
        let status = &snapshot.status;
        let exit = exit_status(snapshot);
        if self.fresh_evidence {
            let dead = status.mounts.iter().filter(|mount| mount.health.failure().is_some());
            state.told.live.request_evidence(dead.map(|mount| mount.mount.mountpoint.clone()));
        }
        let (exit, response) = match self.form {
            Form::Json => (exit, reply::bytes(whole(&state.told, snapshot), JSON)),
            Form::Table => (exit, reply::text(StatusCode::OK, &table(status, snapshot.at, self.style))),
            Form::Nagios => {
                let (plugin, line) = nagios::line(status);
                (plugin.exit_status(), reply::text(StatusCode::OK, &line))
            }
            Form::Diagnosis | Form::DiagnosisJson => {
                // Of mounts that lie on each other, the one that the path reaches.
                let visible = status.mounts.iter().rfind(|mount| mount.health != Health::Hidden);
                let Some(mount) = visible.or(status.mounts.last()) else {
                    return reply::text(StatusCode::NOT_FOUND, "the mount is not in a requested state");
                };
                let response = if self.form == Form::Diagnosis {
                    reply::text(StatusCode::OK, diagnosis::text(mount, snapshot.at, snapshot.wall).trim_end())
                } else {
                    reply::bytes(diagnosis::json(mount, snapshot.at, snapshot.wall), JSON)
                };
                (diagnosis::exit_status(mount), response)
            }
        };
        with_exit_status(response, snapshot, exit)
    }
}
