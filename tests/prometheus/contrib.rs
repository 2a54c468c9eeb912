//! Validates `contrib/` with the tools of Prometheus, and its metric names against the program.

use crate::common::isolation::skip_test;
use crate::common::{CommandOutput, ms, run_isolated, utf8};
use crate::peer::{first_missing, run};
use mount_status_monitor::render::metrics::FAMILIES;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name)
}

/// Families that exist only with hooks or expected mounts, or only after evidence was collected; the checked single run
/// may lack them.
fn may_be_absent(family: &str) -> bool {
    let prefixes = [
        "mountstatus_hook_",
        "mountstatus_alertmanager_",
        "mountstatus_expected_",
        "mountstatus_mount_blocked_",
    ];
    prefixes.iter().any(|prefix| family.starts_with(prefix))
}

#[test]
fn promtool_accepts_the_metrics() {
    run_isolated(|lab| {
        if let Some(reason) = first_missing(&["promtool"]) {
            return lab.skip(&reason);
        }
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno ESTALE", &mounts[1]);
        let file = lab.scratch_path("m.prom");
        let gateway = format!("127.0.0.1:{}", crate::common::free_port());
        let path = utf8(&file);
        let flags = ["--once-only", "--textfile", path, "--prometheus-push-gateway", &gateway];
        let result = CommandOutput::run(lab.daemon_command(&flags), ms(5000));
        result.assert_code(1);
        let text = std::fs::read(&file).expect("the file exists");
        assert_eq!(
            run("promtool", &["check", "metrics"], &lab.scratch_path(""), &text),
            (true, String::new())
        );
        // All families are present.
        let text = String::from_utf8(text).expect("text");
        for family in FAMILIES.iter().filter(|family| !may_be_absent(family.name)) {
            let kind = format!("{:?}", family.kind).to_lowercase();
            assert!(text.contains(&format!("\n# TYPE {} {kind}\n", family.name)), "{}", family.name);
        }
    });
}

#[test]
fn promtool_accepts_rules_and_configuration() {
    if let Some(reason) = first_missing(&["promtool"]) {
        return skip_test("contrib::promtool_accepts_rules_and_configuration", &reason);
    }
    for arguments in [
        ["check", "rules", "mount_status_monitor.rules.yml"],
        ["test", "rules", "mount_status_monitor.test.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let (is_ok, output) = run("promtool", &arguments, &contrib("prometheus"), b"");
        assert!(is_ok && output.contains("SUCCESS"), "{arguments:?}: {output}");
    }
}

#[test]
fn amtool_accepts_the_configuration() {
    if let Some(reason) = first_missing(&["amtool"]) {
        return skip_test("contrib::amtool_accepts_the_configuration", &reason);
    }
    let (is_ok, output) = run("amtool", &["check-config", "alertmanager.yml"], &contrib("prometheus"), b"");
    assert!(is_ok && output.contains("SUCCESS"), "{output}");
}

#[test]
fn rules_and_dashboard_use_existing_metrics() {
    let known: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    for name in ["prometheus/mount_status_monitor.rules.yml", "grafana/mount_status_monitor.json"] {
        let text = std::fs::read_to_string(contrib(name)).expect("it exists");
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let named: BTreeSet<&str> =
            words.filter(|word| word.starts_with("mountstatus_") || word.ends_with("_mountpoints")).collect();
        assert!(named.len() > 5, "{name}");
        for word in named {
            assert!(known.contains(word.trim_end_matches("_bucket")), "{name} names {word}");
        }
    }
}

#[test]
fn documented_metrics_match_the_program() {
    let rows = FAMILIES.iter().map(|family| {
        let kind = format!("{:?}", family.kind).to_lowercase();
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {kind} | {} | {} |\n", family.name, labels.join(" "), family.help)
    });
    let table: String = rows.collect();
    let text = std::fs::read_to_string(contrib("README.md")).expect("it exists");
    assert!(text.contains(&table), "contrib/README.md has another table than this:\n{table}");
}

#[test]
fn dashboard_panels_do_not_overlap() {
    let text = std::fs::read_to_string(contrib("grafana/mount_status_monitor.json")).expect("it exists");
    let board: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        let (left, top) = (place("x"), place("y"));
        assert!(left + place("w") <= 24, "{}", panel["title"]);
        for x in left..left + place("w") {
            for y in top..top + place("h") {
                assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
            }
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()));
    }
    assert_eq!(board["templating"]["list"][0]["type"], "datasource");
}
