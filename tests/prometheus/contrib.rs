//! Validates `contrib/` with the tools of Prometheus, and its metric names against the program.

use crate::common::isolation::skip_test;
use crate::common::{CommandOutput, ms, run_isolated, utf8};
use crate::peer::{first_missing, run};
use mount_status_monitor::render::metrics::{FAMILIES, Family};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name)
}

fn metrics_document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    std::fs::read_to_string(path).expect("it exists")
}

/// The queries of a document: the paragraphs of its `promql` blocks, without comments.
fn queries(document: &str) -> Vec<String> {
    let blocks = document.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let query = |paragraph: &str| {
        let lines: Vec<&str> = paragraph.lines().filter(|line| !line.starts_with('#')).collect();
        lines.join(" ")
    };
    blocks.flat_map(|block| block.split("\n\n")).map(query).filter(|query| !query.is_empty()).collect()
}

/// Checks that all metrics that the text names exist, and returns how many.
fn count_existing_metrics(name: &str, text: &str) -> usize {
    let known: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_metric = |word: &&str| {
        ["mountstatus_", "process_"].iter().any(|prefix| word.starts_with(prefix))
            || word.ends_with("_mountpoints")
    };
    let named: BTreeSet<&str> = words.filter(is_metric).collect();
    for word in &named {
        assert!(known.contains(word.trim_end_matches("_bucket")), "{name} names {word}");
    }
    named.len()
}

/// Families that exist only with hooks, expected mounts, remedies or data-path probes, or only after evidence was
/// collected; the checked single run may lack them.
fn may_be_absent(family: &str) -> bool {
    let prefixes = [
        "mountstatus_hook_",
        "mountstatus_alertmanager_",
        "mountstatus_expected_",
        "mountstatus_remed",
        "mountstatus_mount_remedy_",
        "mountstatus_mount_blocked_",
        "mountstatus_mount_data_probe_",
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
        let rule = lab.write_file("config.toml", "[[rule]]\nfstype = \"fuse*\"\nexpected_options = \"rw\"\n");
        let flags = [
            "--config",
            utf8(&rule),
            "--once-only",
            "--textfile",
            path,
            "--prometheus-push-gateway",
            &gateway,
        ];
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
        ["check", "rules", "node_exporter_names.rules.yml"],
        ["test", "rules", "node_exporter_names.test.yml"],
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
    for (name, least) in [
        ("prometheus/mount_status_monitor.rules.yml", 5),
        ("prometheus/node_exporter_names.rules.yml", 2),
        ("grafana/mount_status_monitor.json", 5),
    ] {
        let text = std::fs::read_to_string(contrib(name)).expect("it exists");
        assert!(count_existing_metrics(name, &text) >= least, "{name}");
    }
}

#[test]
fn runbook_has_every_alert() {
    let rules =
        std::fs::read_to_string(contrib("prometheus/mount_status_monitor.rules.yml")).expect("it exists");
    let runbook = std::fs::read_to_string(contrib("../docs/operations.md")).expect("it exists");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in alerts {
        assert!(runbook.contains(&format!("`{alert}`")), "{alert} is not in docs/operations.md");
    }
}

#[test]
fn documented_metrics_match_the_program() {
    let text = metrics_document();
    let documented: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let rows: Vec<String> = FAMILIES.iter().map(row).collect();
    let expected: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
    let missing: Vec<_> = expected.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&expected).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}\nunknown: {unknown:#?}");
}

/// The row of a family in the document.
fn row(family: &Family) -> String {
    let kind = format!("{:?}", family.kind).to_lowercase();
    let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let unit = match family.name {
        name if name.ends_with("timestamp_seconds") || name.ends_with("start_time_seconds") => "Unix time",
        name if name.ends_with("_seconds") || name.ends_with("_seconds_total") => "seconds",
        name if name.ends_with("_bytes") => "bytes",
        _ => "",
    };
    format!("| `{}` | {kind} | {} | {unit} | {} |", family.name, labels.join(" "), family.help)
}

#[test]
fn each_group_of_documented_metrics_has_a_query() {
    let text = metrics_document();
    let groups: Vec<&str> = text.split("\n## ").filter(|section| section.contains("\n| family |")).collect();
    assert!(groups.len() > 5, "{} groups", groups.len());
    for group in groups {
        assert!(!queries(group).is_empty(), "no query: {group}");
    }
}

#[test]
fn documented_queries_are_valid() {
    let queries = queries(&metrics_document());
    assert!(count_existing_metrics("docs/metrics.md", &queries.join("\n")) > 20);
    if let Some(reason) = first_missing(&["promtool"]) {
        return skip_test("contrib::documented_queries_are_valid", &reason);
    }
    let rules = queries.iter().enumerate().map(|(number, query)| {
        let query = serde_json::to_string(query).expect("JSON, which is YAML");
        format!("      - record: query:{number}\n        expr: {query}\n")
    });
    let rules = format!("groups:\n  - name: queries\n    rules:\n{}", rules.collect::<String>());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(directory.join("queries.yml"), &rules).expect("write a file");
    let (is_ok, output) = run("promtool", &["check", "rules", "queries.yml"], directory, b"");
    assert!(is_ok && output.contains("SUCCESS"), "{output}\n{rules}");
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
    }
    assert_eq!(board["templating"]["list"][0]["type"], "datasource");
}
