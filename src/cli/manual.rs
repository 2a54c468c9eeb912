//! The manual pages, generated from the definition of the command line, the keys of the files and the metrics.

use super::command;
use super::help_text::{DAEMON_EXAMPLES, DAEMON_EXIT_STATUS};
use super::manual_text::{
    ALERTMANAGER, DESCRIPTION, FILE_DESCRIPTION, FILE_EXAMPLE, FILES, HOOKS, MESSAGES, METRICS, PRIVILEGES,
    REMEDIES, RULES, SIGNALS,
};
use crate::config::options;
use crate::config::reference::{self, Key};
use crate::render::PROCESS_NAME;
use crate::render::metrics::FAMILIES;
use clap::Command;
use roff::{Inline, Roff, bold, italic, roman};

/// The day of the release, as in CHANGELOG.md. Before it there is none, in quotation marks, because roff counts arguments.
const DATE: &str = "\"\"";

/// The roff of `mount_status_monitor(8)`.
pub fn program() -> String {
    let mut definition = command();
    definition.build(); // adds --help and --version
    let mut roff = start(PROCESS_NAME, "8", "watch every mount and report which are dead");
    roff.control("SH", ["SYNOPSIS"]);
    for (command, arguments) in [
        ("", "[OPTION…]"),
        (" check", "[OPTION…] [MOUNTPOINT…]"),
        (" status", "[OPTION…]"),
        (" watch", "[OPTION…]"),
        (" diagnose", "[OPTION…] MOUNTPOINT"),
        (" remedy", "[OPTION…] MOUNTPOINT"),
        (" drill", "[OPTION…]"),
        (" man", "[8|5]"),
        (" completions", "SHELL"),
    ] {
        let command = format!("{PROCESS_NAME}{command}");
        roff.control("PP", []).text([bold(command), roman(" "), italic(arguments)]);
    }
    section(&mut roff, "DESCRIPTION", DESCRIPTION);
    roff.control("SH", ["OPTIONS"]);
    arguments(&mut roff, &definition);
    roff.control("SH", ["COMMANDS"]);
    for command in
        definition.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
    {
        roff.control("SS", [command.get_name()]);
        paragraphs(&mut roff, &format!("{}.", command.get_about().cloned().unwrap_or_default()));
        arguments(&mut roff, command);
        if let Some(text) = command.get_after_long_help() {
            paragraphs(&mut roff, &text.to_string());
        }
    }
    section(&mut roff, "MESSAGES", MESSAGES);
    section(&mut roff, "METRICS", METRICS);
    for family in FAMILIES {
        let labels = match family.labels {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        tagged(&mut roff, vec![bold(family.name), roman(labels)], family.help);
    }
    section(&mut roff, "SIGNALS", SIGNALS);
    section(&mut roff, "EXIT STATUS", DAEMON_EXIT_STATUS);
    section(&mut roff, "FILES", FILES);
    section(&mut roff, "PRIVILEGES", PRIVILEGES);
    section(&mut roff, "EXAMPLES", DAEMON_EXAMPLES);
    let see_also = "mount_status_monitor.toml(5), mount(8), umount(8), nfs(5), fstab(5), systemd.service(5)";
    section(&mut roff, "SEE ALSO", see_also);
    page(&roff)
}

/// The roff of `mount_status_monitor.toml(5)`.
pub fn file() -> String {
    let mut roff = start("mount_status_monitor.toml", "5", "configuration of mount_status_monitor");
    let synopsis = "  /etc/mount_status_monitor/config.toml\n  /etc/mount_status_monitor/conf.d/*.toml";
    section(&mut roff, "SYNOPSIS", synopsis);
    section(&mut roff, "DESCRIPTION", FILE_DESCRIPTION);
    section(&mut roff, "OPTIONS", "Options are written above the first table.");
    for option in options() {
        let value = match option.value_name {
            None => "true or false".to_owned(),
            Some(name) if option.has_optional_value => format!("true, false or {name}"),
            Some(name) => name.to_owned(),
        };
        let next_start = if option.is_reloadable { "" } else { ". A change takes effect at the next start" };
        let help = format!("{}{next_start}.", option.help_with_default());
        tagged(&mut roff, key_and_value(option.key, &value), &help);
    }
    for (title, introduction, keys) in [
        ("[[rule]]", RULES, reference::RULE),
        ("remedy in [[rule]]", REMEDIES, reference::REMEDY),
        ("[[hook]]", HOOKS, reference::HOOK),
        ("[alertmanager]", ALERTMANAGER, reference::ALERTMANAGER),
    ] {
        section(&mut roff, title, introduction);
        for Key { name, value, help } in keys {
            tagged(&mut roff, key_and_value(name, value), help);
        }
    }
    section(&mut roff, "EXAMPLE", FILE_EXAMPLE);
    section(&mut roff, "SEE ALSO", "mount_status_monitor(8), fstab(5)");
    page(&roff)
}

/// Some formatters expect ASCII, and mandoc warns of a paragraph that begins with its section.
fn page(roff: &Roff) -> String {
    let text = roff.to_roff().replace('…', "...");
    let mut is_heading = false;
    let is_needed = |line: &&str| {
        let is_needed = !(is_heading && *line == ".PP");
        is_heading = line.starts_with(".SH ") || line.starts_with(".SS ");
        is_needed
    };
    text.lines().filter(is_needed).map(|line| format!("{line}\n")).collect()
}

fn start(name: &str, number: &str, about: &str) -> Roff {
    let mut roff = Roff::new();
    let manual = if number == "5" { "File Formats" } else { "System Administration" };
    // Without the name, which would not fit into the last line.
    let version = env!("CARGO_PKG_VERSION");
    roff.control("TH", [&*name.to_uppercase(), number, DATE, version, manual]);
    roff.control("ad", ["l"]).control("nh", []); // do not break paths and options
    roff.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    roff
}

fn arguments(roff: &mut Roff, command: &Command) {
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let mut tag: Vec<Inline> = Vec::new();
        if let Some(short) = argument.get_short() {
            tag.extend([bold(format!("-{short}")), roman(", ")]);
        }
        let names = argument.get_value_names().filter(|_| argument.get_action().takes_values());
        let value = names.map(|names| names.join(" "));
        tag.extend(argument.get_long().map(|long| bold(format!("--{long}"))));
        match value {
            Some(value) if argument.is_require_equals_set() => {
                tag.extend([roman("[="), italic(value), roman("]")]);
            }
            Some(value) if argument.is_positional() => tag.push(italic(value)),
            Some(value) => tag.extend([roman(" "), italic(value)]),
            None => {}
        }
        tagged(roff, tag, &argument.get_help().cloned().unwrap_or_default().to_string());
    }
}

fn key_and_value(key: &str, value: &str) -> Vec<Inline> {
    vec![bold(key), roman(" = "), italic(value)]
}

fn tagged(roff: &mut Roff, tag: Vec<Inline>, text: &str) {
    roff.control("TP", []).text(tag).text([roman(text)]);
}

fn section(roff: &mut Roff, title: &str, body: &str) {
    roff.control("SH", [title]);
    paragraphs(roff, body);
}

/// Empty lines separate paragraphs. Lines that start with two spaces are not filled.
fn paragraphs(roff: &mut Roff, body: &str) {
    for paragraph in body.split("\n\n") {
        let lines: Vec<&str> = paragraph.lines().collect();
        for block in lines.chunk_by(|one, other| one.starts_with("  ") == other.starts_with("  ")) {
            roff.control("PP", []);
            if block[0].starts_with("  ") {
                roff.control("nf", []);
                for line in block {
                    roff.text([roman(&line[2..])]);
                }
                roff.control("fi", []);
            } else {
                roff.text([roman(block.join(" "))]);
            }
        }
    }
}
