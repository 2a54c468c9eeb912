//! The command line: every flag is defined here and nowhere else. It becomes a [`Config`] or a [`CheckConfig`], or an
//! [`Exit`] with what is to be printed before the end.

mod load;
pub mod manual;
mod manual_text;
mod metrics;
mod problem;

pub use load::{ConfigSource, keys};
use manual::Page;

use crate::config::{
    CheckConfig, CheckOutput, ClientConfig, Config, DEFAULT_CONFIG, DiagnoseConfig, FSTAB, Filter, Rules,
    duration, listen_address, name_regex, socket_choice,
};
use crate::monitor::ProbeSettings;
use crate::output::Facility;
use crate::output::LogFormat;
use crate::output::ReportSettings;
use crate::output::SyslogTarget;
use crate::output::exporters::MetricsSettings;
use crate::output::hooks::HookSettings;
use crate::output::http::DEFAULT_SOCKET;
use crate::output::http::HttpSettings;
use crate::output::http::SocketChoice;
use crate::render::PROCESS_NAME;
use crate::render::Priority;
use clap::{Args, Parser, Subcommand};
use regex::bytes::Regex;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
  mount_status_monitor diagnose /srv/data   why it is dead, who waits for it, what can be done
  mount_status_monitor --mount-namespace /proc/1/ns/mnt   from a container: the mounts of the host

Exit status:
  0  stopped by a signal; or with --once-only: no mount is dead
  1  with --once-only: some mounts are dead
  2  wrong usage or configuration, or it could not start
     with --once-only also: some mounts could not be judged
  3  the namespace of --mount-namespace has ended";

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

const DIAGNOSE_HELP: &str = "\
Asks the running daemon, which has seen more; without one, or for a mount that it does not watch, it looks by itself,
in processes that may hang in its place. Run it as root: others may not see all.

Exit status:
  0  the mount answers
  1  it is dead
  2  wrong usage, it is no mount point, or nothing can be said of it";

const WATCH_HELP: &str = "\
Asks the running daemon; without one it watches by itself, with the daemon's usual settings.

Exit status:
  0  stopped by a signal
  2  wrong usage, or it could not watch";

/// What the command line asks for.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it
pub enum Invocation {
    /// Be the daemon; how its configuration is read again.
    Daemon(Arc<Config>, ConfigSource),
    /// Show what would be in force, in general or for one mount point.
    CheckConfig(Arc<Config>, Option<PathBuf>),
    /// One run, shown.
    Check(CheckConfig),
    /// What the daemon knows.
    Status(ClientConfig),
    /// Events as they happen; how to watch if there is no daemon.
    Watch(ClientConfig, Arc<Config>),
    /// Everything about one mount.
    Diagnose(DiagnoseConfig),
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

/// Reads a command line, its first element the program's name, and the files that it goes with.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Exit> {
    let loader = ConfigSource::new(arguments);
    let Cli { command, daemon, .. } = loader.command_line()?;
    let Some(command) = command else {
        let config = loader.load(daemon.config.as_deref());
        return match (daemon.check_config, config) {
            (false, Ok(config)) => Ok(Invocation::Daemon(Arc::new(config), loader)),
            (true, Ok(config)) => Ok(Invocation::CheckConfig(Arc::new(config), daemon.explain)),
            (_, Err(problems)) => Err(loader.exit(&problems)),
        };
    };
    match command {
        Command::Man { section } => {
            let page = if section == "5" { Page::File } else { Page::Program };
            Err(printed(manual::page(page)))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut self::command(), PROCESS_NAME, &mut script);
            Err(printed(String::from_utf8_lossy(&script).into_owned()))
        }
        Command::Check(check) => {
            let config = loader.load_options(check.config.as_deref()).map_err(|them| loader.exit(&them))?;
            Ok(Invocation::Check(check.with(config)))
        }
        Command::Status(ask) => Ok(Invocation::Status(loader.asking(ask)?)),
        Command::Diagnose(it) => {
            let config = loader.load_options(it.config.as_deref()).map_err(|them| loader.exit(&them))?;
            let socket = (!it.direct).then(|| it.socket.unwrap_or_else(|| usual_socket(&config)));
            let (mountpoint, json) = (it.mountpoint, it.json);
            Ok(Invocation::Diagnose(DiagnoseConfig { mountpoint, json, socket, config: Arc::new(config) }))
        }
        Command::Watch(ask) => {
            let config = loader.load_options(ask.config.as_deref()).map_err(|them| loader.exit(&them))?;
            Ok(Invocation::Watch(loader.asking(ask)?, Arc::new(config)))
        }
    }
}

