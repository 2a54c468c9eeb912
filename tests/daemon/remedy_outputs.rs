//! Remedies of the daemon as people and programs see them: the API, metrics, `status`, hooks, the page.

use crate::common::{Lab, Lines, display_path, ms, run_isolated, utf8, wait_until};
use crate::hooks::{hook, lines};
use crate::http::openapi::mismatches;
use crate::http::{get, open_event_stream, start_with_http};
use crate::remedy_rules::{act, prepare, rule};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A configuration with a dry run, and a hook. Returns it and the log of the hook.
fn configuration(lab: &Lab) -> (PathBuf, PathBuf) {
    let (program, log) = hook(lab, "page", "");
    let remedy = act("\"not_mounted_again\", \"copies\"").replace("\"act\"", "\"dry-run\"");
    let rules = std::fs::read_to_string(rule(lab, &remedy)).expect("the configuration");
    let hook = "[[hook]]\nname = \"page\"\nevents = [\"remedy_planned\", \"remedy_refused\"]\n";
    let text = format!("{rules}{hook}command = [\"{}\"]\n", program.display());
    (lab.write_file("c.toml", text), log)
}

/// The remedy of a mount in the document of all mounts.
fn remedy<'d>(document: &'d Value, path: &Path) -> &'d Value {
    let mounts = document["mounts"].as_array().expect("a list");
    let found = mounts.iter().find(|mount| mount["mountpoint"] == display_path(path).as_str());
    &found.expect("the mount")["remedy"]
}

#[test]
fn dry_run_and_refusal_are_seen_everywhere() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let (dry, refused) = (lab.mount_fuse("a"), lab.mount_fuse("b"));
        lab.mount_tmpfs_over(&refused.join("directory"));
        let (file, paged) = configuration(lab);
        let flags = ["--config", utf8(&file), "--poll-interval", "1", "--timeout", "0.5"];
        let (daemon, address) = start_with_http(lab, &flags);
        let events = open_event_stream(address, "/api/v1/events?after=0");
        lab.set_fault("mute", &dry);
        lab.set_fault("mute", &refused);
        let document = || get(address, "/api/v1/mounts").json();
        wait_until(ms(30_000), "both remedies are known", || {
            let document = document();
            remedy(&document, &dry)["state"] == "planned" && remedy(&document, &refused)["state"] == "refused"
        });
        check_status(address, &document(), &dry, &refused);
        check_metrics(address);
        wait_until(ms(5_000), "the hook has both events", || lines(&paged).len() >= 2);
        for (event, path) in [("remedy_planned", &dry), ("remedy_refused", &refused)] {
            let start = format!("{event} {} critical {{", path.display());
            assert!(lines(&paged).iter().any(|line| line.starts_with(&start)), "{:?}", lines(&paged));
            check_event(address, &events, event);
        }
        lab.clear_fault(&dry);
        lab.clear_fault(&refused);
        daemon.wait_for_recovery(&dry, ms(10_000));
        wait_until(ms(5_000), "nothing is said about mounts that respond", || {
            let page = get(address, "/");
            remedy(&document(), &dry).is_null() && !page.text().contains("remedy (dry-run) would be")
        });
        daemon.stop();
    });
}

fn check_status(address: SocketAddr, document: &Value, dry: &Path, refused: &Path) {
    let api = get(address, "/api/openapi.json").json();
    let schema = &api["components"]["schemas"]["Mounts"];
    assert_eq!(mismatches(&api, schema, document, "mounts"), [""; 0]);
    assert_eq!((&document["remedies"]["rules"], &document["remedies"]["attempts"]), (&1.into(), &0.into()));
    let says = |path| remedy(document, path)["says"].as_str().expect("words");
    assert!(says(dry).starts_with("remedy (dry-run) would be "), "{}", says(dry));
    let refusal = "remedy (dry-run) refused: mounts_below: ";
    assert!(says(refused).starts_with(refusal), "{}", says(refused));
    for target in ["/", "/api/v1/mounts?format=table"] {
        let response = get(address, target);
        for part in [says(dry), refusal, "; remedies: "] {
            assert!(response.text().contains(part), "{part} is not in\n{}", response.text());
        }
    }
}

fn check_metrics(address: SocketAddr) {
    let metrics = get(address, "/metrics");
    let value = |series: &str| {
        let line = metrics.text().lines().find(|line| line.starts_with(series));
        line.unwrap_or_else(|| panic!("no {series}")).rsplit_once(' ').expect("a value").1
    };
    assert_ne!(value("mountstatus_remedies_total{outcome=\"dry_run\"}"), "0");
    assert_ne!(value("mountstatus_remedies_total{outcome=\"refused\"}"), "0");
    assert_eq!(value("mountstatus_remedy_steps_total"), "0");
    assert_eq!(value("mountstatus_mount_remedy_gave_up{"), "0");
}

fn check_event(address: SocketAddr, events: &Lines, name: &str) {
    let api = get(address, "/api/openapi.json").json();
    let line = events.wait_for(0, &format!("\"event\":\"{name}\""), ms(5_000)).expect("the event").text;
    let event: Value = serde_json::from_str(line.strip_prefix("data: ").expect("data")).expect("JSON");
    let schema = &api["components"]["schemas"]["Event"];
    assert_eq!(mismatches(&api, schema, &event, "event"), [""; 0]);
}
