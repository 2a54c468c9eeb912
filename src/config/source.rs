//! Where the configuration comes from: the files, and the options of the command line. It can be loaded again.

use super::builder::ConfigBuilder;
use super::options::{ConfigOption, OptionValue};
use super::problems::{text_or_report, unreadable};
use super::{Config, DEFAULT_CONFIG};
use crate::children::files::{FileFingerprint, FileSession, FileWorker};
use crate::output::hooks::{HookAction, MAX_HOOKS};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Reading the files may take this long in all: servers that take longer are dead.
pub(super) const LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the configuration files of this process.
static FILES: FileWorker = FileWorker::new();
/// Looking at the program of a hook may take this long.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(2);
/// Look at the programs of hooks, each of which may be on other storage.
static PROGRAMS: [FileWorker; MAX_HOOKS] = [const { FileWorker::new() }; MAX_HOOKS];

/// The options of a command line, kept for loading the files again.
#[derive(Debug)]
pub struct ConfigSource {
    /// The configuration file from the command line, which must exist. Without it, the default file is read if it exists.
    file: Option<PathBuf>,
    arguments: Vec<(&'static ConfigOption, OptionValue)>,
    /// Relative paths start here. The daemon changes its directory later.
    directory: PathBuf,
}

/// Why there is no configuration.
pub(super) struct LoadError {
    /// One line for each mistake.
    pub(super) problems: Vec<String>,
    /// The file whose storage did not answer.
    pub(super) silent_file: Option<PathBuf>,
}

impl ConfigSource {
    pub fn new(file: Option<PathBuf>, arguments: Vec<(&'static ConfigOption, OptionValue)>) -> ConfigSource {
        let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
        ConfigSource { file, arguments, directory }
    }

    /// The main file, which may not exist.
    fn path(&self) -> PathBuf {
        self.directory.join(self.file.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG)))
    }

    /// The configuration of the daemon, or one line for each mistake.
    pub fn load(&self) -> Result<Config, Vec<String>> {
        self.try_load().map_err(|error| error.problems)
    }

    pub(super) fn try_load(&self) -> Result<Config, LoadError> {
        let mut session = self.begin().map_err(|error| self.unreadable(&error))?;
        let mut config = self.load_files(&mut session, true)?;
        config.read_fstab(&mut session)?;
        config.read_web_config(&mut session)?;
        drop(session);
        config.follow_links();
        config.check_programs()?;
        config.textfile_problem().map_or(Ok(config), |problem| Err(vec![problem].into()))
    }

    /// The configuration without the expected mounts, for commands that may not need them.
    pub fn load_options(&self) -> Result<Config, Vec<String>> {
        let mut session = self.begin().map_err(|error| self.unreadable(&error).problems)?;
        self.load_files(&mut session, false).map_err(|error| error.problems)
    }

    pub(super) fn begin(&self) -> io::Result<FileSession<'static>> {
        FILES.begin(LOAD_TIMEOUT)
    }

    /// `TimedOut` while an earlier read of the files still waits.
    pub(super) fn check_storage(&self) -> io::Result<()> {
        FILES.check()
    }

    /// The fingerprints of the files and of these others.
    pub(super) fn fingerprints(&self, others: &[PathBuf]) -> Result<Vec<FileFingerprint>, LoadError> {
        let mut session = self.begin().map_err(|error| self.unreadable(&error))?;
        let mut all = session.fingerprints(&self.path()).map_err(|error| self.unreadable(&error))?;
        for path in others {
            all.push(session.fingerprint(path).map_err(|error| LoadError::unreadable(path, &error))?);
        }
        Ok(all)
    }

    /// `checked` refuses files that other users could replace.
    fn load_files(&self, session: &mut FileSession<'_>, checked: bool) -> Result<Config, LoadError> {
        let path = self.path();
        let is_required = self.file.is_some();
        let files =
            session.read_config(&path, is_required, checked).map_err(|error| self.unreadable(&error))?;
        let mut builder = ConfigBuilder::new(path.clone(), self.directory.clone());
        builder.read_files(&path, files);
        builder.set_arguments(&self.arguments);
        let mut config = builder.build()?;
        config.end_rules(SystemTime::now());
        Ok(config)
    }

    fn unreadable(&self, error: &io::Error) -> LoadError {
        LoadError::unreadable(&self.path(), error)
    }
}

impl LoadError {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> LoadError {
        let silent_file = (error.kind() == ErrorKind::TimedOut).then(|| path.to_owned());
        LoadError { problems: vec![unreadable(path, error)], silent_file }
    }

    /// Whether it would be reported twice.
    pub(super) fn is_like(&self, other: &LoadError) -> bool {
        (self.silent_file.is_some() && other.silent_file.is_some()) || self.problems == other.problems
    }
}

impl From<Vec<String>> for LoadError {
    fn from(problems: Vec<String>) -> LoadError {
        LoadError { problems, silent_file: None }
    }
}

impl Config {
    /// Refuses programs of hooks that other users could replace. A hook whose program is on storage that does not answer is
    /// off until its program can be looked at.
    fn check_programs(&mut self) -> Result<(), LoadError> {
        let mut problems = Vec::new();
        for (hook, worker) in std::mem::take(&mut self.hooks).into_iter().zip(&PROGRAMS) {
            let HookAction::Command(arguments) = &hook.action else {
                self.hooks.push(hook);
                continue;
            };
            let program: Vec<PathBuf> = arguments.first().map(PathBuf::from).into_iter().collect();
            match worker.begin(PROGRAM_TIMEOUT).and_then(|mut session| session.check_programs(&program)) {
                Ok(items) => {
                    for item in items {
                        text_or_report(item, &mut problems, &mut self.file_warnings);
                    }
                    self.hooks.push(hook);
                }
                Err(error) => {
                    let text = format!("Hook {} is off: its program cannot be looked at: {error}", hook.name);
                    self.file_warnings.push(text);
                    self.has_unchecked_hooks = true;
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.into()) }
    }
}