fn printed(stdout: String) -> Exit {
    Exit { status: 0, stdout, stderr: String::new() }
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
#[allow(clippy::large_enum_variant)] // there is one of it
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
    /// Tell why a mount is dead, who waits for it, and what can be done; it never touches the mount itself
    #[command(after_long_help = DIAGNOSE_HELP)]
    Diagnose(DiagnoseArgs),
    /// Print the manual as roff: mount_status_monitor(8), or mount_status_monitor.toml(5)
    Man {
        /// The section: 8 the program, 5 the configuration file
        #[arg(value_name = "SECTION", default_value = "8", value_parser = ["8", "5"])]
        section: String,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
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
    /// No file system types that match this regular expression [default: ^autofs$]
    #[arg(long, value_name = "REGEX", value_parser = name_regex)]
    fs_types_exclude: Option<Regex>,
    /// Watch the mounts of this mount namespace: that of a process (/proc/PID/ns/mnt) or one mounted on a file
    #[arg(long, value_name = "FILE")]
    mount_namespace: Option<PathBuf>,
}

impl WatchArgs {
    /// Is nothing special wanted, so that what a daemon has found out is an answer?
    fn are_usual(&self) -> bool {
        let patterns = [
            &self.mount_points_include,
            &self.mount_points_exclude,
            &self.fs_types_include,
            &self.fs_types_exclude,
        ];
        self.timeout.is_none()
            && self.slow_after.is_none()
            && patterns.iter().all(|pattern| pattern.is_none())
            && self.mount_namespace.is_none()
    }

    /// What is said here goes before what is said there.
    fn over(self, settings: ProbeSettings, filter: Filter) -> (ProbeSettings, Filter) {
        let timeout = self.timeout.unwrap_or(settings.timeout);
        let slow_after = self.slow_after.unwrap_or(settings.slow_after.min(timeout));
        let filter = Filter {
            mount_points_include: self.mount_points_include.or(filter.mount_points_include),
            mount_points_exclude: self.mount_points_exclude.or(filter.mount_points_exclude),
            fs_types_include: self.fs_types_include.or(filter.fs_types_include),
            fs_types_exclude: self.fs_types_exclude.or(filter.fs_types_exclude),
        };
        (ProbeSettings { timeout, slow_after, ..settings }, filter)
    }
}

#[derive(Args)]
struct DaemonArgs {
    #[arg(long, value_name = "FILE", help = config_help())]
    config: Option<PathBuf>,
    /// Show which configuration would be in force, for the mounts of this moment too, and exit
    #[arg(long)]
    check_config: bool,
    /// With --check-config: show which rule is for the mount at this mount point, which values, and why
    #[arg(long, value_name = "MOUNTPOINT", requires = "check_config")]
    explain: Option<PathBuf>,
    /// Tell when a mount of /etc/fstab is missing (those without noauto, nofail and x-systemd.automount), or of
    /// another FILE of this kind
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = FSTAB)]
    expect_fstab: Option<PathBuf>,
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
    fn with(self, mut watch: WatchArgs) -> Config {
        let mount_namespace = watch.mount_namespace.take();
        let settings = ProbeSettings { poll_interval: self.poll_interval, ..ProbeSettings::default() };
        let (settings, filter) = watch.over(settings, Filter::usual());
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
            rules: Rules::default(),
            fstab: self.expect_fstab,
            expected: Vec::new(),
            file: PathBuf::new(),
            files: Vec::new(),
            fingerprints: Vec::new(),
            shown: Vec::new(),
            hooks: HookSettings::default(),
            alertmanager: None,
            http: HttpSettings {
                listen: self.listen_address.0,
                socket: self.socket.unwrap_or(SocketChoice::Usual),
            },
            mount_namespace,
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
    /// The socket of the daemon [default: that of its configuration]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = daemons_config_help())]
    config: Option<PathBuf>,
    #[command(flatten)]
    watch: WatchArgs,
}

#[derive(Args)]
struct DiagnoseArgs {
    /// The mount point
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Look into it without the daemon, even if one is running
    #[arg(long)]
    direct: bool,
    /// The socket of the daemon [default: that of its configuration]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration file of the daemon [default: /etc/mount_status_monitor/config.toml if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// For commands that ask the daemon.
#[derive(Args)]
struct AskArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The socket of the daemon [default: that of its configuration]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = daemons_config_help())]
    config: Option<PathBuf>,
}

/// clap takes a bare `Option` for an option that may be left out.
#[derive(Clone)]
struct Listen(Option<SocketAddr>);

impl Listen {
    fn parse(text: &str) -> Result<Listen, String> {
        listen_address(text).map(Listen)
    }
}

impl CheckArgs {
    fn with(mut self, config: Config) -> CheckConfig {
        let may_ask = !self.direct && self.watch.are_usual();
        let socket = may_ask.then(|| self.socket.unwrap_or_else(|| usual_socket(&config)));
        let mount_namespace = self.watch.mount_namespace.take().or_else(|| config.mount_namespace.clone());
        let (timeout, slow_after) = (self.watch.timeout, self.watch.slow_after);
        let (settings, filter) = self.watch.over(config.settings, config.filter.clone());
        let output = match (self.json, self.nagios) {
            (true, _) => CheckOutput::Json,
            (false, true) => CheckOutput::Nagios,
            (false, false) => CheckOutput::Table,
        };
        let config = Config { settings, filter, mount_namespace, ..config };
        CheckConfig {
            config: Arc::new(config),
            timeout,
            slow_after,
            mountpoints: self.mountpoints,
            output,
            socket,
        }
    }
}

fn config_help() -> String {
    format!(
        "Read this file, and the conf.d/*.toml beside it [default: {DEFAULT_CONFIG} if there is one]; it is read \
         again on SIGHUP and when it changes"
    )
}

fn daemons_config_help() -> String {
    format!("The configuration file of the daemon [default: {DEFAULT_CONFIG} if there is one]")
}

fn socket_help() -> String {
    format!("The Unix socket on which the same is served, or off [default: {DEFAULT_SOCKET}, if possible]")
}

/// Where the daemon with this configuration is asked.
fn usual_socket(config: &Config) -> PathBuf {
    config.http.socket.path().map_or_else(|| DEFAULT_SOCKET.into(), Path::to_path_buf)
}

fn facility(word: &str) -> Result<Facility, String> {
    word.parse().map_err(|()| "use daemon, user, auth, authpriv, cron, syslog, kern, mail, lpr, news, uucp, ftp, ntp, audit, alert, \
                         clock_daemon or local0 to local7"
            .to_owned())
}
