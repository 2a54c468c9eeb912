//! The command line and the manual pages. The options of the daemon come from the table in `config/options.rs`.

mod definition;
mod help_text;
pub mod manual;
mod manual_text;
mod usage_error;

pub use definition::command;

use crate::config::{
    CheckConfig, CheckOutput, ClientConfig, Config, ConfigOption, ConfigSource, DiagnoseConfig, OptionValue,
    Origin, options,
};
use crate::output::http::DEFAULT_SOCKET;
use crate::render::PROCESS_NAME;
use clap::ArgMatches;
use clap::parser::ValueSource;
use platform::MountSource;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

pub const USAGE_ERROR: u8 = 2;

#[derive(Debug)]
pub enum Invocation {
    /// Run the daemon. The source loads the configuration again.
    Daemon(Arc<Config>, ConfigSource),
    CheckConfig(Arc<Config>, Option<PathBuf>),
    Check(CheckConfig),
    Status(ClientConfig),
    /// Print events. The configuration applies if no daemon is running.
    Watch(ClientConfig, Arc<Config>),
    Diagnose(DiagnoseConfig),
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
        Some(("man", matches)) => {
            let is_program = matches.get_one::<String>("section").is_some_and(|section| section == "8");
            Err(Exit::success(if is_program { manual::program() } else { manual::file() }))
        }
        Some((_, matches)) => Err(Exit::success(completions(matches))),
    }
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
        socket: (!is_special).then(|| socket(matches, &config)),
        config: Arc::new(config),
    }))
}

fn diagnose(matches: &ArgMatches) -> Result<Invocation, Vec<String>> {
    let config = daemon_config(matches)?;
    Ok(Invocation::Diagnose(DiagnoseConfig {
        mountpoint: value(matches, "mountpoint").unwrap_or_default(),
        json: matches.get_flag("json"),
        socket: (!matches.get_flag("direct")).then(|| socket(matches, &config)),
        config: Arc::new(config),
    }))
}

fn watch(matches: &ArgMatches) -> Result<Invocation, Vec<String>> {
    let config = daemon_config(matches)?;
    Ok(Invocation::Watch(client_config(matches, &config), Arc::new(config)))
}

/// Mistakes in the default configuration file do not matter here: the daemon may run with an earlier version of it.
fn status(matches: &ArgMatches) -> Result<Invocation, Vec<String>> {
    let config = match daemon_config(matches) {
        // A socket that is named needs no configuration.
        Err(problems) if matches.contains_id("config") && !matches.contains_id("socket") => {
            return Err(problems);
        }
        config => config.unwrap_or_default(),
    };
    Ok(Invocation::Status(client_config(matches, &config)))
}

fn client_config(matches: &ArgMatches, config: &Config) -> ClientConfig {
    ClientConfig { json: matches.get_flag("json"), socket: socket(matches, config) }
}

/// The configuration of the daemon that a command talks to.
fn daemon_config(matches: &ArgMatches) -> Result<Config, Vec<String>> {
    ConfigSource::new(value(matches, "config"), Vec::new()).load_options()
}

/// The socket of the daemon: that of the command line or that of its configuration.
fn socket(matches: &ArgMatches, config: &Config) -> PathBuf {
    let configured = || config.http.socket.path().map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from);
    value(matches, "socket").unwrap_or_else(configured)
}

fn completions(matches: &ArgMatches) -> String {
    let shell = value(matches, "shell").unwrap_or(clap_complete::Shell::Bash);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), PROCESS_NAME, &mut script);
    String::from_utf8_lossy(&script).into_owned()
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
