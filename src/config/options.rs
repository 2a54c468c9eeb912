//! The options of the daemon: one table for the command line, the configuration file, the manual pages and
//! `--check-config`.

use super::builder::ConfigBuilder;
use super::values::{duration, facility, listen_address, name_regex, socket_choice};
use super::{DEFAULT_FS_TYPES_EXCLUDE, FSTAB};
use crate::output::http::DEFAULT_SOCKET;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

type SetFlag = fn(&mut ConfigBuilder, bool);
type SetValue = fn(&mut ConfigBuilder, &OsStr) -> Result<(), String>;

/// An option of the daemon. As a key of the file it has underscores, as a flag dashes.
#[derive(Debug)]
pub struct ConfigOption {
    pub key: &'static str,
    /// One letter as an alternative to the long flag.
    pub short: Option<char>,
    /// Where the table has a default value; the other options are unset or false.
    pub default: Option<&'static str>,
    /// For `--help` and the manual pages, without the default value.
    pub help: &'static str,
    /// False if a change takes effect only at the next start.
    pub is_reloadable: bool,
    /// True if the command `check` has this option, too.
    pub is_for_check: bool,
    kind: OptionKind,
}

#[derive(Debug)]
enum OptionKind {
    /// `--key`; in a file `key = true` or `key = false`.
    Flag(SetFlag),
    /// `--key VALUE`; in a file `key = VALUE`.
    Value { name: &'static str, set: SetValue },
    /// `--key` or `--key=VALUE`; in a file `key = true`, `key = false` or `key = VALUE`.
    OptionalValue { name: &'static str, set_flag: SetFlag, set: SetValue },
}

/// The value of an option before it is parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OptionValue {
    Flag(bool),
    Text(OsString),
}

impl ConfigOption {
    /// The long flag, without `--`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// A placeholder for the value, for options that have one.
    #[must_use]
    pub fn value_name(&self) -> Option<&'static str> {
        match self.kind {
            OptionKind::Flag(_) => None,
            OptionKind::Value { name, .. } | OptionKind::OptionalValue { name, .. } => Some(name),
        }
    }

    /// The value may be omitted.
    #[must_use]
    pub fn has_optional_value(&self) -> bool {
        matches!(self.kind, OptionKind::OptionalValue { .. })
    }

    /// The help text with the default value.
    #[must_use]
    pub fn help_with_default(&self) -> String {
        self.default.map_or(self.help.to_owned(), |default| format!("{} [default: {default}]", self.help))
    }

    /// Parses a value and stores it in `builder`.
    pub(super) fn apply(&self, builder: &mut ConfigBuilder, value: &OptionValue) -> Result<(), String> {
        match (&self.kind, value) {
            (OptionKind::Flag(set), OptionValue::Flag(flag)) => set(builder, *flag),
            (OptionKind::OptionalValue { set_flag, .. }, OptionValue::Flag(flag)) => set_flag(builder, *flag),
            (
                OptionKind::Value { set, .. } | OptionKind::OptionalValue { set, .. },
                OptionValue::Text(text),
            ) => return set(builder, text),
            (OptionKind::Flag(_), OptionValue::Text(_)) => return Err("must be true or false".to_owned()),
            (OptionKind::Value { .. }, OptionValue::Flag(_)) => {
                return Err("must be a text or a number, not true or false".to_owned());
            }
        }
        Ok(())
    }

    const fn new(key: &'static str, kind: OptionKind, help: &'static str) -> ConfigOption {
        ConfigOption { key, short: None, default: None, help, is_reloadable: true, is_for_check: false, kind }
    }

    const fn default(self, default: &'static str) -> ConfigOption {
        ConfigOption { default: Some(default), ..self }
    }

    const fn fixed_at_start(self) -> ConfigOption {
        ConfigOption { is_reloadable: false, ..self }
    }

    const fn also_for_check(self) -> ConfigOption {
        ConfigOption { is_for_check: true, ..self }
    }
}

