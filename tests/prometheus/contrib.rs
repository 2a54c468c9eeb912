//! What is in `contrib/` is right by the tools of Prometheus, and names no metric that does not exist.

use crate::common::{CommandOutput, ms, run_isolated, skip_test};
use crate::peer::{missing, run};
use mount_status_monitor::render::metrics::FAMILIES;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name)
}

/// Only with hooks or expected mounts, which the run that is looked at has not; and of a mount that fails at once it may
/// be over before it is known who waits.
fn needs_more(family: &str) -> bool {
    let prefixes = [
        "mountstatus_hook_",
        "mountstatus_alertmanager_",
        "mountstatus_expected_",
        "mountstatus_mount_blocked_",
    ];
    prefixes.iter().any(|prefix| family.starts_with(prefix))
}

#[test]
fn promtool_likes_the_metrics() {
    if let Some(reason) = missing(&["promtool"]) {
        return skip_test(test_name!(), &reason);
    }
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno ESTALE", &mounts[1]);
        let file = lab.scratch_path("m.prom");
        let gateway = format!("127.0.0.1:{}", crate::peer::free_port());
        let path = file.to_str().expect("plain");
        let flags = ["--once-only", "--textfile", path, "--prometheus-push-gateway", &gateway];
        let done = CommandOutput::run(lab.daemon_command(&flags), ms(5000));
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        let text = std::fs::read(&file).expect("it was written");
        assert_eq!(
            run("promtool", &["check", "metrics"], &lab.scratch_path(""), &text),
            (true, String::new())
        );
        // And all families are there.
        let text = String::from_utf8(text).expect("text");
        for family in FAMILIES.iter().filter(|family| !needs_more(family.name)) {
            let kind = format!("{:?}", family.kind).to_lowercase();
            assert!(text.contains(&format!("\n# TYPE {} {kind}\n", family.name)), "{}", family.name);
        }
    });
}

#[test]
fn promtool_likes_the_rules() {
    if let Some(reason) = missing(&["promtool"]) {
        return skip_test(test_name!(), &reason);
    }
    for arguments in [
        ["check", "rules", "mount_status_monitor.rules.yml"],
        ["test", "rules", "mount_status_monitor.test.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let (done, said) = run("promtool", &arguments, &contrib("prometheus"), b"");
        assert!(done && said.contains("SUCCESS"), "{arguments:?}: {said}");
    }
}

#[test]
fn amtool_likes_the_route() {
    if let Some(reason) = missing(&["amtool"]) {
        return skip_test(test_name!(), &reason);
    }
    let (done, said) = run("amtool", &["check-config", "alertmanager.yml"], &contrib("prometheus"), b"");
    assert!(done && said.contains("SUCCESS"), "{said}");
}

#[test]
fn rules_and_dashboard_name_what_there_is() {
    let known: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    for name in ["prometheus/mount_status_monitor.rules.yml", "grafana/mount_status_monitor.json"] {
        let text = std::fs::read_to_string(contrib(name)).expect("it is there");
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
fn the_table_of_metrics_is_that_of_the_program() {
    let rows = FAMILIES.iter().map(|family| {
        let kind = format!("{:?}", family.kind).to_lowercase();
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {kind} | {} | {} |\n", family.name, labels.join(" "), family.help)
    });
    let table: String = rows.collect();
    let text = std::fs::read_to_string(contrib("README.md")).expect("it is there");
    assert!(text.contains(&table), "contrib/README.md has another table than this:\n{table}");
}

#[test]
fn the_dashboard_is_json_with_panels_that_do_not_overlap() {
    let text = std::fs::read_to_string(contrib("grafana/mount_status_monitor.json")).expect("it is there");
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
