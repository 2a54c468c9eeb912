//! The definition of the command line for clap. Values of the daemon's options are parsed later by the table of
//! options, so that the configuration file accepts the same values with the same errors.

use super::completion;
use super::help_text::{
    ABOUT, CHECK, COMPLETIONS, DAEMON_EXAMPLES, DAEMON_EXIT_STATUS, DIAGNOSE, DRILL, LONG_ABOUT, REMEDY,
    STATUS, WATCH, filled,
};
use crate::config::{ConfigOption, DEFAULT_CONFIG, OPTION_GROUPS, duration, options};
use crate::monitor::remedy::{Consent, STEP_WORDS, StepKind};
use crate::render::PROCESS_NAME;
use crate::render::nagios::Range;
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command, ValueHint, value_parser};
use clap_complete::Shell;
use platform::MountSource;
use std::path::PathBuf;

/// Marks the arguments that are mount points; no other argument is a directory.
pub(super) const MOUNT_POINT_HINT: ValueHint = ValueHint::DirPath;

pub fn command() -> Command {
    visible_command().subcommand(mount_points())
}

/// Without the command that completions use.
pub(super) fn visible_command() -> Command {
    let grouped = |&(heading, options): &(&'static str, &'static [ConfigOption])| {
        options.iter().map(move |option| option_argument(option).help_heading(heading))
    };
    Command::new(PROCESS_NAME)
        .bin_name(PROCESS_NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .after_long_help(format!("Examples:\n{DAEMON_EXAMPLES}\n\nExit status:\n{DAEMON_EXIT_STATUS}"))
        .args_conflicts_with_subcommands(true)
        .args_override_self(true) // the last value counts, so that a wrapper can set its own defaults
        .propagate_version(true)
        .max_term_width(110)
        .args([
            file_argument("config", "FILE").help(format!(
                "Read this file and the conf.d/*.toml beside it [default: {DEFAULT_CONFIG} if it exists]; they are read \
                 again when they change and on SIGHUP"
            )),
            flag("check_config").help("Show the effective configuration and what it means for the present mounts, then exit"),
            file_argument("explain", "MOUNTPOINT")
                .value_hint(MOUNT_POINT_HINT)
                .requires("check_config")
                .help("With --check-config: show which rule and values apply to this mount point, and why"),
            Arg::new("mount_source")
                .long("mount-source")
                .value_parser(MountSource::ALL.map(MountSource::name))
                .hide(true)
                .help("For tests: read changes of the mount table from this source or a simpler one"),
        ])
        .args(OPTION_GROUPS.iter().flat_map(grouped))
        .subcommands([
            check(),
            query("status", "Show the mounts as the running daemon knows them", STATUS),
            query("watch", "Print events as they happen, one per line", WATCH).arg(last()),
            diagnose(),
            remedy(),
            drill(),
            man(),
            completions(),
        ])
}

fn check() -> Command {
    Command::new("check")
        .about("Probe mounts once and show the result; never hangs")
        .after_long_help(filled(CHECK))
        .args([
            mountpoint().num_args(0..).action(ArgAction::Append).help("Check only these mount points [default: all]"),
            flag("json").conflicts_with("nagios").help("Print one JSON document"),
            flag("nagios").help("Print one line with performance data, as a monitoring plugin"),
            Arg::new("wait")
                .long("wait")
                .value_name("TIME")
                .value_parser(duration)
                .value_hint(ValueHint::Other)
                .requires("mountpoint")
                .conflicts_with("nagios")
                .help("Wait at most so long (seconds, or 500ms, 2m) until the mounts are there and respond"),
            plugin_option("plugin_timeout", 't', "TIME").value_parser(duration).help(
                "With --nagios: end with UNKNOWN if there is no result after this time (seconds, or 500ms, 2m) [default: 10]",
            ),
            plugin_option("warning", 'w', "RANGE").value_parser(range).help(
                "With --nagios: the latencies of a mount, in seconds, that are no WARNING (2, 0.5:2, @2:5 and so on), instead \
                 of those of slow mounts",
            ),
            plugin_option("critical", 'c', "RANGE")
                .value_parser(range)
                .help("With --nagios: the latencies of a mount that are not CRITICAL; a dead mount always is"),
            flag("direct")
                .help("Probe the mounts even if a daemon is running; options that select or change probes do the same"),
            flag("in_image")
                .hide(true)
                .conflicts_with_all(["json", "nagios"])
                .help("For the container image: also print how it watches the mounts of the host"),
        ])
        .args(daemon_arguments())
        .args(options().filter(|option| option.is_for_check).map(option_argument))
}

/// A command that shows what the daemon knows.
fn query(name: &'static str, about: &'static str, after_help: &'static str) -> Command {
    Command::new(name).about(about).after_long_help(filled(after_help)).arg(json()).args(daemon_arguments())
}

fn diagnose() -> Command {
    Command::new("diagnose")
        .about("Show why a mount is dead, which tasks wait for it and what can be done; it changes nothing")
        .after_long_help(filled(DIAGNOSE))
        .args([
            mountpoint().required(true).help("The mount point, or a path in the mount"),
            json(),
            flag("direct").help("Inspect the mount without the daemon, even if one is running"),
        ])
        .args(daemon_arguments())
}

fn remedy() -> Command {
    Command::new("remedy")
        .about("Show what could be done about a dead mount, and what forbids it; with --act, do it")
        .after_long_help(filled(REMEDY))
        .args([
            mountpoint().required(true).help("The mount point"),
            json(),
            flag("act").help("Carry the plan out, step by step"),
            flag("reset")
                .conflicts_with_all(["act", "steps", "allow", "json"])
                .help("Permit new attempts on this mount, and remedies after another mount was hit"),
            Arg::new("steps")
                .long("steps")
                .value_name("STEP,…")
                .value_delimiter(',')
                .value_parser(step)
                .value_hint(ValueHint::Other)
                .help(format!("Only these steps, instead of those of the rule: {}", step_words())),
            Arg::new("allow")
                .long("allow")
                .value_name("WORD,…")
                .value_delimiter(',')
                .value_parser(consent)
                .value_hint(ValueHint::Other)
                .help(format!("Permit this too: {}", Consent::ALL.map(Consent::as_str).join(", "))),
        ])
        .args(daemon_arguments())
}

fn drill() -> Command {
    query("drill", "Send a test event to every output of the running daemon, and show what became of it", DRILL).arg(
        Arg::new("mountpoint")
            .long("mountpoint")
            .value_name("MOUNTPOINT")
            .value_parser(absolute_path)
            .value_hint(MOUNT_POINT_HINT)
            .help("The mount point that the event names; it need not exist, and is not touched [default: /drill]"),
    )
}

fn absolute_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("write an absolute path".to_owned()) }
}

