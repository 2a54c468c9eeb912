//! Files and command line become one configuration. An option in a file is put before the command line as if it had
//! been typed there, so it is defined, checked and overridden in one way.

use super::{AskArgs, Cli, Exit, command, problem, usual_socket};
use crate::config::{
    ClientConfig, Config, DEFAULT_CONFIG, Diagnostic, FileFingerprint, FileOption, Files, OptionValue,
    ShownOption, files,
};
use crate::render::PROCESS_NAME;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, FromArgMatches as _, Parser as _};
use std::error::Error as _;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Options that say something of the files themselves, or of this start alone.
const NOT_IN_FILES: &[&str] = &["config", "check_config", "explain", "help", "version"];

/// A command line, kept to read the files again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigSource {
    arguments: Vec<OsString>,
    /// Relative paths start here; the daemon leaves this directory.
    here: PathBuf,
}

impl ConfigSource {
    pub(super) fn new(arguments: impl IntoIterator<Item = OsString>) -> ConfigSource {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        ConfigSource { arguments: arguments.into_iter().collect(), here }
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// A line for everything that is wrong.
    pub fn reload(&self) -> Result<Config, Vec<String>> {
        let path = Cli::try_parse_from(&self.arguments).ok().and_then(|cli| cli.daemon.config);
        self.load(path.as_deref())
    }

    pub(super) fn command_line(&self) -> Result<Cli, Exit> {
        Cli::try_parse_from(&self.arguments).map_err(|error| problem::of(&error, &self.arguments))
    }

    pub(super) fn exit(&self, problems: &[String]) -> Exit {
        problem::exit(problems, problem::is_plugin(&self.arguments))
    }

    /// Everything together, with this file or the usual one.
    pub(super) fn load(&self, path: Option<&Path>) -> Result<Config, Vec<String>> {
        let (path, stamps, files) = self.files(path)?;
        let config = self.merged(&self.arguments, &path, stamps, files)?;
        config.with_expected().map_err(|problem| vec![problem.to_string()])
    }

    /// For a command: what the daemon would make of the files and its defaults. What has to be there is not read yet:
    /// who asks a daemon has no use for it.
    pub(super) fn load_options(&self, path: Option<&Path>) -> Result<Config, Vec<String>> {
        let (path, stamps, files) = self.files(path)?;
        self.merged(&[PROCESS_NAME.into()], &path, stamps, files)
    }

    /// Whom to ask. Files that cannot be read or understood are no reason not to ask.
    pub(super) fn asking(&self, ask: AskArgs) -> Result<ClientConfig, Exit> {
        let socket = match (ask.socket, self.load_options(ask.config.as_deref())) {
            (Some(socket), _) => socket,
            (None, Ok(config)) => usual_socket(&config),
            (None, Err(problems)) if ask.config.is_some() => return Err(self.exit(&problems)),
            (None, Err(_)) => crate::output::http::DEFAULT_SOCKET.into(),
        };
        Ok(ClientConfig { json: ask.json, socket })
    }

    fn files(&self, named: Option<&Path>) -> Result<(PathBuf, Vec<FileFingerprint>, Files), Vec<String>> {
        let path = self.here.join(named.unwrap_or(Path::new(DEFAULT_CONFIG)));
        let keys: Vec<String> = keys();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let lines =
            |problems: Vec<Diagnostic>| problems.iter().map(Diagnostic::to_string).collect::<Vec<String>>();
        let definition = command();
        let complaint = |option: &FileOption| complaint(&definition, option);
        // Looked at first: what changes while they are read is a change.
        let stamps = files::fingerprints(&path);
        let files = files::read(&path, named.is_some(), &keys, &complaint).map_err(lines)?;
        Ok((path, stamps, files))
    }

    fn merged(
        &self,
        arguments: &[OsString],
        path: &Path,
        stamps: Vec<FileFingerprint>,
        files: Files,
    ) -> Result<Config, Vec<String>> {
        let (program, rest) =
            arguments.split_first().map_or((None, arguments), |(first, rest)| (Some(first), rest));
        let typed = command().try_get_matches_from(arguments).map_err(|error| one(&error, path))?;
        let once = typed.get_flag("once_only");
        let wanted = |option: &&FileOption| !(once && option.key == "push_delete_on_exit"); // nothing stays to be deleted
        let from_files = files.options.iter().filter(wanted).filter_map(argument);
        let all = program.into_iter().cloned().chain(from_files).chain(rest.iter().cloned());
        let matches = command().try_get_matches_from(all).map_err(|error| one(&error, path))?;
        let cli = Cli::from_arg_matches(&matches).map_err(|error| one(&error, path))?;
        let shown = shown(&typed, &matches, &files);
        let config = cli.daemon.with(cli.watch);
        Ok(Config {
            metrics: cli.metrics.settings(&self.here),
            fstab: config.fstab.map(|fstab| self.here.join(fstab)),
            rules: files.rules,
            hooks: files.hooks,
            alertmanager: files.alertmanager,
            file: path.to_path_buf(),
            files: files.paths,
            fingerprints: stamps,
            shown,
            ..config
        })
    }
}

fn one(error: &clap::Error, path: &Path) -> Vec<String> {
    vec![format!("{}: {}", crate::render::escape::escape_os(path), problem::plain(error))]
}

/// The options that may be written in a file, by their keys.
#[must_use]
pub fn keys() -> Vec<String> {
    let definition = command();
    let ids = definition.get_arguments().map(|option| option.get_id().as_str().to_owned());
    ids.filter(|id| !NOT_IN_FILES.contains(&id.as_str())).collect()
}

/// How an option of a file would be typed, if it would be.
fn argument(option: &FileOption) -> Option<OsString> {
    let name = option.key.replace('_', "-");
    match &option.word {
        OptionValue::Text(text) => Some(format!("--{name}={text}").into()),
        OptionValue::Flag(true) => Some(format!("--{name}").into()),
        OptionValue::Flag(false) => None,
    }
}

/// What is wrong with the value of an option, if anything is.
fn complaint(definition: &clap::Command, option: &FileOption) -> Option<String> {
    let defined = definition.get_arguments().find(|arg| arg.get_id() == option.key.as_str())?;
    let takes_value = defined.get_action().takes_values();
    let may_be_bare = !takes_value || defined.get_num_args().is_some_and(|number| number.min_values() == 0);
    match &option.word {
        OptionValue::Text(_) if !takes_value => return Some("has to be true or false".to_owned()),
        OptionValue::Flag(_) if !may_be_bare => {
            return Some("has to be a text or a number, not true or false".to_owned());
        }
        OptionValue::Text(_) | OptionValue::Flag(_) => {}
    }
    let error = Cli::try_parse_from([PROCESS_NAME.into(), argument(option)?]).err()?;
    match error.kind() {
        // That another option has to go with it is seen when all are together.
        ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict => None,
        ErrorKind::ValueValidation => error.source().map(ToString::to_string),
        _ => Some(problem::plain(&error)),
    }
}

/// Every option with its value and who set it.
fn shown(typed: &ArgMatches, all: &ArgMatches, files: &Files) -> Vec<ShownOption> {
    let definition = command();
    let keys = keys();
    let options =
        keys.iter().filter_map(|key| definition.get_arguments().find(|arg| arg.get_id() == key.as_str()));
    options
        .map(|option| {
            let key = option.get_id().as_str();
            let said = |matches: &ArgMatches| matches.value_source(key) == Some(ValueSource::CommandLine);
            let place = files.options.iter().rev().find(|option| option.key == key);
            let origin = match place {
                _ if said(typed) => "command line".to_owned(),
                Some(option) => option.place.to_string(),
                None => "default".to_owned(),
            };
            ShownOption { key: key.to_owned(), value: value(option, all), origin }
        })
        .collect()
}

fn value(option: &Arg, matches: &ArgMatches) -> Option<String> {
    let key = option.get_id().as_str();
    if !option.get_action().takes_values() {
        return Some(matches.get_flag(key).to_string());
    }
    let last = matches.get_raw(key).and_then(Iterator::last);
    let value = last.map(|value| crate::render::escape::escape_os(value).into_owned());
    value.or_else(|| default_in_help(option))
}

/// A default that depends on others stands in the help alone.
fn default_in_help(option: &Arg) -> Option<String> {
    let help = option.get_help()?.to_string();
    let (_, rest) = help.split_once("[default: ")?;
    Some(rest.split_once(']')?.0.to_owned())
}
