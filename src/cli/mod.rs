//! The command line and the manual pages. The options of the daemon come from the table in `config/options.rs`.

mod completion;
mod definition;
mod help_text;
pub mod manual;
mod manual_text;
mod usage_error;

pub use completion::{BashAnswer, BashWord, CompletionRequest};
pub use definition::command;

use crate::config::{
    CheckConfig, CheckOutput, ClientConfig, Config, ConfigOption, ConfigSource, DaemonAddress,
    DiagnoseConfig, DrillConfig, OptionValue, Origin, RemedyConfig, RemedyTask, WatchConfig, options,
};
use crate::output::http::DEFAULT_SOCKET;
use crate::render::nagios::Thresholds;
use clap::ArgMatches;
use clap::parser::ValueSource;
use platform::MountSource;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub const USAGE_ERROR: u8 = 2;
/// That of the Monitoring Plugins guidelines.
const DEFAULT_PLUGIN_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub enum Invocation {
    /// Run the daemon. The source loads the configuration again.
    Daemon(Arc<Config>, ConfigSource),
    CheckConfig(Arc<Config>, Option<PathBuf>),
    Check(CheckConfig),
    Status(ClientConfig),
    Watch(WatchConfig),
    Diagnose(DiagnoseConfig),
    Remedy(RemedyConfig),
    Drill(DrillConfig),
    /// List the mount points for the completion of a shell.
    MountPoints(CompletionRequest),
}

/// Text to print before the program exits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    pub status: u8,
    /// Help, the version, or the line of a monitoring plugin.
    pub stdout: String,
    /// One line for each mistake.
    pub stderr: String,
}

impl Exit {
    fn success(stdout: String) -> Exit {
        Exit { status: 0, stdout, stderr: String::new() }
    }
}

/// Parses a command line, which includes the program name, and loads the configuration files. Text to print is an error
/// too.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let fail = |problems: Vec<String>| usage_error::exit(&problems, &arguments);
    let matches = command()
        .try_get_matches_from(&arguments)
        .map_err(|error| usage_error::exit_for(&error, &arguments))?;
    match matches.subcommand() {
        None => daemon(&matches).map_err(fail),
        Some(("check", matches)) => check(matches).map_err(fail),
        Some(("status", matches)) => status(matches).map_err(fail),
        Some(("watch", matches)) => watch(matches).map_err(fail),
        Some(("diagnose", matches)) => diagnose(matches).map_err(fail),
        Some(("remedy", matches)) => remedy(matches).map_err(fail),
        Some(("drill", matches)) => drill(matches).map_err(fail),
        Some(("man", matches)) => {
            let is_program = matches.get_one::<String>("section").is_some_and(|section| section == "8");
            Err(Exit::success(if is_program { manual::program() } else { manual::file() }))
        }
        Some((completion::COMMAND, matches)) => Ok(mount_points(matches)),
        Some((_, matches)) => Err(Exit::success(completions(matches))),
    }
}

/// The time limit of a monitoring plugin. It includes the time in which the configuration is read.
pub fn plugin_timeout(arguments: impl IntoIterator<Item = OsString>) -> Option<Duration> {
    let matches = command().try_get_matches_from(arguments).ok()?;
    let (_, check) =
        matches.subcommand().filter(|(name, matches)| *name == "check" && matches.get_flag("nagios"))?;
    Some(value(check, "plugin_timeout").unwrap_or(DEFAULT_PLUGIN_TIMEOUT))
}

fn daemon(matches: &ArgMatches) -> Result<Invocation, Vec<String>> {
    let source = ConfigSource::new(value(matches, "config"), option_values(matches, options()));
    let mut config = source.load()?;
    let mount_source = value::<String>(matches, "mount_source");
    if let Some(source) = MountSource::ALL.into_iter().find(|it| Some(it.name()) == mount_source.as_deref()) {
        config.mount_source = source;
    }
    let config = Arc::new(config);
    if matches.get_flag("check_config") {
        return Ok(Invocation::CheckConfig(config, value(matches, "explain")));
    }
    Ok(Invocation::Daemon(config, source))
}

fn check(matches: &ArgMatches) -> Result<Invocation, Vec<String>> {
    let arguments = option_values(matches, options().filter(|option| option.is_for_check));
    let is_special = matches.get_flag("direct") || !arguments.is_empty();
    let mut config = ConfigSource::new(value(matches, "config"), arguments).load_options()?;
    if config.origin("slow_after") != &Origin::CommandLine {
        config.settings.slow_after = config.settings.slow_after.min(config.settings.timeout);
    }
    let output = match (matches.get_flag("json"), matches.get_flag("nagios")) {
        (true, _) => CheckOutput::Json,
        (false, true) => CheckOutput::Nagios,
        (false, false) => CheckOutput::Table,
    };
    let mountpoints = matches.get_many("mountpoint").map(|paths| paths.cloned().collect());
    Ok(Invocation::Check(CheckConfig {
        mountpoints: mountpoints.unwrap_or_default(),
        output,
        daemon: (!is_special).then(|| daemon_address(matches, &config)),
        wait: value(matches, "wait"),
        in_image: matches.get_flag("in_image"),
        thresholds: Thresholds { warning: value(matches, "warning"), critical: value(matches, "critical") },
        config: Arc::new(config),
    }))
}

