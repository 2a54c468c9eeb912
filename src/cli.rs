//! The command line: every flag is defined here and nowhere else. It becomes a [`Config`] or a [`CheckConfig`], or an
//! [`Exit`] with what is to be printed before the end.

mod metrics;

use crate::config::{
    AskConfig, CheckConfig, CheckOutput, Config, DEFAULT_FS_TYPES_EXCLUDE, Filter, duration, listen_address,
    name_regex, socket_choice,
};
use crate::http::{DEFAULT_SOCKET, HttpSettings, SocketChoice};
use crate::metrics::MetricsSettings;
use crate::monitor::Settings;
use crate::report::escape::one_line;
use crate::report::{Facility, LogFormat, PROCESS_NAME, Priority, ReportSettings, SyslogTarget, nagios};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use regex::bytes::Regex;
use std::ffi::OsString;
use std::net::SocketAddr;
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
  mount_status_monitor                      watch everything
  mount_status_monitor --timeout 5s --syslog udp://loghost:514
  mount_status_monitor --fs-types-include '^(nfs|cifs|fuse)'
  mount_status_monitor --once-only --print-bad-mounts     for scripts
  mount_status_monitor check                a table of all mounts, now
  mount_status_monitor watch                events as they happen

Exit status:
  0  stopped by a signal; or with --once-only: no mount is dead
  1  with --once-only: some mounts are dead
  2  wrong usage or configuration, or it could not start
     with --once-only also: some mounts could not be judged";

const CHECK_HELP: &str = "\
Examples:
  mount_status_monitor check                       a table of all mounts
  mount_status_monitor check /home /srv/data       only these
  mount_status_monitor check --json | jq '.mounts[] | select(.state == \"hung\")'
  mount_status_monitor check --nagios --timeout 5  a monitoring plugin

Exit status:
  0  no mount is dead
  1  some mounts are dead
  2  wrong usage, or it could not check, or some mounts could not be judged
With --nagios:
  0  OK
  1  WARNING: some mounts are slow, or could not be judged
  2  CRITICAL: some mounts are dead
  3  UNKNOWN: nothing could be judged, or wrong usage";

const STATUS_HELP: &str = "\
Exit status:
  0  no mount is dead
  1  some mounts are dead
  2  wrong usage, no daemon is running, or it does not answer";

const WATCH_HELP: &str = "\
Asks the running daemon; without one it watches by itself, with the daemon's usual settings.

Exit status:
  0  stopped by a signal
  2  wrong usage, or it could not watch";

/// What the command line asks for.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it
pub enum Invocation {
    /// Be the daemon.
    Daemon(Config),
    /// One run, shown.
    Check(CheckConfig),
    /// What the daemon knows.
    Status(AskConfig),
    /// Events as they happen.
    Watch(AskConfig),
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
        Ok(Cli { command: Some(Command::Status(ask)), .. }) => Ok(Invocation::Status(ask.into())),
        Ok(Cli { command: Some(Command::Watch(ask)), .. }) => Ok(Invocation::Watch(ask.into())),
        Ok(Cli { command: None, daemon, metrics, watch }) => {
            Ok(Invocation::Daemon(Config { metrics: metrics.settings(), ..daemon.with(watch) }))
        }
        Err(error) => Err(exit(&problem(&error, &arguments), &error, is_plugin(&arguments))),
    }
}

/// The definition of the whole command line.
#[must_use]
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[derive(Parser)]
#[command(name = PROCESS_NAME, bin_name = PROCESS_NAME, version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = DAEMON_HELP)]
#[command(
    args_conflicts_with_subcommands = true,
    args_override_self = true, // the last of several wins, so that a wrapper can have defaults of its own
    propagate_version = true,
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    metrics: metrics::MetricsArgs, // the last: its heading is that of all that follows
}

#[derive(Subcommand)]
enum Command {
    /// Check mounts once, show the result, and exit; it never hangs
    #[command(after_long_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Show what the running daemon knows
    #[command(after_long_help = STATUS_HELP)]
    Status(AskArgs),
    /// Show events as they happen, one in each line
    #[command(after_long_help = WATCH_HELP)]
    Watch(AskArgs),
}

/// How and which mounts are asked: the same for all commands.
#[derive(Args)]
struct WatchArgs {
    /// A mount that has not answered by then is hung: seconds, or with a unit (500ms, 30s, 2m, 1h30m) [default: 3]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    timeout: Option<Duration>,
    /// A mount that answers later than this is slow: seconds, or with a unit (500ms, 30s, 2m, 1h30m) [default: 1]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    slow_after: Option<Duration>,
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
    /// Is nothing special wanted, so that what a daemon has found out is an answer?
    fn are_usual(&self) -> bool {
        let patterns = [&self.mount_points_include, &self.mount_points_exclude, &self.fs_types_include];
        self.timeout.is_none()
            && self.slow_after.is_none()
            && patterns.iter().all(|pattern| pattern.is_none())
            && self.fs_types_exclude.as_str() == DEFAULT_FS_TYPES_EXCLUDE
    }