const fn flag(key: &'static str, set: SetFlag, help: &'static str) -> ConfigOption {
    ConfigOption::new(key, OptionKind::Flag(set), help)
}

const fn value(key: &'static str, name: &'static str, set: SetValue, help: &'static str) -> ConfigOption {
    ConfigOption::new(key, OptionKind::Value { name, set }, help)
}

/// Parses `value` into `target`.
fn parse<T>(
    target: &mut T,
    value: &OsStr,
    parser: impl FnOnce(&str) -> Result<T, String>,
) -> Result<(), String> {
    *target = parser(value.to_str().ok_or("is not UTF-8")?)?;
    Ok(())
}

/// [`parse`] for values that may be unset.
fn parse_some<T>(
    target: &mut Option<T>,
    value: &OsStr,
    parser: impl FnOnce(&str) -> Result<T, String>,
) -> Result<(), String> {
    parse(target, value, |text| parser(text).map(Some))
}

fn path(target: &mut Option<PathBuf>, value: &OsStr) -> Result<(), String> {
    if value.is_empty() {
        return Err("must not be empty".to_owned());
    }
    *target = Some(value.into());
    Ok(())
}

/// All options, grouped as in `--help`.
pub const OPTION_GROUPS: &[(&str, &[ConfigOption])] =
    &[("Probing", PROBING), ("Mounts", MOUNTS), ("Messages", MESSAGES), ("HTTP", HTTP), ("Metrics", METRICS)];

/// All options.
pub fn options() -> impl Iterator<Item = &'static ConfigOption> {
    OPTION_GROUPS.iter().flat_map(|(_, options)| *options)
}

const PROBING: &[ConfigOption] = &[
    value(
        "poll_interval",
        "TIME",
        |builder, value| parse(&mut builder.config.settings.poll_interval, value, duration),
        "Time between two probes of a mount, in seconds or with a unit (500ms, 2m, 1h30m)",
    )
    .default("60"),
    value(
        "timeout",
        "TIME",
        |builder, value| parse(&mut builder.config.settings.timeout, value, duration),
        "A mount without a response within this time is hung (seconds, or 500ms, 2m, 1h30m)",
    )
    .default("3")
    .also_for_check(),
    value(
        "slow_after",
        "TIME",
        |builder, value| parse(&mut builder.config.settings.slow_after, value, duration),
        "A mount that needs more than this time to respond is slow (seconds, or 500ms, 2m, 1h30m)",
    )
    .default("1")
    .also_for_check(),
    ConfigOption {
        short: Some('1'),
        ..flag("once_only", |builder, on| builder.config.once_only = on, "Probe every mount once, then exit")
            .fixed_at_start()
    },
];

const MOUNTS: &[ConfigOption] = &[
    value(
        "mount_points_include",
        "REGEX",
        |builder, value| parse_some(&mut builder.config.filter.mount_points_include, value, name_regex),
        "Watch only mount points that match this regular expression",
    )
    .also_for_check(),
    value(
        "mount_points_exclude",
        "REGEX",
        |builder, value| parse_some(&mut builder.config.filter.mount_points_exclude, value, name_regex),
        "Do not watch mount points that match this regular expression",
    )
    .also_for_check(),
    value(
        "fs_types_include",
        "REGEX",
        |builder, value| parse_some(&mut builder.config.filter.fs_types_include, value, name_regex),
        "Watch only file system types that match this regular expression",
    )
    .also_for_check(),
    value(
        "fs_types_exclude",
        "REGEX",
        |builder, value| parse_some(&mut builder.config.filter.fs_types_exclude, value, name_regex),
        "Do not watch file system types that match this regular expression",
    )
    .default(DEFAULT_FS_TYPES_EXCLUDE)
    .also_for_check(),
    ConfigOption::new(
        "expect_fstab",
        OptionKind::OptionalValue {
            name: "FILE",
            set_flag: |builder, on| builder.config.fstab = on.then(|| FSTAB.into()),
            set: |builder, value| path(&mut builder.config.fstab, value),
        },
        "Report mounts of /etc/fstab, or of another FILE in its format, that are missing; entries with noauto, nofail \
         or x-systemd.automount may be missing",
    ),
    value(
        "mount_namespace",
        "FILE",
        |builder, value| path(&mut builder.config.mount_namespace, value),
        "Watch the mounts of this mount namespace: that of a process (/proc/PID/ns/mnt), or one mounted on a file",
    )
    .fixed_at_start()
    .also_for_check(),
];

