//! The manual pages `mount_status_monitor(8)` and `mount_status_monitor.toml(5)`, generated from the definition of the
//! command line, the keys of the configuration file and the metrics.

use super::command;
use super::manual_text::{
    ALERTMANAGER, DESCRIPTION, EXAMPLES, EXIT_STATUS, FILE_DESCRIPTION, FILE_EXAMPLE, FILES, HOOKS, MESSAGES,
    METRICS, PRIVILEGES, RULES, SIGNALS,
};
use crate::config::reference::{self, Key};
use crate::config::{ConfigOption, options};
use crate::render::metrics::FAMILIES;
use clap::{Arg, Command};
use roff::{Inline, Roff, bold, italic, roman};

const NAME: &str = "mount_status_monitor";
const MANUAL: &str = "System Administration";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// mount_status_monitor(8)
    Program,
    /// mount_status_monitor.toml(5)
    File,
}

/// The page, as roff.
#[must_use]
pub fn page(page: Page) -> String {
    let roff = match page {
        Page::Program => program(),
        Page::File => file(),
    };
    // Some formatters expect ASCII.
    roff.replace('…', "...")
}

fn program() -> String {
    let mut definition = command();
    definition.build(); // adds --help and --version
    let mut roff = begin(NAME, "8", "watch every mount and report which are dead");
    roff.control("SH", ["SYNOPSIS"]);
    for (tail, value) in [
        ("", "OPTION…"),
        ("check", "OPTION… [MOUNTPOINT…]"),
        ("status", "OPTION…"),
        ("watch", "OPTION…"),
        ("diagnose", "OPTION… MOUNTPOINT"),
        ("man", "[8|5]"),
        ("completions", "SHELL"),
    ] {
        let name = format!("{NAME} {tail}");
        roff.control("PP", []).text([bold(name.trim_end()), roman(" "), italic(value)]);
    }
    roff.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut roff, DESCRIPTION);
    roff.control("SH", ["OPTIONS"]);
    arguments(&mut roff, &definition);
    roff.control("SH", ["COMMANDS"]);
    for sub in definition.get_subcommands().filter(|sub| sub.get_name() != "help") {
        roff.control("SS", [sub.get_name()]);
        if let Some(about) = sub.get_about() {
            text(&mut roff, &format!("{about}."));
        }
        arguments(&mut roff, sub);
    }
    roff.control("SH", ["MESSAGES"]);
    paragraphs(&mut roff, MESSAGES);
    roff.control("SH", ["METRICS"]);
    paragraphs(&mut roff, METRICS);
    for family in FAMILIES {
        let labels = match family.labels {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        roff.control("TP", []).text([bold(family.name), roman(labels)]);
        text(&mut roff, family.help);
    }
    for (title, body) in [
        ("SIGNALS", SIGNALS),
        ("EXIT STATUS", EXIT_STATUS),
        ("FILES", FILES),
        ("PRIVILEGES", PRIVILEGES),
        ("EXAMPLES", EXAMPLES),
        (
            "SEE ALSO",
            "mount_status_monitor.toml(5), mount(8), umount(8), nfs(5), fstab(5), systemd.service(5)",
        ),
    ] {
        roff.control("SH", [title]);
        paragraphs(&mut roff, body);
    }
    roff.to_roff()
}

fn file() -> String {
    let mut roff = begin("mount_status_monitor.toml", "5", "configuration of mount_status_monitor");
    roff.control("SH", ["SYNOPSIS"]);
    for path in [crate::config::DEFAULT_CONFIG, "/etc/mount_status_monitor/conf.d/*.toml"] {
        roff.control("PP", []).text([italic(path)]);
    }
    roff.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut roff, FILE_DESCRIPTION);
    roff.control("SH", ["OPTIONS"]);
    text(&mut roff, "Options are written above the first table.");
    for option in options() {
        let next_start = if option.is_reloadable { "" } else { ". A change takes effect at the next start" };
        let help = format!("{}{next_start}.", option.help_with_default());
        tagged(&mut roff, option.key, &toml_value(option), &help);
    }
    for (title, introduction, keys) in [
        ("[[rule]]", RULES, reference::RULE),
        ("[[hook]]", HOOKS, reference::HOOK),
        ("[alertmanager]", ALERTMANAGER, reference::ALERTMANAGER),
    ] {
        roff.control("SH", [title]);
        paragraphs(&mut roff, introduction);
        for Key { name, value, help } in keys {
            tagged(&mut roff, name, value, help);
        }
    }
    for (title, body) in [("EXAMPLE", FILE_EXAMPLE), ("SEE ALSO", "mount_status_monitor(8), fstab(5)")] {
        roff.control("SH", [title]);
        paragraphs(&mut roff, body);
    }
    roff.to_roff()
}

fn begin(name: &str, section: &str, about: &str) -> Roff {
    let mut roff = Roff::new();
    let source = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [&*name.to_uppercase(), section, "", &source, MANUAL]);
    roff.control("ad", ["l"]).control("nh", []); // do not break paths and options
    roff.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    roff
}

/// The arguments of a command in the order of their definition.
fn arguments(roff: &mut Roff, command: &Command) {
    for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
        let mut head: Vec<Inline> = Vec::new();
        if let Some(short) = option.get_short() {
            head.extend([bold(format!("-{short}")), roman(", ")]);
        }
        let names = option.get_value_names().filter(|_| option.get_action().takes_values());
        let value = names.map(|names| names.join(" "));
        match (option.get_long(), value) {
            (None, value) => head.push(italic(value.unwrap_or_default())),
            (Some(long), None) => head.push(bold(format!("--{long}"))),
            (Some(long), Some(value)) if option.is_require_equals_set() => {
                head.extend([bold(format!("--{long}")), roman("[="), italic(value), roman("]")]);
            }
            (Some(long), Some(value)) => head.extend([bold(format!("--{long}")), roman(" "), italic(value)]),
        }
        roff.control("TP", []).text(head);
        text(roff, &help_of(option));
    }
}

/// Placeholder for the value of an option in the file.
fn toml_value(option: &ConfigOption) -> String {
    match option.value_name() {
        None => "true or false".to_owned(),
        Some(name) if option.has_optional_value() => format!("true, false or {name}"),
        Some(name) => name.to_owned(),
    }
}

/// The help text of an argument with its default value.
fn help_of(option: &Arg) -> String {
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<_> = option.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let shows = option.get_action().takes_values() && !help.contains("[default: ") && !defaults.is_empty();
    if shows { format!("{help} [default: {}]", defaults.join(" ")) } else { help }
}

fn tagged(roff: &mut Roff, name: &str, value: &str, help: &str) {
    roff.control("TP", []).text([bold(name), roman(" = "), italic(value)]);
    text(roff, help);
}

fn text(roff: &mut Roff, what: &str) {
    roff.text([roman(what)]);
}

/// Paragraphs are separated by empty lines. Lines that start with two spaces are not filled.
fn paragraphs(roff: &mut Roff, body: &str) {
    for paragraph in body.split("\n\n") {
        roff.control("PP", []);
        if paragraph.starts_with("  ") {
            roff.control("nf", []);
            paragraph.lines().for_each(|line| text(roff, line.strip_prefix("  ").unwrap_or(line)));
            roff.control("fi", []);
        } else {
            text(roff, &paragraph.replace('\n', " "));
        }
    }
}