fn step(word: &str) -> Result<StepKind, String> {
    word.parse()
}

fn consent(word: &str) -> Result<Consent, String> {
    word.parse()
}

fn step_words() -> String {
    let words: Vec<&str> = STEP_WORDS.iter().map(|step| step.as_str()).collect();
    words.join(", ")
}

fn last() -> Arg {
    Arg::new("last")
        .long("last")
        .value_name("N")
        .value_parser(value_parser!(u32))
        .help("First print the last N deaths, recoveries and other events that matter, as the daemon remembers them")
}

fn man() -> Command {
    Command::new("man")
        .about("Print a manual page as roff: mount_status_monitor(8) or mount_status_monitor.toml(5)")
        .arg(
            Arg::new("section")
                .value_name("SECTION")
                .default_value("8")
                .value_parser(["8", "5"])
                .help("8 for the program, 5 for the configuration file"),
        )
}

fn completions() -> Command {
    Command::new("completions")
        .about("Print completions for a shell")
        .after_long_help(filled(COMPLETIONS))
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(value_parser!(Shell))
                .help("The shell"),
        )
}

fn mount_points() -> Command {
    Command::new(completion::COMMAND).about("For completions: list the mount points").hide(true).args([
        Arg::new("shell").value_parser(["bash", "fish", "zsh"]).required(true),
        Arg::new("replaced").value_parser(ValueParser::os_string()).allow_hyphen_values(true),
        Arg::new("line").value_parser(ValueParser::os_string()).allow_hyphen_values(true),
    ])
}

/// How a command finds the running daemon.
fn daemon_arguments() -> [Arg; 2] {
    [
        file_argument("socket", "PATH").help("The socket of the daemon [default: that of its configuration]"),
        file_argument("config", "FILE")
            .help(format!("The configuration file of the daemon [default: {DEFAULT_CONFIG} if it exists]")),
    ]
}

fn mountpoint() -> Arg {
    Arg::new("mountpoint")
        .value_name("MOUNTPOINT")
        .value_parser(value_parser!(PathBuf))
        .value_hint(MOUNT_POINT_HINT)
}

fn json() -> Arg {
    flag("json").help("Print JSON")
}

fn flag(id: &'static str) -> Arg {
    Arg::new(id).long(id.replace('_', "-")).action(ArgAction::SetTrue)
}

fn plugin_option(id: &'static str, short: char, value_name: &'static str) -> Arg {
    let argument = Arg::new(id).long(id.replace('_', "-")).short(short).value_name(value_name);
    argument.requires("nagios").value_hint(ValueHint::Other).allow_hyphen_values(true)
}

fn range(text: &str) -> Result<Range, String> {
    text.parse()
}

fn file_argument(id: &'static str, value_name: &'static str) -> Arg {
    let argument = Arg::new(id).long(id).value_name(value_name).value_parser(value_parser!(PathBuf));
    argument.value_hint(ValueHint::FilePath)
}

fn option_argument(option: &'static ConfigOption) -> Arg {
    let argument =
        Arg::new(option.key).long(option.flag()).short(option.short).help(option.help_with_default());
    // As Prometheus and its exporters call it.
    let argument = if option.key == "web_config_file" { argument.alias("web.config.file") } else { argument };
    let Some(name) = option.value_name else { return argument.action(ArgAction::SetTrue) };
    let hint = if matches!(name, "FILE" | "PATH") { ValueHint::FilePath } else { ValueHint::Other };
    let argument = argument.value_name(name).value_parser(ValueParser::os_string()).value_hint(hint);
    if option.has_optional_value {
        argument.num_args(0..=1).require_equals(true)
    } else {
        argument.allow_hyphen_values(name == "TIME") // so that -1 is reported as a wrong time
    }
}