const MESSAGES: &[ConfigOption] = &[
    value(
        "syslog",
        "TARGET",
        |builder, value| parse(&mut builder.config.report.syslog, value, str::parse),
        "Where to send syslog messages: local, off, unix:PATH, udp://HOST:PORT or tcp://HOST:PORT",
    )
    .default("local"),
    value(
        "syslog_facility",
        "FACILITY",
        |builder, value| parse(&mut builder.config.report.syslog_facility, value, facility),
        "Facility of syslog messages: daemon, user, auth, authpriv, cron, syslog, kern, mail, lpr, news, uucp, ftp, ntp, \
         audit, alert, clock_daemon or local0 to local7",
    )
    .default("daemon"),
    value(
        "log_level",
        "LEVEL",
        |builder, value| parse(&mut builder.config.report.log_level, value, str::parse),
        "Least severe level printed on standard error: error, warning, notice, info or debug",
    )
    .default("info"),
    value(
        "log_format",
        "FORMAT",
        |builder, value| parse(&mut builder.config.report.log_format, value, str::parse),
        "Format of messages on standard error: text or json",
    )
    .default("text"),
    flag(
        "print_bad_mounts",
        |builder, on| builder.config.print_bad_mounts = on,
        "Print dead mount points on standard output after each run, one per line",
    )
    .fixed_at_start(),
];

const HTTP: &[ConfigOption] = &[
    value(
        "listen_address",
        "ADDR",
        |builder, value| parse(&mut builder.config.http.listen, value, listen_address),
        "Serve the status page, metrics and API on this address and port, or off",
    )
    .default("127.0.0.1:9817"),
    value(
        "socket",
        "PATH",
        |builder, value| parse(&mut builder.config.http.socket, value, socket_choice),
        "Serve the same on this Unix socket, or off; without this option it is no error if the default socket cannot be \
         created",
    )
    .default(DEFAULT_SOCKET),
];

const METRICS: &[ConfigOption] = &[
    value(
        "prometheus_push_gateway",
        "URL",
        |builder, value| parse_some(&mut builder.push_gateway, value, str::parse),
        "Push metrics to this gateway (host:port or a URL) after each run and when a mount fails or recovers; with \
         --once-only before the exit",
    ),
    flag(
        "push_delete_on_exit",
        |builder, on| builder.push_delete_on_exit = on,
        "Delete the pushed metrics when the daemon stops",
    ),
    value(
        "push_user_file",
        "FILE",
        |builder, value| path(&mut builder.push_user_file, value),
        "File with USER:PASSWORD for the push gateway, read before each push",
    ),
    value(
        "push_token_file",
        "FILE",
        |builder, value| path(&mut builder.push_token_file, value),
        "File with a bearer token for the push gateway, read before each push",
    ),
    value(
        "push_ca_file",
        "FILE",
        |builder, value| path(&mut builder.push_ca_file, value),
        "PEM file with the certificates to trust for the push gateway, instead of those of the system",
    ),
    value(
        "textfile",
        "PATH",
        |builder, value| path(&mut builder.config.metrics.textfile, value),
        "Write metrics to this file (its name ends in .prom) for node_exporter's textfile collector; it must not be on a \
         watched network or FUSE mount",
    ),
];
