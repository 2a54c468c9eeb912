//! Command lines and the settings or errors that they result in.

use mount_status_monitor::cli::{Exit, Invocation, command, parse, plugin_timeout};
use mount_status_monitor::config::{CheckConfig, CheckOutput, ClientConfig, Config, DaemonAddress};
use mount_status_monitor::monitor::{FlapSettings, ProbeSettings};
use mount_status_monitor::output::http::SocketChoice;
use mount_status_monitor::output::http_client::Credentials;
use mount_status_monitor::output::{Facility, LogFormat, SyslogTarget};
use mount_status_monitor::render::{PROCESS_NAME, Priority};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

fn parsed(line: &str) -> Result<Invocation, Exit> {
    parse(std::iter::once(PROCESS_NAME).chain(line.split_whitespace()).map(OsString::from))
}

fn daemon(line: &str) -> Config {
    match parsed(line) {
        Ok(Invocation::Daemon(config, _)) => Config::clone(&config),
        other => panic!("{line}: {other:?}"),
    }
}

fn check(line: &str) -> CheckConfig {
    match parsed(line) {
        Ok(Invocation::Check(config)) => config,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn definition_is_consistent() {
    command().debug_assert();
}

#[test]
fn defaults_match_the_contract() {
    let config = daemon("");
    assert_eq!(config.settings, ProbeSettings::default());
    assert_eq!(config.filter.fs_types_exclude.unwrap().as_str(), "^autofs$");
    assert_eq!(config.report.syslog, SyslogTarget::Auto);
    assert_eq!(config.report.syslog_facility as u8, Facility::LOG_DAEMON as u8);
    assert_eq!((config.report.log_level, config.report.log_format), (Priority::Info, LogFormat::Text));
    assert!(!config.once_only && !config.print_bad_mounts);
    assert_eq!(check("check").config.settings, ProbeSettings::default());
}

#[test]
fn metrics_options_set_gateway_and_text_file() {
    assert_eq!(daemon("").metrics, Default::default());
    let metrics = daemon(
        "--prometheus-push-gateway push:9091 --push-delete-on-exit --push-token-file /t --push-ca-file ca.pem \
         --textfile /dev/m.prom", // never on storage that may hang
    )
    .metrics;
    let push = metrics.push.expect("a gateway");
    assert_eq!(push.gateway.to_string(), "http://push:9091/");
    assert!(push.delete_on_exit);
    assert!(matches!(push.access.credentials, Credentials::Token(path) if path.as_os_str() == "/t"));
    let here = std::env::current_dir().unwrap();
    assert_eq!(push.access.ca_file, Some(here.join("ca.pem")));
    assert_eq!(metrics.textfile, Some("/dev/m.prom".into()));
    assert_eq!(daemon("--textfile /dev/m.prom").warnings(), Vec::<String>::new());
    assert!(daemon("--textfile /dev/m.txt").warnings()[0].contains("end in .prom"));
    for (line, problem) in [
        ("--prometheus-push-gateway http://me:secret@h", "--push-user-file"),
        ("--prometheus-push-gateway ftp://h", "http"),
        ("--push-delete-on-exit", "--push-delete-on-exit needs --prometheus-push-gateway"),
        (
            "--prometheus-push-gateway h --push-user-file a --push-token-file b",
            "--push-user-file cannot be used with --push-token-file",
        ),
        ("--prometheus-push-gateway h --push-delete-on-exit -1", "cannot be used with --once-only"),
    ] {
        let stderr = parsed(line).unwrap_err().stderr;
        assert!(stderr.contains(problem) && !stderr.contains("secret"), "{line}: {stderr}");
    }
}

#[test]
fn every_general_option_is_applied() {
    let config = daemon(
        "--poll-interval 30 --timeout 500ms --slow-after=0.25 --flap-changes 9 --flap-window 2m --signs-interval 500ms -1 --print-bad-mounts --syslog tcp://h:601 \
         --syslog-facility local3 --log-level debug --log-format json --mount-points-include ^/a \
         --mount-points-exclude ^/a/b --fs-types-include nfs --fs-types-exclude ^$",
    );
    let millis = Duration::from_millis;
    let settings = ProbeSettings {
        poll_interval: millis(30_000),
        timeout: millis(500),
        slow_after: millis(250),
        flap: FlapSettings { changes: 9, window: millis(120_000) },
        ..ProbeSettings::default()
    };
    assert_eq!(config.settings, settings);
    assert_eq!(
        (config.signs_interval, daemon("--signs-interval 0").signs_interval),
        (millis(500), Duration::ZERO)
    );
    assert!(config.once_only && config.print_bad_mounts && config.warnings().is_empty());
    assert_eq!(config.report.syslog, SyslogTarget::Tcp("h:601".into()));
    assert_eq!(config.report.syslog_facility as u8, Facility::LOG_LOCAL3 as u8);
    assert_eq!((config.report.log_level, config.report.log_format), (Priority::Debug, LogFormat::Json));
    let patterns = [
        config.filter.mount_points_include,
        config.filter.mount_points_exclude,
        config.filter.fs_types_include,
        config.filter.fs_types_exclude,
    ];
    assert_eq!(patterns.map(|regex| regex.unwrap().to_string()), ["^/a", "^/a/b", "nfs", "^$"]);
}

#[test]
fn listen_address_and_socket_are_applied() {
    let config = daemon("");
    assert_eq!(config.http.listen, Some(([127, 0, 0, 1], 9817).into()));
    assert_eq!(config.http.socket, SocketChoice::Default);
    let config = daemon("--listen-address off --socket off");
    assert_eq!((config.http.listen, config.http.socket), (None, SocketChoice::Off));
    assert_eq!(config.http.socket_group, None);
    let config = daemon("--listen-address [::]:80 --socket /run/x --socket-group nagios");
    assert_eq!(config.http.socket_group.as_deref(), Some("nagios"));
    assert_eq!(config.http.listen, Some("[::]:80".parse().unwrap()));
    assert_eq!(config.http.socket, SocketChoice::At("/run/x".into()));
}

#[test]
fn commands_find_the_socket_of_the_daemon() {
    let default = PathBuf::from("/run/mount_status_monitor/socket");
    for (line, json, socket) in [
        ("status", false, default.clone()),
        ("status --json --socket /s", true, "/s".into()),
        ("watch --json", true, default.clone()),
    ] {
        let config = match parsed(line) {
            Ok(Invocation::Status(config)) => config,
            Ok(Invocation::Watch(command)) => command.client,
            _ => panic!("{line}"),
        };
        let listen = (!line.contains("--socket")).then(|| ([127, 0, 0, 1], 9817).into());
        assert_eq!(config, ClientConfig { json, daemon: DaemonAddress { socket, listen } });
    }
    assert_eq!(check("check /a --json").daemon.map(|daemon| daemon.socket), Some(default));
    // The daemon probes with other options, so its results do not answer these.
    for line in
        ["--direct", "--timeout 3", "--slow-after 1", "--fs-types-include nfs", "--fs-types-exclude x"]
    {
        assert_eq!(check(&format!("check {line}")).daemon, None, "{line}");
    }
}

#[test]
fn watch_counts_past_events() {
    for (line, last) in [("watch", None), ("watch --last 20", Some(20)), ("watch --last 0", Some(0))] {
        let Ok(Invocation::Watch(command)) = parsed(line) else { panic!("{line}") };
        assert_eq!(command.last, last);
    }
    for count in ["-1", "x", "5m", "99999999999"] {
        let Err(exit) = parsed(&format!("watch --last={count}")) else { panic!("{count}") };
        assert_eq!((exit.status, exit.stdout.as_str()), (2, ""));
        assert!(exit.stderr.contains("--last: "), "{}", exit.stderr);
    }
}

#[test]
fn mount_namespace_of_check_excludes_the_daemon() {
    assert_eq!(daemon("").mount_namespace, None);
    assert_eq!(daemon("--mount-namespace /proc/1/ns/mnt").mount_namespace, Some("/proc/1/ns/mnt".into()));
    let config = check("check /a --mount-namespace x");
    assert_eq!(config.config.mount_namespace, Some("x".into()));
    assert_eq!(config.daemon, None, "the daemon watches another namespace");
}

#[test]
fn command_lines_of_version_2_are_accepted() {
    for line in
        ["--poll-interval 60", "--once-only", "-1", "--once-only --print-bad-mounts", "--poll-interval=60"]
    {
        daemon(line);
    }
}

#[test]
fn check_has_mount_points_output_and_limits() {
    let config = check("check /a b/c --json --timeout 5 --slow-after 6 --fs-types-include ^nfs");
    assert_eq!(config.mountpoints, [PathBuf::from("/a"), PathBuf::from("b/c")]);
    assert_eq!((config.output, config.config.settings.timeout), (CheckOutput::Json, Duration::from_secs(5)));
    assert_eq!(
        config.config.warnings(),
        ["--slow-after is longer than the timeout, so no mount is ever slow".to_owned()]
    );
    assert_eq!(check("check --nagios").output, CheckOutput::Nagios);
    assert_eq!(check("check").output, CheckOutput::Table);
    let limit =
        |line: &str| plugin_timeout(std::iter::once(PROCESS_NAME).chain(line.split(' ')).map(OsString::from));
    assert_eq!(limit("check --nagios"), Some(Duration::from_secs(10)));
    assert_eq!(limit("check --nagios /a -t 1m"), Some(Duration::from_secs(60)));
    assert_eq!((limit("check /a"), limit("status"), limit("--once-only")), (None, None, None));
    let plugin = check("check --nagios /a -t 1m -w 0.5:2 -c @-1:5");
    let ranges = [plugin.thresholds.warning, plugin.thresholds.critical];
    assert_eq!(ranges.map(|range| range.unwrap().to_string()), ["0.5:2", "@-1:5"]);
}

#[test]
fn each_mistake_is_one_line_that_says_what_to_do() {
    for (line, text) in [
        ("--tiemout 3", "unknown option --tiemout; did you mean --timeout?"),
        ("--no-such", "unknown option --no-such; see --help"),
        ("--timeout 0", "--timeout: must be more than zero"),
        ("--timeout -1", "--timeout: must be more than zero"),
        ("--poll-interval soon", "--poll-interval: write a number of seconds, or 500ms, 30s, 2m, 1h30m, 1d"),
        ("--poll-interval", "--poll-interval <TIME> needs a value"),
        ("--once-only=yes", "--once-only takes no value"),
        ("--fs-types-include (", "--fs-types-include: not a regular expression: unclosed group"),
        ("--log-level loud", "--log-level: use one of error, warning"),
        ("--syslog here", "--syslog: use auto, local, off"),
        ("--listen-address x", "--listen-address: write an address and a port"),
        ("--socket x", "--socket: write a path that begins with /, or off"),
        ("--syslog-facility x", "--syslog-facility: use daemon"),
        ("--explain /a", "--check-config is missing; see --help"),
        ("chek", "unknown command 'chek'; did you mean 'check'?"),
        ("--listen-address off chekc", "unknown command 'chekc'; did you mean 'check'?"),
        ("--once-only xyzzy", "unknown command 'xyzzy'; see --help"),
        ("check --poll-interval 5", "monitor: --poll-interval is an option of the daemon, not of check"),
        ("check -1", "monitor: -1 is an option of the daemon, not of check"),
        ("status --timeout=3", "monitor: --timeout is an option of the daemon, not of status"),
        ("status /a", "unexpected argument '/a'; see --help"),
        ("check --nagios --syslog off", "UNKNOWN - --syslog is an option of the daemon, not of check"),
        ("check --no-such", "monitor: unknown option --no-such; see --help"),
        ("check --json --nagios", "MOUNTS UNKNOWN - --json cannot be used with --nagios"),
        ("check --nagios --timeout x", "MOUNTS UNKNOWN - --timeout: write a number of seconds"),
        (
            "check --nagios -w x",
            "MOUNTS UNKNOWN - --warning: write a range of seconds, such as 2 (alert above 2)",
        ),
        ("check --nagios -t 0", "MOUNTS UNKNOWN - --plugin-timeout: must be more than zero"),
        ("check --wait 5", "monitor: MOUNTPOINT is missing; see --help"),
        ("check --wait soon /a", "monitor: --wait: write a number of seconds"),
        ("check --wait 5 --nagios /a", "UNKNOWN - --wait <TIME> cannot be used with --nagios"),
        ("check -c 5", "monitor: --nagios is missing; see --help"),
        ("--socket-group a:b", "--socket-group: not the name or the id of a group"),
        ("diagnose", "monitor: MOUNTPOINT is missing; see --help"),
        ("completions tcsh", "invalid value 'tcsh' for SHELL: use one of bash, "),
        ("--timeout 3 check", "write the options after the command: '--timeout <TIME>' is before 'check'"),
    ] {
        let exit = parsed(line).unwrap_err();
        let is_plugin = line.contains("--nagios");
        let output = if is_plugin { &exit.stdout } else { &exit.stderr };
        assert!(output.contains(text), "{line}: {exit:?}");
        assert_eq!(output.matches('\n').count(), 1, "{output}");
        assert_eq!(exit.status, if is_plugin { 3 } else { 2 });
        assert!(exit.stdout.is_empty() || exit.stderr.is_empty());
    }
    let latin = OsString::from_vec(b"--timeout=\xe9".to_vec());
    assert!(parse([PROCESS_NAME.into(), latin]).unwrap_err().stderr.ends_with("--timeout: is not UTF-8\n"));
    let control = parse([PROCESS_NAME, "--a\n\x1b[31m"].map(OsString::from)).unwrap_err();
    assert_eq!(control.stderr.matches('\n').count(), 1);
    assert!(!control.stderr.contains('\x1b'), "{control:?}");
}

#[test]
fn every_wrong_value_is_reported() {
    let stderr = parsed("--timeout x --syslog here --push-ca-file c").unwrap_err().stderr;
    assert_eq!(stderr.lines().count(), 3, "{stderr}");
}

#[test]
fn facilities_in_the_help_are_accepted() {
    let help = parsed("--help").unwrap_err().stdout;
    let list = help.split_once("Facility of syslog messages: ").unwrap().1.split_once("local0").unwrap().0;
    let named: Vec<&str> = list.split([',', ' ', '\n']).filter(|word| !matches!(*word, "" | "or")).collect();
    assert_eq!(named.len(), 16, "{named:?}");
    for facility in named.into_iter().chain(["local0", "local7"]) {
        daemon(&format!("--syslog-facility {facility}"));
    }
}

#[test]
fn help_groups_the_options() {
    let help = parsed("--help").unwrap_err().stdout;
    let (mounts, metrics) = help.split_once("\nMounts:\n").unwrap().1.split_once("\nMetrics:\n").unwrap();
    assert!(
        mounts.contains("--fs-types-exclude <REGEX>") && !mounts.contains("--timeout <TIME>"),
        "{mounts}"
    );
    assert!(metrics.contains("--textfile <PATH>") && !metrics.contains("--timeout <TIME>"), "{metrics}");
}

/// Without a terminal, clap breaks lines at 100 columns: text that is broken already would get short lines between.
#[test]
fn help_is_filled() {
    for command in ["check", "watch", "diagnose", "remedy", "drill", "completions"] {
        let help = parsed(&format!("{command} --help")).unwrap_err().stdout;
        let lines: Vec<&str> = help.lines().collect();
        let is_text = |line: &str| !line.is_empty() && !line.starts_with(' ');
        for pair in lines.windows(2) {
            let next_word = pair[1].split(' ').next().unwrap_or_default();
            let fits = pair[0].chars().count() + next_word.chars().count() < 100;
            assert!(!(is_text(pair[0]) && is_text(pair[1]) && fits), "{command}: {pair:?}");
        }
    }
}

#[test]
fn help_and_version_are_printed() {
    for (line, text) in [
        ("--help", "Exit status:"),
        ("-h", "--poll-interval"),
        ("check --help", "UNKNOWN"),
        ("help", "Exit status:"),
        ("help check", "UNKNOWN"),
        ("--version", "mount_status_monitor 3."),
        ("check --version", "mount_status_monitor-check 3."),
    ] {
        let exit = parsed(line).unwrap_err();
        assert!(exit.status == 0 && exit.stderr.is_empty() && exit.stdout.contains(text), "{exit:?}");
    }
}

#[test]
fn last_of_several_values_counts() {
    let config = daemon("--timeout 1 --once-only --timeout 2 --once-only");
    assert_eq!((config.settings.timeout.as_secs(), config.once_only), (2, true));
}
