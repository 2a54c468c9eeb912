//! Where the configuration comes from: the files, and the options of the command line. It can be loaded again.

use super::builder::ConfigBuilder;
use super::options::{ConfigOption, OptionValue};
use super::{Config, DEFAULT_CONFIG, files};
use std::path::{Path, PathBuf};

/// The options of a command line, kept for loading the files again.
#[derive(Debug)]
pub struct ConfigSource {
    /// The configuration file from the command line, which must exist. Without it, the default file is read if it exists.
    file: Option<PathBuf>,
    arguments: Vec<(&'static ConfigOption, OptionValue)>,
    /// Relative paths start here. The daemon changes its directory later.
    directory: PathBuf,
}

impl ConfigSource {
    pub fn new(file: Option<PathBuf>, arguments: Vec<(&'static ConfigOption, OptionValue)>) -> ConfigSource {
        let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
        ConfigSource { file, arguments, directory }
    }

    /// The configuration of the daemon, or one line for each mistake.
    pub fn load(&self) -> Result<Config, Vec<String>> {
        let config = self.load_options()?.with_expected_mounts().map_err(|problem| vec![problem])?;
        config.textfile_problem().map_or(Ok(config), |problem| Err(vec![problem]))
    }

    /// The configuration without the expected mounts, for commands that may not need them.
    pub fn load_options(&self) -> Result<Config, Vec<String>> {
        let path = self.directory.join(self.file.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG)));
        let mut builder = ConfigBuilder::new(path.clone(), self.directory.clone());
        // Taken first, so that a change while the files are read is seen as a change.
        builder.config.fingerprints = files::fingerprints(&path);
        builder.read_files(&path, self.file.is_some());
        builder.set_arguments(&self.arguments);
        builder.build()
    }
}
