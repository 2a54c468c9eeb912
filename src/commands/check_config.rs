//! `--check-config`: shows the effective configuration, or explains it for one mount point.

use super::{explained_remedy, mount_namespace, print};
use crate::config::{Config, EffectiveOption, Rule, to_toml};
use crate::monitor::{DataPath, Expected, ProbeSettings};
use crate::output::hooks::Hook;
use crate::render::escape::escape_os;
use crate::render::{HumanDuration, PROCESS_NAME};
use platform::{DataKind, Mount, MountTable};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Longer options do not move the column of the origins.
const MAX_OPTION_WIDTH: usize = 60;

/// Prints the configuration and warnings about it. Mistakes were reported when it was loaded.
pub fn check_config(config: &Config, mountpoint: Option<&Path>) -> anyhow::Result<u8> {
    let namespace = mount_namespace::open(config.mount_namespace.as_deref())?;
    let table = mount_namespace::table(namespace.as_ref())?;
    for warning in config.warnings().iter().chain(&config.rules.warnings(&table, config.settings)) {
        eprintln!("{PROCESS_NAME}: {warning}");
    }
    let futile = config.rules.futile_probes(&table, &config.read_only_mounts_of_fstab());
    if !futile.is_empty() {
        anyhow::bail!(futile.join("; "));
    }
    let mut text = String::new();
    match mountpoint {
        None => write_overview(&mut text, config, &table)?,
        Some(path) => write_explanation(&mut text, config, &table, &mount_namespace::resolve(config, path))?,
    }
    print(&text)?;
    Ok(0)
}

fn write_overview(text: &mut String, config: &Config, table: &MountTable) -> anyhow::Result<()> {
    let files: Vec<_> = config.files.iter().map(escape_os).collect();
    match files.as_slice() {
        [] => writeln!(text, "# no files: {} does not exist", escape_os(&config.file))?,
        files => writeln!(text, "# files: {}", files.join(", "))?,
    }
    let widths = config.options.iter().map(|option| option.to_string().len());
    let width = widths.filter(|&width| width < MAX_OPTION_WIDTH).max().unwrap_or_default();
    for option in &config.options {
        match option {
            EffectiveOption { value: None, .. } => writeln!(text, "{option}")?,
            _ => writeln!(text, "{:width$}  # {}", option.to_string(), option.origin)?,
        }
    }
    let mut mounts_of_rule = vec![0; config.rules.iter().count()];
    for number in table.iter().filter_map(|mount| config.rules.iter().position(|rule| rule.matches(mount))) {
        mounts_of_rule[number] += 1;
    }
    for (rule, mounts) in config.rules.iter().zip(mounts_of_rule) {
        let noun = if mounts == 1 { "mount" } else { "mounts" };
        writeln!(text, "\n[[rule]]  # {}: {mounts} {noun} now", rule.location)?;
        write_rule(text, rule, "")?;
    }
    write_receivers(text, config)?;
    if !config.expected.is_empty() {
        writeln!(text, "\n# expected mounts")?;
    }
    for expected in &config.expected {
        let state = if is_mounted(expected, table) { "mounted" } else { "missing" };
        writeln!(text, "{}: {state} ({})", escape_os(&expected.mountpoint), expected.origin)?;
    }
    writeln!(text, "\n# present mounts")?;
    for mount in table.iter() {
        write!(text, "{} ({}): ", escape_os(&mount.mountpoint), escape_os(&mount.fstype))?;
        match (config.policy(mount), config.rules.rule_for(mount)) {
            (None, _) => writeln!(text, "{}", exclusion(config, mount))?,
            (Some(settings), None) => writeln!(text, "{}", summary(&settings))?,
            (Some(settings), Some(rule)) => {
                writeln!(text, "{}, by the rule at {}", summary(&settings), rule.location)?;
            }
        }
    }
    Ok(())
}

/// Writes the hooks and the Alertmanager that receive events.
fn write_receivers(text: &mut String, config: &Config) -> anyhow::Result<()> {
    if !config.hooks.is_empty() {
        writeln!(text, "\n# hooks")?;
    }
    for Hook { name, events, action, timeout } in &config.hooks {
        let (target, timeout) = (action.target(), HumanDuration(*timeout));
        writeln!(text, "{name}: {target}, timeout {timeout}, for {}", events.join(", "))?;
    }
    if let Some(settings) = &config.alertmanager {
        let refresh = HumanDuration(settings.refresh);
        writeln!(text, "\n# Alertmanager\n{}: alerts are sent again every {refresh}", settings.url.origin())?;
    }
    Ok(())
}

