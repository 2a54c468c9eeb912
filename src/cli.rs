//! The command line: every flag is defined here and nowhere else. It becomes a [`Config`] or a [`CheckConfig`], or an
//! [`Exit`] with what is to be printed before the end.

use crate::config::{
    CheckConfig, CheckOutput, Config, DEFAULT_FS_TYPES_EXCLUDE, Filter, duration, name_regex,
};
use crate::monitor::Settings;
use crate::report::escape::one_line;
use crate::report::{Facility, LogFormat, PROCESS_NAME, Priority, ReportSettings, SyslogTarget, nagios};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use regex::bytes::Regex;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The exit status of a wrong command line or configuration.
pub const USAGE_ERROR: u8 = 2;

const ABOUT: &str = "Watches every mount, probes each with a timeout, and tells which are dead";

const LONG_ABOUT: &str = "Watches every mount of this machine, probes each with a timeout, and tells which are dead: \
hung, stale, disconnected or failing.\n\nWithout a command it is the daemon, in the foreground; it needs no \
configuration and no root rights (without them it cannot ask what others may not reach). Changes of the mount table \
are noticed at once. Whatever hangs, the daemon does not.";

const DAEMON_HELP: &str = "\
Examples:
  mount_status_monitor                                     watch everything, tell syslog and standard error
  mount_status_monitor --poll-interval 30 --timeout 5s --syslog udp://loghost:514
  mount_status_monitor --fs-types-include '^(nfs|cifs|fuse)'
  mount_status_monitor --once-only --print-bad-mounts      for scripts: dead mount points, one per line
  mount_status_monitor check                               a table of all mounts, now

Exit status:
  0  stopped by a signal; or with --once-only: no mount is dead
  1  with --once-only: some mounts are dead
  2  wrong usage or configuration, or it could not start";

const CHECK_HELP: &str = "\
Examples:
  mount_status_monitor check                        a table of all mounts
  mount_status_monitor check /home /srv/data        only these
  mount_status_monitor check --json | jq '.mounts[] | select(.state == \"hung\").mountpoint'
  mount_status_monitor check --nagios --timeout 5   a monitoring plugin

Exit status:
  0  no mount is dead
  1  some mounts are dead
  2  wrong usage, or it could not check
With --nagios: 0 OK, 1 WARNING (slow), 2 CRITICAL (dead), 3 UNKNOWN (nothing could be judged, or wrong usage)";

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// Be the daemon.
    Daemon(Config),
    /// One run, shown.
    Check(CheckConfig),
}

/// The program is to end at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// Its exit status.
    pub status: u8,
    /// For standard output: help, version, a plugin line.
    pub stdout: String,
    /// For standard error: one line.
    pub stderr: String,
}

/// Reads a command line, its first element the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(Cli { command: Some(Command::Check(check)), .. }) => Ok(Invocation::Check(check.into())),
        Ok(Cli { command: None, daemon, watch }) => Ok(Invocation::Daemon(daemon.with(watch))),
        Err(error) => Err(exit(&error, is_plugin(&arguments))),
    }
}

/// The whole command line, for the man page and completions.
#[must_use]
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[derive(Parser)]
#[command(name = PROCESS_NAME, version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = DAEMON_HELP)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    watch: WatchArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Check mounts once, show the result, and exit; it never hangs
    #[command(after_long_help = CHECK_HELP)]
    Check(CheckArgs),
}

/// How and which mounts are asked: the same for all commands.
#[derive(Args)]
struct WatchArgs {
    /// A mount that has not answered by then is hung
    #[arg(long, value_name = "TIME", default_value = "3", value_parser = duration, allow_hyphen_values = true)]
    timeout: Duration,
    /// A mount that answers later than this is slow
    #[arg(long, value_name = "TIME", default_value = "1", value_parser = duration, allow_hyphen_values = true)]
    slow_after: Duration,
    /// Only mount points that match this regular expression
    #[arg(long, value_name = "REGEX", value_parser = name_regex)]
    mount_points_include: Option<Regex>,
    /// No mount points that match this regular expression
    #[arg(long, value_name = "REGEX", value_parser = name_regex)]
    mount_points_exclude: Option<Regex>,
    /// Only file system types that match this regular expression
    #[arg(long, value_name = "REGEX", value_parser = name_regex)]
    fs_types_include: Option<Regex>,
    /// No file system types that match this regular expression
    #[arg(long, value_name = "REGEX", value_parser = name_regex, default_value = DEFAULT_FS_TYPES_EXCLUDE)]
    fs_types_exclude: Regex,
}

impl WatchArgs {
    fn split(self, poll_interval: Duration) -> (Settings, Filter) {
        let settings = Settings { poll_interval, timeout: self.timeout, slow_after: self.slow_after };
        let filter = Filter {
            mount_points_include: self.mount_points_include,
            mount_points_exclude: self.mount_points_exclude,
            fs_types_include: self.fs_types_include,
            fs_types_exclude: Some(self.fs_types_exclude),
        };
        (settings, filter)
    }
}

