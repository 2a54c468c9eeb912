//! Merges the layers of the configuration into one validated [`Config`]: defaults, then the files in their order, then
//! the command line. The last layer that sets an option counts.

use super::filter::{Preset, STORAGE_FS_TYPES_EXCLUDE, STORAGE_MOUNT_POINTS_EXCLUDE};
use super::location::Origin;
use super::options::{ConfigOption, OptionValue, options};
use super::values::{name_regex, with_value};
use super::{Config, EffectiveOption};
use crate::output::hooks::HookAction;
use crate::output::http::SocketChoice;
use crate::output::http_client::{Access, Address, ProxyChoice};
use crate::output::push::PushSettings;
use crate::render::escape::{escape_os, one_line};
use std::path::PathBuf;

#[derive(Debug, Default)]
pub(super) struct ConfigBuilder {
    pub(super) config: Config,
    /// Relative paths start here.
    pub(super) directory: PathBuf,
    pub(super) push_gateway: Option<Address>,
    pub(super) push_delete_on_exit: bool,
    pub(super) push_access: Access,
    pub(super) proxy: ProxyChoice,
    pub(super) preset: Preset,
    /// One line for each mistake.
    pub(super) problems: Vec<String>,
}

impl ConfigBuilder {
    /// Starts with the defaults. `file` is the main configuration file.
    pub(super) fn new(file: PathBuf, directory: PathBuf) -> ConfigBuilder {
        let config = Config { file, ..Config::default() };
        let mut builder = ConfigBuilder { config, directory, ..Default::default() };
        for option in options() {
            let mut value = option.value_name.is_none().then(|| "false".to_owned());
            if let Some(default) = option.default {
                let applied = (option.set)(&mut builder, &OptionValue::from(default));
                debug_assert_eq!(applied, Ok(()), "{}", option.key);
                value = Some(default.to_owned());
            }
            builder.config.options.push(EffectiveOption { key: option.key, value, origin: Origin::Default });
        }
        builder
    }

    /// Sets an option, replacing the value of earlier layers. The error text does not name the option.
    pub(super) fn set(
        &mut self,
        option: &ConfigOption,
        value: &OptionValue,
        origin: Origin,
    ) -> Result<(), String> {
        (option.set)(self, value)?;
        let text = match value {
            OptionValue::Flag(flag) => flag.to_string(),
            OptionValue::Text(text) => escape_os(text).into_owned(),
        };
        if let Some(effective) = self.config.options.iter_mut().find(|it| it.key == option.key) {
            (effective.value, effective.origin) = (Some(text), origin);
        }
        Ok(())
    }

    pub(super) fn set_arguments(&mut self, arguments: &[(&ConfigOption, OptionValue)]) {
        for (option, value) in arguments {
            if let Err(text) = self.set(option, value, Origin::CommandLine) {
                let text = match value {
                    OptionValue::Text(value) => with_value(text, &value.to_string_lossy()),
                    OptionValue::Flag(_) => text,
                };
                self.problems.push(one_line(&format!("--{}: {text}", option.flag())).into_owned());
            }
        }
    }

    /// Returns the configuration, or the mistakes of all layers.
    pub(super) fn build(mut self) -> Result<Config, Vec<String>> {
        self.check_push_options();
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        self.push_access.proxy.clone_from(&self.proxy);
        let mut config = self.config;
        if self.preset == Preset::Storage {
            config.exclude_by_default();
        }
        config.set_proxy(&self.proxy);
        config.metrics.push = self.push_gateway.map(|gateway| PushSettings {
            gateway,
            delete_on_exit: self.push_delete_on_exit,
            access: self.push_access,
        });
        if config.origin("slow_after") == &Origin::Default {
            config.settings.slow_after = config.settings.slow_after.min(config.settings.timeout);
        }
        if config.origin("socket") == &Origin::Default {
            config.http.socket = SocketChoice::Default;
        }
        Ok(config)
    }

    fn check_push_options(&mut self) {
        if self.push_delete_on_exit && self.config.once_only {
            let (delete, once) = (self.config.origin("push_delete_on_exit"), self.config.origin("once_only"));
            if matches!(delete, Origin::File(_)) && once == &Origin::CommandLine {
                self.push_delete_on_exit = false; // a single run with the daemon's file leaves its metrics in place
            } else {
                self.report_conflict("push_delete_on_exit", "cannot be used with", "once_only");
            }
        }
        let is_set = |key| self.config.origin(key) != &Origin::Default;
        if is_set("push_user_file") && is_set("push_token_file") {
            self.report_conflict("push_user_file", "cannot be used with", "push_token_file");
        }
        if self.push_gateway.is_some() {
            return;
        }
        if self.push_delete_on_exit {
            self.report_conflict("push_delete_on_exit", "needs", "prometheus_push_gateway");
        }
        for key in ["push_user_file", "push_token_file", "push_ca_file"] {
            if self.config.origin(key) != &Origin::Default {
                self.report_conflict(key, "needs", "prometheus_push_gateway");
            }
        }
    }

    /// Reports `key` at the place where it was set.
    fn report_conflict(&mut self, key: &str, relation: &str, other: &str) {
        self.problems.push(match self.config.origin(key) {
            Origin::File(location) => location.problem(&format!("{key} {relation} {other}")),
            Origin::Default | Origin::CommandLine => {
                format!("--{key} {relation} --{other}").replace('_', "-")
            }
        });
    }
}

