//! `/api/v1/drill`: makes a drill, for clients of the Unix socket only, and responds with its results.

use super::RouteContext;
use super::mounts::EXIT_STATUS;
use super::response;
use crate::render::drill::DrillReport;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use std::path::{Path, PathBuf};

/// The mount that a drill pretends, if the request names none.
const DEFAULT_MOUNTPOINT: &str = "/drill";
/// The longest path of the kernel, with its end.
const MAX_PATH: usize = 4096;

pub(super) async fn drill(context: &RouteContext, parameters: &[(String, String)]) -> Response {
    if !context.is_local {
        return response::text(StatusCode::FORBIDDEN, "a drill is made for clients of the Unix socket only");
    }
    let mountpoint = match mountpoint(parameters) {
        Ok(mountpoint) => mountpoint,
        Err(problem) => return response::text(StatusCode::BAD_REQUEST, problem),
    };
    match context.state.request_drill(mountpoint) {
        Ok(drill) => respond(drill.finish().await),
        Err(wait) => {
            let seconds = wait.as_secs() + 1;
            let text = format!("the last drill has just begun; try again in {seconds}s");
            let mut response = response::text(StatusCode::TOO_MANY_REQUESTS, &text);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            response
        }
    }
}

fn mountpoint(parameters: &[(String, String)]) -> Result<PathBuf, &'static str> {
    match parameters {
        [] => Ok(DEFAULT_MOUNTPOINT.into()),
        [(key, value)] if key == "mountpoint" => {
            let is_path = Path::new(value).is_absolute() && value.len() < MAX_PATH && !value.contains('\0');
            is_path.then(|| value.into()).ok_or("mountpoint: must be an absolute path")
        }
        _ => Err("use one parameter, mountpoint, or none"),
    }
}

fn respond(report: Option<DrillReport>) -> Response {
    let Some(report) = report else {
        return response::text(StatusCode::SERVICE_UNAVAILABLE, "the daemon's event loop does not respond");
    };
    let mut response = response::body(report.json(), "application/json");
    response.headers_mut().insert(EXIT_STATUS, HeaderValue::from(u16::from(report.exit_status())));
    response
}
