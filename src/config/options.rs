//! The options of the daemon: one table for the command line, the files, the manual pages and `--check-config`.

use super::builder::ConfigBuilder;
use super::filter::DEFAULT_FS_TYPES_EXCLUDE;
use super::fstab::FSTAB;
use super::resolve;
use super::values::{
    FACILITY_HELP, auto_or_off, duration, duration_or_off, facility, flap_changes, group, host_names,
    listen_address, name_regex, socket_choice,
};
use crate::output::http::DEFAULT_SOCKET;
use crate::output::http_client::Credentials;
use crate::output::push::parse_gateway;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Parses and stores a value. The error text does not name the option.
type SetOption = fn(&mut ConfigBuilder, &OptionValue) -> Result<(), String>;

/// An option of the daemon. Its key in files has underscores where the flag has dashes.
#[derive(Debug)]
pub struct ConfigOption {
    pub key: &'static str,
    pub short: Option<char>,
    /// A placeholder for the value. Options without a value are true or false.
    pub value_name: Option<&'static str>,
    /// The value may be omitted on the command line; in a file it may be true or false.
    pub has_optional_value: bool,
    pub default: Option<&'static str>,
    /// For `--help` and the manual pages, without the default value.
    pub help: &'static str,
    /// False if a change takes effect only at the next start.
    pub is_reloadable: bool,
    pub is_for_check: bool,
    pub(super) set: SetOption,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OptionValue {
    Flag(bool),
    Text(OsString),
}

impl ConfigOption {
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    pub fn help_with_default(&self) -> String {
        self.default.map_or(self.help.to_owned(), |default| format!("{} [default: {default}]", self.help))
    }