impl Config {
    /// What is no storage, unless the options say something else.
    fn exclude_by_default(&mut self) {
        for (key, regex, pattern) in [
            ("fs_types_exclude", &mut self.filter.fs_types_exclude, STORAGE_FS_TYPES_EXCLUDE),
            ("mount_points_exclude", &mut self.filter.mount_points_exclude, STORAGE_MOUNT_POINTS_EXCLUDE),
        ] {
            let option = self.options.iter_mut().find(|option| option.key == key);
            if let Some(option) = option.filter(|option| option.origin == Origin::Default) {
                *regex = name_regex(pattern).ok();
                option.value = Some(pattern.to_owned());
            }
        }
    }

    fn set_proxy(&mut self, proxy: &ProxyChoice) {
        for hook in &mut self.hooks {
            if let HookAction::Post { access, .. } = &mut hook.action {
                access.proxy.clone_from(proxy);
            }
        }
        if let Some(alertmanager) = &mut self.alertmanager {
            alertmanager.access.proxy.clone_from(proxy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Location, testing};

    fn build(values: &[(&str, OptionValue, Origin)]) -> Result<Config, Vec<String>> {
        let mut builder = ConfigBuilder::new("/c".into(), "/here".into());
        for (key, value, origin) in values {
            let option = options().find(|option| option.key == *key).unwrap();
            builder.set(option, value, origin.clone()).unwrap();
        }
        builder.build()
    }

    fn in_file(line: usize) -> Origin {
        Origin::File(Location { file: "/c".into(), line: Some(line) })
    }

    #[test]
    fn last_layer_counts_and_its_origin_is_kept() {
        let config = build(&[
            ("timeout", "5".into(), in_file(1)),
            ("timeout", "0.5".into(), Origin::CommandLine),
            ("once_only", OptionValue::Flag(true), in_file(2)),
        ])
        .unwrap();
        assert_eq!((config.settings.timeout.as_millis(), config.once_only), (500, true));
        assert_eq!(config.settings.slow_after.as_millis(), 500, "the default is at most the timeout");
        assert_eq!(config.origin("timeout"), &Origin::CommandLine);
        assert_eq!(config.origin("once_only"), &in_file(2));
        assert_eq!(config.origin("syslog"), &Origin::Default);
        let lines: Vec<String> = config.options.iter().map(ToString::to_string).collect();
        assert!(
            lines.contains(&"timeout = 0.5".to_owned())
                && lines.contains(&"# textfile is not set".to_owned())
        );
    }

    #[test]
    fn the_preset_is_a_default() {
        let types = |values: &[(&str, OptionValue, Origin)]| {
            let filter = build(values).unwrap().filter;
            let admits = |fstype: &&str| filter.admits(&testing::mount(1, "/m", fstype));
            ["nfs4", "ext4", "fuse.sshfs", "tmpfs", "overlay", "proc", "autofs"]
                .into_iter()
                .filter(admits)
                .collect::<Vec<_>>()
        };
        let preset = ("preset", OptionValue::from("storage"), in_file(1));
        assert_eq!(types(std::slice::from_ref(&preset)), ["nfs4", "ext4", "fuse.sshfs", "tmpfs"]);
        let exclude = ("fs_types_exclude", OptionValue::from("^ext"), in_file(2));
        assert_eq!(types(&[preset, exclude]), ["nfs4", "fuse.sshfs", "tmpfs", "overlay", "proc", "autofs"]);
        assert_eq!(types(&[]).len(), 6);
        let config = build(&[("preset", OptionValue::from("storage"), in_file(1))]).unwrap();
        let admits = |path| config.filter.admits(&testing::mount(1, path, "tmpfs"));
        assert!(admits("/tmp") && admits("/device") && !admits("/dev/shm") && !admits("/proc"));
    }

    #[test]
    fn relative_paths_start_in_the_directory() {
        let config = build(&[
            ("expect_fstab", "fstab".into(), in_file(1)),
            ("textfile", "../m.prom".into(), Origin::CommandLine),
        ])
        .unwrap();
        assert_eq!(config.fstab, Some("/here/fstab".into()));
        assert_eq!(config.metrics.textfile, Some("/m.prom".into()));
    }

    #[test]
    fn conflicts_are_reported_where_the_option_is_set() {
        let gateway = ("prometheus_push_gateway", OptionValue::from("h"), in_file(1));
        let flag = |key, origin| (key, OptionValue::Flag(true), origin);
        let with = |delete, once| {
            build(&[gateway.clone(), flag("push_delete_on_exit", delete), flag("once_only", once)])
        };
        let push = with(in_file(2), Origin::CommandLine).unwrap().metrics.push.unwrap();
        assert!(!push.delete_on_exit, "a single run with the file of the daemon deletes nothing");
        assert_eq!(
            with(in_file(2), in_file(3)).unwrap_err(),
            ["/c:2: push_delete_on_exit cannot be used with once_only"]
        );
        assert_eq!(
            with(Origin::CommandLine, in_file(3)).unwrap_err(),
            ["--push-delete-on-exit cannot be used with --once-only"]
        );
        assert_eq!(
            build(&[("push_ca_file", "x".into(), in_file(4))]).unwrap_err(),
            ["/c:4: push_ca_file needs prometheus_push_gateway"]
        );
    }
}