    fn split(self, poll_interval: Duration) -> (Settings, Filter) {
        let timeout = self.timeout.unwrap_or(Settings::default().timeout);
        let slow_after = self.slow_after.unwrap_or(Settings::default().slow_after.min(timeout));
        let settings = Settings { poll_interval, timeout, slow_after };
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
    /// Where HTTP is served (status page, metrics, API): an address and a port, or off
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9817", value_parser = Listen::parse)]
    listen_address: Listen,
    #[arg(long, value_name = "PATH", value_parser = socket_choice, help = socket_help())]
    socket: Option<SocketChoice>,
    /// Where syslog messages go: local, off, unix:PATH, udp://HOST:PORT or tcp://HOST:PORT
    #[arg(long, value_name = "TARGET", default_value = "local")]
    syslog: SyslogTarget,
    /// The facility of syslog messages: daemon, user, auth, authpriv, cron, syslog, kern, mail, lpr, news, uucp, ftp,
    /// ntp, audit, alert, clock_daemon or local0 to local7
    #[arg(long, value_name = "FACILITY", default_value = "daemon", value_parser = facility)]
    syslog_facility: Facility,
    /// The least urgent level shown on standard error: error, warning, notice, info or debug
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
            metrics: MetricsSettings::default(),
            http: HttpSettings {
                listen: self.listen_address.0,
                socket: self.socket.unwrap_or(SocketChoice::Usual),
            },
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
    /// Ask the mounts, even if a daemon is running; so do options that say which mounts are asked and how
    #[arg(long)]
    direct: bool,
    /// The socket of the daemon
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    #[command(flatten)]
    watch: WatchArgs,
}

/// For commands that ask the daemon.
#[derive(Args)]
struct AskArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The socket of the daemon
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

impl From<AskArgs> for AskConfig {
    fn from(AskArgs { json, socket }: AskArgs) -> AskConfig {
        AskConfig { json, socket }
    }
}

/// clap takes a bare `Option` for an option that may be left out.
#[derive(Clone)]
struct Listen(Option<SocketAddr>);

impl Listen {
    fn parse(text: &str) -> Result<Listen, String> {
        listen_address(text).map(Listen)
    }
}

impl From<CheckArgs> for CheckConfig {
    fn from(args: CheckArgs) -> CheckConfig {
        let socket = (!args.direct && args.watch.are_usual()).then_some(args.socket);
        let (settings, filter) = args.watch.split(Settings::default().poll_interval);
        let output = match (args.json, args.nagios) {
            (true, _) => CheckOutput::Json,
            (false, true) => CheckOutput::Nagios,
            (false, false) => CheckOutput::Table,
        };
        CheckConfig { settings, filter, mountpoints: args.mountpoints, output, socket }
    }
}

fn socket_help() -> String {
    format!("The Unix socket on which the same is served, or off [default: {DEFAULT_SOCKET}, if possible]")
}

fn facility(word: &str) -> Result<Facility, String> {
    word.parse().map_err(|()| "use daemon, user, auth, authpriv, cron, syslog, kern, mail, lpr, news, uucp, ftp, ntp, audit, alert, \
                         clock_daemon or local0 to local7"
            .to_owned())
}

/// Is this the command line of a monitoring plugin, even if it is a wrong one? Its reader looks for one line on
/// standard output and takes 2 for a dead mount.
fn is_plugin(arguments: &[OsString]) -> bool {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    has("check") && has("--nagios")
}

fn exit(problem: &str, error: &clap::Error, plugin: bool) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Exit { status: 0, stdout: error.render().to_string(), stderr: String::new() }
        }
        _ if plugin => Exit {
            status: nagios::State::Unknown.exit_status(),
            stdout: format!("{}\n", nagios::unknown(problem)),
            stderr: String::new(),
        },
        _ => Exit {
            status: USAGE_ERROR,
            stdout: String::new(),
            stderr: format!("{PROCESS_NAME}: {}; see --help\n", one_line(problem)),
        },
    }
}

/// What is wrong, in one line: what clap says, unless more is known.
fn problem(error: &clap::Error, arguments: &[OsString]) -> String {
    let kind = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::ArgumentConflict => ContextKind::InvalidSubcommand,
        _ => return plain(error),
    };
    let Some(ContextValue::String(wrong)) = error.get(kind) else { return plain(error) };
    let definition = command();
    let first = arguments.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    match definition.find_subcommand(first) {
        Some(sub) if is_option(&definition, wrong) => {
            format!("'{wrong}' is an option of the daemon, not of {}", sub.get_name())
        }
        // A word after options: clap does not look whether there is such a command, but people mean one.
        None if !wrong.starts_with('-') => match Cli::try_parse_from([PROCESS_NAME, wrong]) {
            Err(alone) if alone.kind() == ErrorKind::InvalidSubcommand => plain(&alone),
            _ => plain(error),
        },
        _ => plain(error),
    }
}

/// Has the command this option, written like this?
fn is_option(command: &clap::Command, word: &str) -> bool {
    command.get_arguments().any(|option| {
        let long = option.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
        long || option.get_short().is_some_and(|short| word.strip_prefix('-') == Some(&short.to_string()))
    })
}

/// clap's message without its layout: what is wrong and what may have been meant.
fn plain(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut parts: Vec<String> = Vec::new();
    for paragraph in text.split("\n\n") {
        let paragraph = paragraph.trim();
        if paragraph.starts_with("Usage:") || paragraph.starts_with("For more information") {
            continue;
        }
        let words: Vec<&str> = paragraph.lines().map(str::trim).filter(is_telling).collect();
        parts.extend((!words.is_empty()).then(|| words.join(" ")));
    }
    let joined = parts.join("; ");
    let mut problem = joined.strip_prefix("error: ").unwrap_or(&joined).replace("; tip: ", "; ");
    if problem.starts_with("the subcommand ") {
        problem.push_str("; write the options after the command");
    }
    problem
}

/// Not that a mistyped option could be the name of a mount point.
fn is_telling(line: &&str) -> bool {
    !line.is_empty() && !line.starts_with("tip: to pass ")
}