#[derive(Args)]
struct DaemonArgs {
    /// From one check of a mount to the next: seconds, or with a unit (500ms, 30s, 2m, 1h30m)
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = duration, allow_hyphen_values = true)]
    poll_interval: Duration,
    /// Check every mount once, then exit
    #[arg(short = '1', long)]
    once_only: bool,
    /// Print dead mount points on standard output, one per line
    #[arg(long)]
    print_bad_mounts: bool,
    /// Where syslog messages go: local, off, unix:PATH, udp://HOST:PORT or tcp://HOST:PORT
    #[arg(long, value_name = "TARGET", default_value = "local")]
    syslog: SyslogTarget,
    /// The facility of syslog messages: daemon, user, local0 to local7, …
    #[arg(long, value_name = "FACILITY", default_value = "daemon", value_parser = facility)]
    syslog_facility: Facility,
    /// The least pressing messages on standard error: error, warning, notice, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: Priority,
    /// How messages look on standard error: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

impl DaemonArgs {
    fn with(self, watch: WatchArgs) -> Config {
        let (settings, filter) = watch.split(self.poll_interval);
        let report = ReportSettings {
            log_level: self.log_level,
            log_format: self.log_format,
            syslog: self.syslog,
            syslog_facility: self.syslog_facility,
        };
        Config {
            settings,
            filter,
            report,
            once_only: self.once_only,
            print_bad_mounts: self.print_bad_mounts,
        }
    }
}

#[derive(Args)]
struct CheckArgs {
    /// Check only these mount points; without any, all
    #[arg(value_name = "MOUNTPOINT")]
    mountpoints: Vec<PathBuf>,
    /// Print one JSON document
    #[arg(long, conflicts_with = "nagios")]
    json: bool,
    /// Print one line with performance data, as a monitoring plugin
    #[arg(long)]
    nagios: bool,
    #[command(flatten)]
    watch: WatchArgs,
}

impl From<CheckArgs> for CheckConfig {
    fn from(args: CheckArgs) -> CheckConfig {
        let (settings, filter) = args.watch.split(Settings::default().poll_interval);
        let output = match (args.json, args.nagios) {
            (true, _) => CheckOutput::Json,
            (false, true) => CheckOutput::Nagios,
            (false, false) => CheckOutput::Table,
        };
        CheckConfig { settings, filter, mountpoints: args.mountpoints, output }
    }
}

fn facility(word: &str) -> Result<Facility, String> {
    word.parse().map_err(|()| "use daemon, user, auth, cron, syslog, local0 to local7, …".to_owned())
}

/// Is this the command line of a monitoring plugin, even if it is a wrong one? Its reader looks for one line on
/// standard output and takes 2 for a dead mount.
fn is_plugin(arguments: &[OsString]) -> bool {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    has("check") && has("--nagios")
}

fn exit(error: &clap::Error, plugin: bool) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Exit { status: 0, stdout: error.render().to_string(), stderr: String::new() }
        }
        _ if plugin => Exit {
            status: nagios::State::Unknown.exit_status(),
            stdout: format!("{}\n", nagios::unknown(&problem(error))),
            stderr: String::new(),
        },
        _ => Exit {
            status: USAGE_ERROR,
            stdout: String::new(),
            stderr: format!("{PROCESS_NAME}: {}; see --help\n", one_line(&problem(error))),
        },
    }
}

