//! `--check-config`: what would be in force, and for one mount point why.

use super::{fail, mount_namespace, print};
use crate::config::{Config, Rule, in_toml, resolve};
use crate::monitor::ProbeSettings;
use crate::render::HumanDuration;
use crate::render::PROCESS_NAME;
use crate::render::escape::escape_os;
use platform::{Mount, MountTable};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Shows the configuration, in general or for one mount point. A wrong one did not come this far.
#[must_use]
pub fn check_config(config: &Config, explain: Option<&Path>) -> ExitCode {
    let table = mount_namespace::open(config.mount_namespace.as_deref())
        .and_then(|namespace| mount_namespace::table(namespace.as_ref()));
    let shown = table.and_then(|table| {
        for warning in config.warnings().iter().chain(&config.rules.warnings(&table, config.settings)) {
            eprintln!("{PROCESS_NAME}: {warning}");
        }
        match explain {
            None => print(&overview(config, &table)),
            Some(path) => print(&explanation(config, &table, path)?),
        }
    });
    shown.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

fn overview(config: &Config, table: &MountTable) -> String {
    let mut text = String::new();
    let files: Vec<_> = config.files.iter().map(escape_os).collect();
    match files.as_slice() {
        [] => line(&mut text, format_args!("# no file is read: there is no {}", escape_os(&config.file))),
        files => line(&mut text, format_args!("# read: {}", files.join(", "))),
    }
    let width = config.shown.iter().map(|option| option.to_string().len()).filter(|&it| it < 60).max();
    for option in &config.shown {
        let (width, written) = (width.unwrap_or_default(), option.to_string());
        match option.value {
            None => line(&mut text, format_args!("{written}")),
            Some(_) => line(&mut text, format_args!("{written:width$}  # {}", option.origin)),
        }
    }
    let mut mounts_of = vec![0; config.rules.iter().count()];
    for number in table.iter().filter_map(|mount| config.rules.iter().position(|rule| rule.matches(mount))) {
        mounts_of[number] += 1;
    }
    for (rule, mounts) in config.rules.iter().zip(mounts_of) {
        let noun = if mounts == 1 { "mount" } else { "mounts" };
        line(&mut text, format_args!("\n[[rule]]  # {}: {mounts} {noun} now", rule.place));
        rule.describe().iter().for_each(|what| line(&mut text, format_args!("{what}")));
    }
    if !config.expected.is_empty() {
        line(&mut text, format_args!("\n# mounts that have to be there"));
    }
    for expected in &config.expected {
        let there = table.iter().any(|mount| expected.is(mount));
        let word = if there { "there" } else { "missing" };
        line(&mut text, format_args!("{}: {word} ({})", escape_os(&expected.mountpoint), expected.origin));
    }
    text.push_str("\n# the mounts of this moment\n");
    for mount in table.iter() {
        let (path, fstype) = (escape_os(&mount.mountpoint), escape_os(&mount.fstype));
        let by =
            config.rules.of(mount).map_or(String::new(), |rule| format!(", by the rule at {}", rule.place));
        match config.policy(mount) {
            None => line(&mut text, format_args!("{path} ({fstype}): {}", why_excluded(config, mount))),
            Some(settings) => line(&mut text, format_args!("{path} ({fstype}): {}{by}", spans(&settings))),
        }
    }
    text
}

fn explanation(config: &Config, table: &MountTable, path: &Path) -> anyhow::Result<String> {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let path = resolve(&here, path);
    let mut text = String::new();
    let mounts: Vec<_> = table.iter().filter(|mount| mount.mountpoint == path).collect();
    for expected in config.expected.iter().filter(|expected| expected.mountpoint == path) {
        let there = mounts.iter().any(|mount| expected.is(mount));
        let word = if there { "and is there" } else { "but is missing" };
        line(&mut text, format_args!("{} has to be there ({}), {word}", escape_os(&path), expected.origin));
    }
    if mounts.is_empty() && text.is_empty() {
        anyhow::bail!("{} is no mount point now (links are not followed)", escape_os(&path));
    }
    for mount in mounts {
        explain(config, mount, &mut text);
    }
    Ok(text)
}

fn explain(config: &Config, mount: &Mount, text: &mut String) {
    let (path, fstype, device) =
        (escape_os(&mount.mountpoint), escape_os(&mount.fstype), escape_os(&mount.device));
    line(text, format_args!("{path} ({fstype} from {device})"));
    let mut matching = config.rules.iter().filter(|rule| rule.matches(mount));
    let rule = matching.next();
    match rule {
        None => line(text, format_args!("  rule: none of {} matches", config.rules.iter().count())),
        Some(rule) => {
            line(text, format_args!("  rule: {}, the first that matches", rule.place));
            rule.describe().iter().for_each(|what| line(text, format_args!("    {what}")));
        }
    }
    for later in matching {
        line(text, format_args!("  passed over: {}, which matches too but comes later", later.place));
    }
    let Some(settings) = config.policy(mount) else {
        return line(text, format_args!("  {}", why_excluded(config, mount)));
    };
    let origin = |key: &str, of_rule: bool| match (of_rule, rule) {
        (true, Some(rule)) => format!("rule at {}", rule.place),
        _ => {
            config.shown.iter().find(|option| option.key == key).map_or(String::new(), |it| it.origin.clone())
        }
    };
    let says = |said: fn(&Rule) -> bool| rule.is_some_and(said);
    for (key, span, of_rule) in [
        ("poll_interval", settings.poll_interval, says(|rule| rule.poll_interval.is_some())),
        ("timeout", settings.timeout, says(|rule| rule.timeout.is_some())),
        ("slow_after", settings.slow_after, says(|rule| rule.slow_after.is_some())),
    ] {
        line(
            text,
            format_args!(
                "  {key} = {}  # {}",
                in_toml(&HumanDuration(span).to_string()),
                origin(key, of_rule)
            ),
        );
    }
    let severity = rule.map(|rule| rule.severity).unwrap_or_default();
    line(text, format_args!("  severity = \"{}\"", severity.as_str()));
    match rule.and_then(|rule| rule.hooks.as_ref()) {
        None => line(text, format_args!("  hooks: all")),
        Some(names) if names.is_empty() => line(text, format_args!("  hooks: none")),
        Some(names) => line(text, format_args!("  hooks: {}", names.join(", "))),
    }
}

fn why_excluded(config: &Config, mount: &Mount) -> String {
    match config.rules.of(mount) {
        Some(rule) if config.filter.admits(mount) => format!("not watched: rule at {}", rule.place),
        _ => "not watched: the include and exclude options".to_owned(),
    }
}

fn spans(settings: &ProbeSettings) -> String {
    let ProbeSettings { poll_interval, timeout, slow_after } = settings;
    format!(
        "each {}, timeout {}, slow after {}",
        HumanDuration(*poll_interval),
        HumanDuration(*timeout),
        HumanDuration(*slow_after)
    )
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{what}"); // a String takes everything
}