fn diagnose(matches: &ArgMatches) -> Result<Invocation, Vec<String>> {
    let config = daemon_config(matches)?;
    Ok(Invocation::Diagnose(DiagnoseConfig {
        mountpoint: value(matches, "mountpoint").unwrap_or_default(),
        json: matches.get_flag("json"),
        daemon: (!matches.get_flag("direct")).then(|| daemon_address(matches, &config)),
        config: Arc::new(config),
    }))
}

fn remedy(matches: &ArgMatches) -> Result<Invocation, Vec<String>> {
    let config = daemon_config(matches)?;
    let allow = matches.get_many("allow").map(|words| words.copied().collect());
    Ok(Invocation::Remedy(RemedyConfig {
        mountpoint: value(matches, "mountpoint").unwrap_or_default(),
        task: match (matches.get_flag("act"), matches.get_flag("reset")) {
            (true, _) => RemedyTask::Act,
            (_, true) => RemedyTask::Reset,
            _ => RemedyTask::Plan,
        },
        steps: matches.get_many("steps").map(|words| words.copied().collect()),
        allow: allow.unwrap_or_default(),
        json: matches.get_flag("json"),
        daemon: daemon_address(matches, &config),
        config: Arc::new(config),
    }))
}

fn watch(matches: &ArgMatches) -> Result<Invocation, Vec<String>> {
    let config = daemon_config(matches)?;
    Ok(Invocation::Watch(WatchConfig {
        client: client_config(matches, &config),
        last: value(matches, "last"),
        config: Arc::new(config),
    }))
}

fn status(matches: &ArgMatches) -> Result<Invocation, Vec<String>> {
    Ok(Invocation::Status(client(matches)?))
}

fn drill(matches: &ArgMatches) -> Result<Invocation, Vec<String>> {
    Ok(Invocation::Drill(DrillConfig { client: client(matches)?, mountpoint: value(matches, "mountpoint") }))
}

/// Mistakes in the default configuration file do not matter here: the daemon may run with an earlier version of it.
fn client(matches: &ArgMatches) -> Result<ClientConfig, Vec<String>> {
    let config = match daemon_config(matches) {
        // A socket that is named needs no configuration.
        Err(problems) if matches.contains_id("config") && !matches.contains_id("socket") => {
            return Err(problems);
        }
        config => config.unwrap_or_default(),
    };
    Ok(client_config(matches, &config))
}

fn client_config(matches: &ArgMatches, config: &Config) -> ClientConfig {
    ClientConfig { json: matches.get_flag("json"), daemon: daemon_address(matches, config) }
}

/// The configuration of the daemon that a command talks to.
fn daemon_config(matches: &ArgMatches) -> Result<Config, Vec<String>> {
    ConfigSource::new(value(matches, "config"), Vec::new()).load_options()
}

/// The socket of the daemon is that of the command line or that of its configuration. The daemon of a socket on the
/// command line may have another configuration than the default one.
fn daemon_address(matches: &ArgMatches, config: &Config) -> DaemonAddress {
    let named: Option<PathBuf> = value(matches, "socket");
    let has_config = named.is_none() || value::<PathBuf>(matches, "config").is_some();
    let configured = || config.http.socket.path().map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from);
    DaemonAddress {
        socket: named.unwrap_or_else(configured),
        // It speaks TLS or asks for a password then, which the socket does not.
        listen: config.http.listen.filter(|_| has_config && config.http.web_config_file.is_none()),
    }
}

fn completions(matches: &ArgMatches) -> String {
    completion::script(*matches.get_one("shell").expect("it is required"))
}

fn mount_points(matches: &ArgMatches) -> Invocation {
    let text = |id| value(matches, id).unwrap_or_default();
    Invocation::MountPoints(match value::<String>(matches, "shell").as_deref() {
        Some("bash") => CompletionRequest::Bash(BashWord { replaced: text("replaced"), line: text("line") }),
        Some("fish") => CompletionRequest::Fish,
        _ => CompletionRequest::Zsh { is_quoted: !text("replaced").is_empty() },
    })
}

/// The options of the table that are set on the command line, unparsed.
fn option_values(
    matches: &ArgMatches,
    options: impl Iterator<Item = &'static ConfigOption>,
) -> Vec<(&'static ConfigOption, OptionValue)> {
    let is_set = |option: &&ConfigOption| matches.value_source(option.key) == Some(ValueSource::CommandLine);
    let with_value = |option: &'static ConfigOption| {
        let text = option.value_name.and_then(|_| value::<OsString>(matches, option.key));
        (option, text.map_or(OptionValue::Flag(true), OptionValue::Text))
    };
    options.filter(is_set).map(with_value).collect()
}

fn value<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
    matches.get_one(id).cloned()
}