/// clap's message without its layout: what is wrong and what may have been meant, in one line.
fn problem(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut parts: Vec<String> = Vec::new();
    for paragraph in text.split("\n\n") {
        let paragraph = paragraph.trim();
        if paragraph.starts_with("Usage:") || paragraph.starts_with("For more information") {
            continue;
        }
        let words: Vec<&str> = paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        parts.extend((!words.is_empty()).then(|| words.join(" ")));
    }
    let joined = parts.join("; ");
    joined.strip_prefix("error: ").unwrap_or(&joined).replace("; tip: ", "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, Exit> {
        parse(std::iter::once(PROCESS_NAME).chain(line.split_whitespace()).map(OsString::from))
    }

    fn daemon(line: &str) -> Config {
        match parsed(line) {
            Ok(Invocation::Daemon(config)) => config,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn check(line: &str) -> CheckConfig {
        match parsed(line) {
            Ok(Invocation::Check(config)) => config,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn clap_finds_no_fault() {
        command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = daemon("");
        assert_eq!(config.settings, Settings::default());
        assert_eq!(config.filter.fs_types_exclude.unwrap().as_str(), "^autofs$");
        assert_eq!(config.report.syslog, SyslogTarget::Local);
        assert_eq!(config.report.syslog_facility as u8, Facility::LOG_DAEMON as u8);
        assert_eq!((config.report.log_level, config.report.log_format), (Priority::Info, LogFormat::Text));
        assert!(!config.once_only && !config.print_bad_mounts);
        assert_eq!(check("check").settings, Settings::default());
    }

    #[test]
    fn every_flag() {
        let config = daemon(
            "--poll-interval 30 --timeout 500ms --slow-after=0.25 -1 --print-bad-mounts --syslog tcp://h:601 \
             --syslog-facility local3 --log-level debug --log-format json --mount-points-include ^/a \
             --mount-points-exclude ^/a/b --fs-types-include nfs --fs-types-exclude ^$",
        );
        let millis = Duration::from_millis;
        let settings =
            Settings { poll_interval: millis(30_000), timeout: millis(500), slow_after: millis(250) };
        assert_eq!(config.settings, settings);
        assert!(config.once_only && config.print_bad_mounts && config.warnings().is_empty());
        assert_eq!(config.report.syslog, SyslogTarget::Tcp("h:601".into()));
        assert_eq!(config.report.syslog_facility as u8, Facility::LOG_LOCAL3 as u8);
        assert_eq!((config.report.log_level, config.report.log_format), (Priority::Debug, LogFormat::Json));
        let patterns = [
            config.filter.mount_points_include,
            config.filter.mount_points_exclude,
            config.filter.fs_types_include,
            config.filter.fs_types_exclude,
        ];
        assert_eq!(patterns.map(|regex| regex.unwrap().to_string()), ["^/a", "^/a/b", "nfs", "^$"]);
    }

    #[test]
    fn the_command_lines_of_2x_keep_working() {
        for line in [
            "--poll-interval 60",
            "--once-only",
            "-1",
            "--once-only --print-bad-mounts",
            "--poll-interval=60",
        ] {
            daemon(line);
        }
    }

    #[test]
    fn checking() {
        let config = check("check /a b/c --json --timeout 5 --slow-after 6 --fs-types-include ^nfs");
        assert_eq!(config.mountpoints, [PathBuf::from("/a"), PathBuf::from("b/c")]);
        assert_eq!((config.output, config.settings.timeout), (CheckOutput::Json, Duration::from_secs(5)));
        assert_eq!(config.warnings().len(), 1);
        assert_eq!(check("check --nagios").output, CheckOutput::Nagios);
        assert_eq!(check("check").output, CheckOutput::Table);
    }

    #[test]
    fn errors_are_one_line() {
        for (line, text) in [
            (
                "--tiemout 3",
                "unexpected argument '--tiemout' found; a similar argument exists: '--timeout'; see --help",
            ),
            (
                "--timeout 0",
                "invalid value '0' for '--timeout <TIME>': it has to be more than zero; see --help",
            ),
            (
                "--timeout -1",
                "invalid value '-1' for '--timeout <TIME>': it has to be more than zero; see --help",
            ),
            (
                "--poll-interval soon",
                "invalid value 'soon' for '--poll-interval <TIME>': write a number of seconds",
            ),
            ("--poll-interval", "a value is required for '--poll-interval <TIME>' but none was supplied"),
            (
                "--fs-types-include (",
                "invalid value '(' for '--fs-types-include <REGEX>': not a regular expression: unclosed",
            ),
            ("--log-level loud", "invalid value 'loud' for '--log-level <LEVEL>': use one of error, warning"),
            ("--syslog here", "invalid value 'here' for '--syslog <TARGET>': use local, off"),
            ("--syslog-facility x", "invalid value 'x' for '--syslog-facility <FACILITY>': use daemon"),
            ("chek", "unrecognized subcommand 'chek'; a similar subcommand exists: 'check'; see --help"),
            (
                "check --json --nagios",
                "MOUNTS UNKNOWN - the argument '--json' cannot be used with '--nagios'",
            ),
            ("check --nagios --timeout x", "MOUNTS UNKNOWN - invalid value 'x' for '--timeout <TIME>'"),
            ("--timeout 3 check", "the subcommand 'check' cannot be used with '--timeout <TIME>'"),
            (
                "--once-only --once-only",
                "the argument '--once-only' cannot be used multiple times; see --help",
            ),
        ] {
            let exit = parsed(line).unwrap_err();
            let plugin = line.contains("--nagios");
            let said = if plugin { &exit.stdout } else { &exit.stderr };
            assert!(said.contains(text), "{line}: {exit:?}");
            assert_eq!(said.matches('\n').count(), 1, "{said}");
            assert_eq!(exit.status, if plugin { 3 } else { 2 });
            assert_eq!(exit.stdout.is_empty() || exit.stderr.is_empty(), true);
        }
        let evil = parse([PROCESS_NAME, "--a\n\x1b[31m"].map(OsString::from)).unwrap_err();
        assert_eq!(evil.stderr.matches('\n').count(), 1);
        assert!(!evil.stderr.contains('\x1b'), "{evil:?}");
    }

    #[test]
    fn help_and_version_are_answers() {
        for (line, text) in [
            ("--help", "Exit status:"),
            ("-h", "--poll-interval"),
            ("check --help", "UNKNOWN"),
            ("--version", "mount_status_monitor 3."),
        ] {
            let exit = parsed(line).unwrap_err();
            assert!(exit.status == 0 && exit.stderr.is_empty() && exit.stdout.contains(text), "{exit:?}");
        }
    }
}
