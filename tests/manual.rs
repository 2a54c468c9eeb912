//! Checks the manual pages, the sample configuration and the completions against the program.

#![cfg(target_os = "linux")] // the pages in contrib name its paths
#![forbid(unsafe_code)]

use mount_status_monitor::cli::manual;
use mount_status_monitor::cli::{Invocation, command, parse};
use mount_status_monitor::config::reference::{ALERTMANAGER, HOOK, Key, REMEDY, RULE};
use mount_status_monitor::config::{Config, Origin, options};
use mount_status_monitor::render::metrics::FAMILIES;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn contents(path: &str) -> String {
    std::fs::read_to_string(in_repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn config(path: &Path) -> Result<Config, String> {
    let words = [OsString::from("mount_status_monitor"), "--config".into(), path.into()];
    match parse(words) {
        Ok(Invocation::Daemon(config, _)) => Ok(Config::clone(&config)),
        Ok(other) => panic!("{other:?}"),
        Err(exit) => Err(exit.stderr),
    }
}

/// The sample with all examples uncommented.
fn uncommented_sample() -> String {
    let sample = contents("contrib/config/config.toml");
    let is_toml = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        line.starts_with('[')
            || line != key && key.chars().all(|c| c.is_ascii_lowercase() || "_.".contains(c))
    };
    let lines = sample.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if is_toml(rest) => rest,
        _ => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn sample_sets_nothing() {
    let sample = config(&in_repository("contrib/config/config.toml")).expect("it loads");
    let none = config(&in_repository("contrib/config/none/config.toml"));
    assert!(none.unwrap_err().contains("cannot read this file"));
    let set: Vec<_> = sample.options.iter().filter(|option| option.origin != Origin::Default).collect();
    assert!(set.is_empty() && sample.rules.iter().next().is_none(), "{set:?}");
}

#[test]
fn uncommented_sample_is_valid_and_has_every_key() {
    let full = uncommented_sample();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    // A gateway and a hook have one kind of credentials.
    let one_secret: String = full
        .lines()
        .filter(|line| !line.starts_with("push_user_file"))
        .map(|line| format!("{line}\n"))
        .collect();
    let web = folder.path().join("web.yml");
    std::fs::write(&web, "basic_auth_users:\n").expect("a file");
    let present = one_secret
        .replace("expect_fstab = true", "expect_fstab = false")
        .replace("/etc/mount_status_monitor/web.yml", web.to_str().expect("text"));
    std::fs::write(&path, present).expect("a file");
    let config = config(&path).unwrap_or_else(|problems| panic!("{problems}\n{full}"));
    assert_eq!(config.rules.iter().count(), 7);
    assert_eq!(config.hooks.len(), 2);
    assert!(config.alertmanager.is_some());
    let is_named = |how: String| full.contains(&how);
    let has = |key: &str| {
        [format!("{key} = "), format!("or {key} with"), format!("\n{key}.")].into_iter().any(is_named)
    };
    for option in options() {
        assert!(has(option.key), "the option {} is not in the sample", option.key);
    }
    for Key { name, .. } in RULE.iter().chain(REMEDY).chain(HOOK).chain(ALERTMANAGER) {
        assert!(has(name), "the key {name} is not in the sample");
    }
}

/// `MSM_REWRITE=1 cargo test --test manual` updates the pages.
#[test]
fn pages_in_contrib_are_up_to_date() {
    for (page, path) in [
        (manual::program(), "contrib/man/mount_status_monitor.8"),
        (manual::file(), "contrib/man/mount_status_monitor.toml.5"),
    ] {
        if std::env::var_os("MSM_REWRITE").is_some() {
            std::fs::write(in_repository(path), &page).expect("a page can be written");
        }
        assert!(contents(path) == page, "{path} is out of date: MSM_REWRITE=1 cargo test --test manual");
    }
}

/// The name, section, date and version of the page, and the name of the manual.
#[test]
fn pages_have_the_date_of_the_release() {
    let changes = contents("CHANGELOG.md");
    let heading = format!("\n## [{}] - ", env!("CARGO_PKG_VERSION"));
    let (_, rest) = changes.split_once(&heading).expect("the version is in CHANGELOG.md");
    let date = match rest.lines().next().expect("a line") {
        "unreleased" => "\"\"",
        day => day,
    };
    for (page, title) in [(manual::program(), "MONITOR 8"), (manual::file(), "MONITOR.TOML 5")] {
        let line = page.lines().find(|line| line.starts_with(".TH ")).expect("a title line");
        let expected = format!("{title} {date} {} \"", env!("CARGO_PKG_VERSION"));
        assert!(line.contains(&expected), "{line} lacks {expected}: change DATE in src/cli/manual.rs");
    }
}

#[test]
fn pages_name_all_options_commands_keys_and_metrics() {
    let (program, file) = (plain(&manual::program()), plain(&manual::file()));
    for option in command().get_arguments() {
        let long = option.get_long().expect("every option has a long name");
        assert!(program.contains(&format!("--{long}")) != option.is_hide_set(), "--{long}");
    }
    for sub in command().get_subcommands() {
        assert!(program.contains(sub.get_name()), "{} is not in the manual", sub.get_name());
    }
    for family in FAMILIES {
        assert!(program.contains(family.name), "{} is not in the manual", family.name);
    }
    for section in
        ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "MESSAGES", "METRICS", "SIGNALS"]
            .iter()
            .chain(&["EXIT STATUS", "FILES", "PRIVILEGES", "EXAMPLES", "SEE ALSO"])
    {
        let heading =
            if section.contains(' ') { format!(".SH \"{section}\"") } else { format!(".SH {section}") };
        assert!(manual::program().contains(&heading), "{section}");
    }
    for option in options() {
        assert!(
            file.contains(&format!("{} = ", option.key)),
            "{} is not in the manual of the file",
            option.key
        );
    }
    for Key { name, .. } in RULE.iter().chain(HOOK).chain(ALERTMANAGER) {
        assert!(file.contains(&format!("{name} = ")), "{name} is not in the manual of the file");
    }
}

#[test]
fn examples_in_the_page_parse() {
    let page = plain(&manual::program());
    let (_, page) = page.split_once(".SH DESCRIPTION").expect("it follows the synopsis");
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("mount_status_monitor ")).collect();
    assert!(lines.len() > 15, "{lines:?}");
    for line in lines {
        let own = line.split(['|', '>']).next().unwrap_or_default();
        // A remark follows after several spaces.
        let own = own.split("  ").next().unwrap_or_default();
        let words = own.split_whitespace().map(|word| word.trim_matches('\''));
        if let Err(error) = command().try_get_matches_from(words) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn example_in_the_page_of_the_file_loads() {
    let page = plain(&manual::file());
    let (_, example) = page.split_once(".SH EXAMPLE").expect("it has one");
    let (example, _) = example.split_once(".SH").expect("another section follows");
    let lines: Vec<&str> = example.lines().filter(|line| !line.starts_with('.')).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    std::fs::write(&path, lines.join("\n")).expect("a file");
    let config = config(&path).unwrap_or_else(|problems| panic!("{problems}\n{}", lines.join("\n")));
    assert!(config.rules.iter().count() == 3 && config.hooks.len() == 1, "{lines:?}");
}

#[test]
fn page_has_every_line_of_the_runbook() {
    let (page, runbook) = (plain(&manual::program()), contents("docs/operations.md"));
    let (_, table) = runbook.split_once("| event | line | priority |").expect("the table of lines");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let prefixes: Vec<&str> = rows
        .flat_map(|row| row.split('`').skip(3).step_by(2))
        .filter(|line| ["Mount", "Expected", "Remedy"].iter().any(|start| line.starts_with(start)))
        .map(|line| line.split(':').next().unwrap_or_default())
        .collect();
    assert!(prefixes.len() > 21, "{prefixes:?}");
    for prefix in prefixes {
        assert!(page.contains(&format!("\n{prefix}: ")), "`{prefix}: …` is not in the manual");
    }
}

/// Text without roff markup.
fn plain(roff: &str) -> String {
    roff.replace("\\-", "-")
        .replace("\\fB", "")
        .replace("\\fI", "")
        .replace("\\fR", "")
        .replace("\\[aq]", "'")
}

#[test]
fn pages_format_without_warnings() {
    for page in [manual::program(), manual::file()] {
        let groff = Command::new("groff")
            .args(["-ww", "-Wbreak", "-man", "-Tutf8", "-rLL=80n", "-P", "-cbou"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut groff) = groff else {
            return skip("pages_format_without_warnings", "groff is not installed");
        };
        groff.stdin.take().expect("piped").write_all(page.as_bytes()).expect("groff reads");
        let output = groff.wait_with_output().expect("groff ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        // But names of metrics and paths.
        let text = String::from_utf8_lossy(&output.stdout);
        let fits = |line: &&str| {
            line.chars().count() <= 80 || line.contains("{device,") || line.contains(" completions ")
        };
        let wide: Vec<_> = text.lines().filter(|line| !fits(line)).collect();
        assert!(wide.is_empty(), "{wide:#?}");
        assert!(output.stdout.len() > 2000);
    }
}

fn skip(name: &str, reason: &str) {
    eprintln!("SKIPPED {name}: {reason}");
    if let Some(log) = std::env::var_os("MSM_SKIP_LOG") {
        let mut log = std::fs::File::options().append(true).create(true).open(log).expect("the log of skips");
        writeln!(log, "SKIPPED {name}: {reason}").expect("the log of skips");
    }
}

#[test]
fn completions_have_every_option() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let exit = parse(["mount_status_monitor", "completions", shell].map(OsString::from)).unwrap_err();
        assert_eq!((exit.status, exit.stderr.as_str()), (0, ""));
        for option in command().get_arguments() {
            let long = option.get_long().expect("every option has a long name");
            assert!(exit.stdout.contains(long), "{shell}: {long}");
        }
    }
    assert_eq!(parse(["x", "completions", "tcsh"].map(OsString::from)).unwrap_err().status, 2);
}