    const fn help(self, help: &'static str) -> ConfigOption {
        ConfigOption { help, ..self }
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

const fn flag(key: &'static str, set: SetOption) -> ConfigOption {
    ConfigOption {
        key,
        short: None,
        value_name: None,
        has_optional_value: false,
        default: None,
        help: "",
        is_reloadable: true,
        is_for_check: false,
        set,
    }
}

const fn value(key: &'static str, name: &'static str, set: SetOption) -> ConfigOption {
    ConfigOption { value_name: Some(name), ..flag(key, set) }
}

impl OptionValue {
    fn store<T>(&self, target: &mut T, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<(), String> {
        *target = parse(self.text()?.to_str().ok_or("is not UTF-8")?)?;
        Ok(())
    }

    /// Relative paths start from `directory`.
    fn store_path<T>(
        &self,
        directory: &Path,
        target: &mut T,
        make: impl FnOnce(PathBuf) -> T,
    ) -> Result<(), String> {
        let path = self.text()?;
        if path.is_empty() {
            return Err("must not be empty".to_owned());
        }
        *target = make(directory.join(path));
        Ok(())
    }

    fn store_flag(&self, target: &mut bool) -> Result<(), String> {
        let OptionValue::Flag(flag) = self else { return Err("must be true or false".to_owned()) };
        *target = *flag;
        Ok(())
    }

    fn text(&self) -> Result<&OsStr, String> {
        match self {
            OptionValue::Text(text) => Ok(text),
            OptionValue::Flag(_) => Err("must be a text or a number, not true or false".to_owned()),
        }
    }
}

impl From<&str> for OptionValue {
    fn from(text: &str) -> OptionValue {
        OptionValue::Text(text.into())
    }
}

/// All options, grouped as in `--help`.
pub(crate) const OPTION_GROUPS: &[(&str, &[ConfigOption])] =
    &[("Probing", PROBING), ("Mounts", MOUNTS), ("Messages", MESSAGES), ("HTTP", HTTP), ("Metrics", METRICS)];

pub fn options() -> impl Iterator<Item = &'static ConfigOption> {
    OPTION_GROUPS.iter().flat_map(|(_, options)| *options)
}

const PROBING: &[ConfigOption] = &[
    value("poll_interval", "TIME", |it, value| value.store(&mut it.config.settings.poll_interval, duration))
        .help("Time between two probes of a mount, in seconds or with a unit (500ms, 2m, 1h30m)")
        .default("60"),
    value("timeout", "TIME", |it, value| value.store(&mut it.config.settings.timeout, duration))
        .help("A mount without a response within this time is hung (seconds, or 500ms, 2m, 1h30m)")
        .default("3")
        .also_for_check(),
    value("slow_after", "TIME", |it, value| value.store(&mut it.config.settings.slow_after, duration))
        .help("A mount that needs more than this time to respond is slow (seconds, or 500ms, 2m, 1h30m)")
        .default("1")
        .also_for_check(),
    value("flap_changes", "NUMBER", |it, value| {
        value.store(&mut it.config.settings.flap.changes, flap_changes)
    })
    .help(
        "A mount that dies, recovers or becomes slow so often within flap_window is flapping: its changes are not \
         reported until it is steady (0 = report each)",
    )
    .default("6"),
    value("flap_window", "TIME", |it, value| value.store(&mut it.config.settings.flap.window, duration))
        .help("The time in which flap_changes are counted; without a change for half of it, a mount is steady")
        .default("5m"),
    value("signs_interval", "TIME", |it, value| {
        value.store(&mut it.config.signs_interval, duration_or_off)
    })
    .help(
        "Time between two looks at what the kernel shows of requests that wait for NFS and FUSE servers; a mount for \
         which tasks seem to wait is probed at once (0 = off)",
    )
    .default("2"),
    ConfigOption {
        short: Some('1'),
        ..flag("once_only", |it, value| value.store_flag(&mut it.config.once_only))
            .help("Probe every mount once, then exit")
            .fixed_at_start()
    },
    value("run_from_memory", "WHEN", |it, value| value.store(&mut it.config.run_from_memory, auto_or_off))
        .help(
            "Copy the program and its libraries to memory at the start, so that their storage may hang: auto (if the \
             system permits it) or off",
        )
        .default("auto")
        .fixed_at_start(),
];

const MOUNTS: &[ConfigOption] = &[
    value("preset", "NAME", |it, value| value.store(&mut it.preset, str::parse))
        .help(
            "Defaults of fs_types_exclude and mount_points_exclude: all (but autofs), or storage, which leaves out \
             pseudo file systems, overlay, images, and what is mounted below /dev, /proc and /sys",
        )
        .default("all")
        .also_for_check(),
    value("mount_points_include", "REGEX", |it, value| {
        value.store(&mut it.config.filter.mount_points_include, |text| name_regex(text).map(Some))
    })
    .help("Watch only mount points that match this regular expression")
    .also_for_check(),
    value("mount_points_exclude", "REGEX", |it, value| {
        value.store(&mut it.config.filter.mount_points_exclude, |text| name_regex(text).map(Some))
    })
    .help("Do not watch mount points that match this regular expression")
    .also_for_check(),
    value("fs_types_include", "REGEX", |it, value| {
        value.store(&mut it.config.filter.fs_types_include, |text| name_regex(text).map(Some))
    })
    .help("Watch only file system types that match this regular expression")
    .also_for_check(),
    value("fs_types_exclude", "REGEX", |it, value| {
        value.store(&mut it.config.filter.fs_types_exclude, |text| name_regex(text).map(Some))
    })
    .help("Do not watch file system types that match this regular expression")
    .default(DEFAULT_FS_TYPES_EXCLUDE)
    .also_for_check(),
    ConfigOption {
        has_optional_value: true,
        ..value("expect_fstab", "FILE", |it, value| {
            if let OptionValue::Flag(on) = value {
                it.config.fstab = on.then(|| FSTAB.into());
                return Ok(());
            }
            value.store_path(&it.directory, &mut it.config.fstab, Some)
        })
        .help(
            "Report mounts of /etc/fstab, or of another FILE in its format, that are missing; entries with \
             noauto, nofail or x-systemd.automount may be missing",
        )
    },
    value("mount_namespace", "FILE", |it, value| {
        value.store_path(Path::new(""), &mut it.config.mount_namespace, Some)
    })
    .help("Watch the mounts of this mount namespace: that of a process (/proc/PID/ns/mnt), or one mounted on a file")
    .fixed_at_start()
    .also_for_check(),
];

const MESSAGES: &[ConfigOption] = &[
    value("syslog", "TARGET", |it, value| value.store(&mut it.config.report.syslog, str::parse))
        .help(
            "Where to send syslog messages: auto (local, unless standard error goes to the journal), local, off, \
             unix:PATH, udp://HOST:PORT or tcp://HOST:PORT",
        )
        .default("auto"),
    value("syslog_level", "LEVEL", |it, value| value.store(&mut it.config.report.syslog_level, str::parse))
        .help("Least severe level sent to syslog: error, warning, notice, info or debug")
        .default("info"),
    value("syslog_facility", "FACILITY", |it, value| {
        value.store(&mut it.config.report.syslog_facility, facility)
    })
    .help(FACILITY_HELP)
    .default("daemon"),
    value("log_level", "LEVEL", |it, value| value.store(&mut it.config.report.log_level, str::parse))
        .help("Least severe level printed on standard error: error, warning, notice, info or debug")
        .default("info"),
    value("log_format", "FORMAT", |it, value| value.store(&mut it.config.report.log_format, str::parse))
        .help("Format of messages on standard error: text or json")
        .default("text"),
    value("report_runs", "WHEN", |it, value| value.store(&mut it.config.report.report_runs, str::parse))
        .help(
            "Which runs have a line \"Checked ...\": always, changed (when the numbers changed, and once an hour) or \
             off",
        )
        .default("always"),
    value("syslog_report_runs", "WHEN", |it, value| {
        value.store(&mut it.config.report.syslog_report_runs, |text| text.parse().map(Some))
    })
    .help("The same for syslog, if it differs"),
    flag("print_bad_mounts", |it, value| value.store_flag(&mut it.config.print_bad_mounts))
        .help("Print dead mount points on standard output after each run, one per line")
        .fixed_at_start(),
];

const HTTP: &[ConfigOption] = &[
    value("listen_address", "ADDR", |it, value| value.store(&mut it.config.http.listen, listen_address))
        .help("Serve the status page, metrics and API on this address and port, or off")
        .default("127.0.0.1:9817"),
    value("allowed_hosts", "NAMES", |it, value| {
        value.store(&mut it.config.http.allowed_hosts, host_names)
    })
    .help(
        "Names that HTTP clients may use for this machine in their Host header, separated by commas, besides \
         addresses, localhost and the host name; * allows every name",
    ),
    value("socket", "PATH", |it, value| value.store(&mut it.config.http.socket, socket_choice))
        .help(
            "Serve the same on this Unix socket, or off; without this option it is no error if the default \
             socket cannot be created",
        )
        .default(DEFAULT_SOCKET),
    value("socket_group", "GROUP", |it, value| {
        value.store(&mut it.config.http.socket_group, |text| group(text).map(Some))
    })
    .help("Members of this group (a name or an id) may use the socket too, for example those of a monitoring plugin"),
    value("web_config_file", "FILE", |it, value| {
        value.store_path(&it.directory, &mut it.config.http.web_config_file, Some)
    })
    .help(
        "TLS and passwords for the listen address, but not for the socket: a web configuration file as that of \
         Prometheus and its exporters (the keys tls_server_config and basic_auth_users); read again when it changes",
    ),
];

const METRICS: &[ConfigOption] = &[
    value("prometheus_push_gateway", "URL", |it, value| {
        value.store(&mut it.push_gateway, |text| parse_gateway(text).map(Some))
    })
    .help(
        "Push metrics to this gateway (host:port or a URL) after each run and when a mount fails or \
         recovers; with --once-only before the exit",
    ),
    flag("push_delete_on_exit", |it, value| value.store_flag(&mut it.push_delete_on_exit))
        .help("Delete the pushed metrics when the daemon stops"),
    value("push_user_file", "FILE", |it, value| {
        value.store_path(&it.directory, &mut it.push_access.credentials, Credentials::User)
    })
    .help("File with USER:PASSWORD for the push gateway, read before each push"),
    value("push_token_file", "FILE", |it, value| {
        value.store_path(&it.directory, &mut it.push_access.credentials, Credentials::Token)
    })
    .help("File with a bearer token for the push gateway, read before each push"),
    value("push_ca_file", "FILE", |it, value| {
        value.store_path(&it.directory, &mut it.push_access.ca_file, Some)
    })
    .help("PEM file with the certificates to trust for the push gateway, instead of those of the system"),
    value("proxy", "URL", |it, value| value.store(&mut it.proxy, str::parse))
        .help(
            "Reach the push gateway, Alertmanager and the URLs of hooks through this proxy: a URL, environment \
             (http_proxy and so on), or off",
        )
        .default("off"),
    value("textfile", "PATH", |it, value| {
        let clean = |path: PathBuf| Some(resolve(Path::new("/"), &path));
        value.store_path(&it.directory, &mut it.config.metrics.textfile, clean)
    })
    .help(
        "Write metrics to this file (its name ends in .prom) for node_exporter's textfile collector; it \
         must not be on a watched network or FUSE mount",
    ),
];