fn write_explanation(
    text: &mut String,
    config: &Config,
    table: &MountTable,
    path: &Path,
) -> anyhow::Result<()> {
    for expected in config.expected.iter().filter(|expected| expected.mountpoint == path) {
        let state = if is_mounted(expected, table) { "and mounted" } else { "but missing" };
        writeln!(text, "{} is expected ({}) {state}", escape_os(path), expected.origin)?;
    }
    let mut mounts = table.iter().filter(|mount| mount.mountpoint == path).peekable();
    if mounts.peek().is_none() && text.is_empty() {
        anyhow::bail!("{} is not a mount point (links are not followed)", escape_os(path));
    }
    mounts.try_for_each(|mount| write_mount(text, config, mount, table))
}

fn write_mount(
    text: &mut String,
    config: &Config,
    mount: &Arc<Mount>,
    table: &MountTable,
) -> anyhow::Result<()> {
    let (path, fstype, device) =
        (escape_os(&mount.mountpoint), escape_os(&mount.fstype), escape_os(&mount.device));
    writeln!(text, "{path} ({fstype} from {device})")?;
    let mut matching = config.rules.iter().filter(|rule| rule.matches(mount));
    let (rule, no_rule) = (matching.next(), Rule::default());
    match rule {
        None => writeln!(text, "  rule: none of {} matches", config.rules.iter().count())?,
        Some(rule) => {
            writeln!(text, "  rule: {}, the first that matches", rule.location)?;
            write_rule(text, rule, "    ")?;
        }
    }
    for later in matching {
        writeln!(text, "  not used: {}, which matches too but comes later", later.location)?;
    }
    let Some(settings) = config.policy(mount) else {
        writeln!(text, "  {}", exclusion(config, mount))?;
        return Ok(());
    };
    let rule = rule.unwrap_or(&no_rule);
    for (key, value, of_rule) in [
        ("poll_interval", settings.poll_interval, rule.poll_interval),
        ("timeout", settings.timeout, rule.timeout),
        ("slow_after", settings.slow_after, rule.slow_after),
    ] {
        let origin = match of_rule {
            Some(_) => format!("rule at {}", rule.location),
            None => config.origin(key).to_string(),
        };
        writeln!(text, "  {key} = {}  # {origin}", to_toml(&HumanDuration(value).to_string()))?;
    }
    writeln!(text, "  flap_changes = {}", settings.flap.changes)?;
    writeln!(text, "  flap_window = {}", to_toml(&HumanDuration(settings.flap.window).to_string()))?;
    if let Some(data) = rule.data_path(config.settings) {
        writeln!(text, "  {}", data_path(&data))?;
    }
    writeln!(text, "  severity = \"{}\"", rule.severity.as_str())?;
    match rule.hooks.as_deref() {
        None => writeln!(text, "  hooks: all")?,
        Some([]) => writeln!(text, "  hooks: none")?,
        Some(names) => writeln!(text, "  hooks: {}", names.join(", "))?,
    }
    text.push_str(&explained_remedy::text(config, rule, mount, table));
    Ok(())
}

/// `data path: read health/probe every 10m as user 1000 and group 1000, past the page cache where possible`
fn data_path(data: &DataPath) -> String {
    let identity = data.identity.map(|(uid, gid)| format!(" as user {uid} and group {gid}"));
    let (path, interval) = (escape_os(&data.path), HumanDuration(data.interval));
    let what = match data.kind {
        DataKind::Read => format!("read {path}"),
        DataKind::Write => format!("write, read and remove a file in {path}"),
    };
    let identity = identity.unwrap_or_default();
    format!("data path: {what} every {interval}{identity}, past the page cache where possible")
}

fn write_rule(text: &mut String, rule: &Rule, indentation: &str) -> anyhow::Result<()> {
    rule.source.iter().try_for_each(|line| Ok(writeln!(text, "{indentation}{line}")?))
}

fn is_mounted(expected: &Expected, table: &MountTable) -> bool {
    table.iter().any(|mount| expected.is(mount))
}

fn exclusion(config: &Config, mount: &Mount) -> String {
    match config.rules.rule_for(mount) {
        Some(rule) if config.filter.admits(mount) => format!("not watched: rule at {}", rule.location),
        _ => "not watched: the include and exclude options".to_owned(),
    }
}

fn summary(
    &ProbeSettings { poll_interval, timeout, slow_after, flap, severity: _ }: &ProbeSettings,
) -> String {
    let [interval, timeout, slow_after] = [poll_interval, timeout, slow_after].map(HumanDuration);
    let flapping = match flap.changes {
        0 => "never flapping".to_owned(),
        changes => format!("flapping after {changes} changes in {}", HumanDuration(flap.window)),
    };
    format!("every {interval}, timeout {timeout}, slow after {slow_after}, {flapping}")
}
