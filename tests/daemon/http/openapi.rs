//! Compares `contrib/openapi.json` with real responses.

use super::{LIMIT, get, open_event_stream, send, start_with_http};
use crate::common::{free_address, ms, run_isolated, utf8, wait_until};
use crate::{QUICK, QUICK_HANG};
use serde_json::Value;
use std::net::TcpStream;

#[test]
fn responses_match_the_openapi_document() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(4);
        lab.set_fault("errno ESTALE", &mounts[0]);
        let (daemon, address) = start_with_http(lab, QUICK);
        let lines = open_event_stream(address, "/api/v1/events?after=0");
        let api = get(address, "/api/openapi.json").json();
        lab.set_fault("mute", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG);
        lab.set_fault("ok", &mounts[0]);
        daemon.wait_for_recovery(&mounts[0], ms(3000));
        lab.set_fault("die", &mounts[2]);
        lab.detach(&mounts[2]);
        lab.mount_tmpfs(&lab.mount_point("new"));
        lines.wait_for(0, "\"event\":\"mounted\"", LIMIT).expect("the event arrives");
        wait_until(ms(2000), "the failure is published", || {
            get(address, "/api/v1/mounts?state=hung").json()["total"] == 1
        });

        let response = get(address, "/api/v1/mounts").json();
        assert_eq!(
            mismatches(&api, &api["components"]["schemas"]["Mounts"], &response, "mounts"),
            Vec::<String>::new()
        );
        let events: Vec<Value> = lines
            .all()
            .iter()
            .filter_map(|line| line.text.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).expect("JSON"))
            .collect();
        assert!(events.len() > 5);
        for event in &events {
            let mismatches = mismatches(&api, &api["components"]["schemas"]["Event"], event, "event");
            assert_eq!(mismatches, Vec::<String>::new(), "{event}");
        }
        // Every documented path responds with a documented status.
        for (path, documented) in api["paths"].as_object().expect("paths") {
            if path != "/api/v1/events" {
                let method = if documented["get"].is_object() { "GET" } else { "POST" };
                let request =
                    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                let status = send(address, &request).status.to_string();
                assert!(
                    documented[method.to_lowercase()]["responses"][&status].is_object(),
                    "{path}: {status}"
                );
            }
        }
        daemon.stop();
    });
}

#[test]
fn every_documented_path_may_ask_for_the_documented_password() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let hash = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"; // of `secret`
        let web = lab.write_file("web.yml", format!("basic_auth_users:\n  a: {hash}\n"));
        let address = free_address();
        let listen = address.to_string();
        let options = ["--listen-address", &listen, "--web-config-file", utf8(&web)];
        let daemon = lab.start_daemon(&[QUICK, &options].concat());
        wait_until(LIMIT, "it listens", || TcpStream::connect(address).is_ok());
        let request = |method: &str, path: &str, more: &str| {
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
            send(address, &head)
        };
        let api = request("GET", "/api/openapi.json", "Authorization: Basic YTpzZWNyZXQ=\r\n").json();
        let scheme = &api["components"]["securitySchemes"]["basic"];
        assert!(scheme["type"] == "http" && scheme["scheme"] == "basic", "{scheme}");
        assert_eq!(api["security"], serde_json::json!([{}, {"basic": []}]), "optional, everywhere");
        for (path, documented) in api["paths"].as_object().expect("paths") {
            for (method, documented) in documented.as_object().expect("methods") {
                let response = request(&method.to_uppercase(), path, "");
                assert_eq!(response.status, 401, "{method} {path}");
                let reference = documented["responses"]["401"]["$ref"].as_str().expect("a reference");
                let described = api.pointer(reference.trim_start_matches('#')).expect("it exists");
                for name in described["headers"].as_object().expect("headers").keys() {
                    let value = response.header(&name.to_lowercase()).expect("the documented header");
                    assert!(value.starts_with("basic "), "{value}");
                }
            }
        }
        assert_eq!(request("GET", "/nothing", "").status, 401, "what exists is not told either");
        daemon.stop();
    });
}

#[test]
fn schema_check_finds_mismatches() {
    let api: Value =
        serde_json::from_str(include_str!("../../../contrib/openapi.json")).expect("the description is JSON");
    let run = &api["components"]["schemas"]["Run"];
    let time = "2026-01-01T00:00:00.000Z";
    for (value, count) in [
        (serde_json::json!({"time": time, "took_seconds": 1.5}), 0),
        (serde_json::json!({"time": time, "took_seconds": "1"}), 1),
        (serde_json::json!({"time": "today", "took_seconds": 1}), 1),
        (serde_json::json!({"took_seconds": 1}), 1),
        (serde_json::json!({"time": time, "took_seconds": 1, "more": 1}), 1),
        (serde_json::json!([]), 1),
    ] {
        assert_eq!(mismatches(&api, run, &value, "run").len(), count, "{value}");
    }
}

/// Validates the value with the subset of JSON Schema that the document uses, and returns the mismatches.
pub(crate) fn mismatches(api: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        return mismatches(api, api.pointer(pointer).expect("it exists"), value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let all: Vec<Vec<String>> = choices.iter().map(|choice| mismatches(api, choice, value, at)).collect();
        return if all.iter().any(Vec::is_empty) { Vec::new() } else { all.concat() };
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    if !kinds.iter().filter_map(Value::as_str).any(|kind| has_type(value, kind)) {
        return vec![format!("{at}: {value} is none of {kinds:?}")];
    }
    let mut found = Vec::new();
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        found.push(format!("{at}: {value} is not in {}", schema["enum"]));
    }
    let is_time = |text: &str| text.len() == 24 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    if schema["format"] == "date-time" && value.as_str().is_some_and(|text| !is_time(text)) {
        found.push(format!("{at}: {value} is no timestamp"));
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(mismatches(api, &schema["items"], item, &format!("{at}[]")));
    }
    let Some(object) = value.as_object() else { return found };
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        found.extend((!object.contains_key(key)).then(|| format!("{at}: {key} is missing")));
    }
    for (key, value) in object {
        match schema["properties"].get(key) {
            Some(schema) => found.extend(mismatches(api, schema, value, &format!("{at}.{key}"))),
            None => found.push(format!("{at}: {key} is not documented")),
        }
    }
    found
}

fn has_type(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
