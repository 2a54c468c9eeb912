//! The command line as people type it: what it becomes, and what is said when it is wrong.

use mount_status_monitor::cli::{Exit, Invocation, command, parse};
use mount_status_monitor::config::{CheckConfig, CheckOutput, ClientConfig, Config};
use mount_status_monitor::monitor::ProbeSettings;
use mount_status_monitor::output::Facility;
use mount_status_monitor::output::LogFormat;
use mount_status_monitor::output::SyslogTarget;
use mount_status_monitor::output::http::SocketChoice;
use mount_status_monitor::output::http_client::Credentials;
use mount_status_monitor::render::PROCESS_NAME;
use mount_status_monitor::render::Priority;
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
fn clap_finds_no_fault() {
    command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = daemon("");
    assert_eq!(config.settings, ProbeSettings::default());
    assert_eq!(config.filter.fs_types_exclude.unwrap().as_str(), "^autofs$");
    assert_eq!(config.report.syslog, SyslogTarget::Local);
    assert_eq!(config.report.syslog_facility as u8, Facility::LOG_DAEMON as u8);
    assert_eq!((config.report.log_level, config.report.log_format), (Priority::Info, LogFormat::Text));
    assert!(!config.once_only && !config.print_bad_mounts);
    assert_eq!(check("check").config.settings, ProbeSettings::default());
}

#[test]
fn flags_of_metrics() {
    assert!(daemon("").metrics.is_empty());
    let metrics = daemon(
        "--prometheus-push-gateway push:9091 --push-delete-on-exit --push-token-file /t --push-ca-file ca.pem \
         --textfile ../x/./m.prom",
    )
    .metrics;
    let push = metrics.push.expect("it was asked for");
    assert_eq!(push.gateway.to_string(), "http://push:9091/");
    assert!(push.delete_on_exit);
    assert!(matches!(push.access.credentials, Credentials::Token(path) if path.as_os_str() == "/t"));
    let here = std::env::current_dir().unwrap();
    assert_eq!(push.access.ca_file, Some(here.join("ca.pem")));
    assert_eq!(metrics.textfile, Some(here.parent().unwrap().join("x/m.prom")));
    assert_eq!(daemon("--textfile /m.prom").warnings(), Vec::<String>::new());
    assert!(daemon("--textfile /m.txt").warnings()[0].contains("end in .prom"));
    for (line, complaint) in [
        ("--prometheus-push-gateway http://me:secret@h", "--push-user-file"),
        ("--prometheus-push-gateway ftp://h", "http"),
        ("--push-delete-on-exit", "--prometheus-push-gateway"),
        ("--prometheus-push-gateway h --push-user-file a --push-token-file b", "cannot be used with"),
    ] {
        assert!(parsed(line).unwrap_err().stderr.contains(complaint), "{line}");
    }
}

#[test]
fn every_flag() {
    let config = daemon(
        "--poll-interval 30 --timeout 500ms --slow-after=0.25 -1 --print-bad-mounts --syslog tcp://h:601 \
         --syslog-facility local3 --log-level debug --log-format json --mount-points-include ^/a \
         --mount-points-exclude ^/a/b --fs-types-include nfs --fs-types-exclude ^$",
    );
    let millis = Duration::from_millis;
    let settings =
        ProbeSettings { poll_interval: millis(30_000), timeout: millis(500), slow_after: millis(250) };
    assert_eq!(config.settings, settings);
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
fn where_questions_are_answered() {
    let config = daemon("");
    assert_eq!(config.http.listen, Some(([127, 0, 0, 1], 9817).into()));
    assert_eq!(config.http.socket, SocketChoice::Usual);
    let config = daemon("--listen-address off --socket off");
    assert_eq!((config.http.listen, config.http.socket), (None, SocketChoice::Off));
    let config = daemon("--listen-address [::]:80 --socket /run/x");
    assert_eq!(config.http.listen, Some("[::]:80".parse().unwrap()));
    assert_eq!(config.http.socket, SocketChoice::At("/run/x".into()));
}

#[test]
fn asking_a_daemon() {
    let usual = PathBuf::from("/run/mount_status_monitor.sock");
    for (line, json, socket) in [
        ("status", false, usual.clone()),
        ("status --json --socket /s", true, "/s".into()),
        ("watch --json", true, usual.clone()),
    ] {
        let (Ok(Invocation::Status(config)) | Ok(Invocation::Watch(config, _))) = parsed(line) else {
            panic!("{line}")
        };
        assert_eq!(config, ClientConfig { json, socket });
    }
    assert_eq!(check("check /a --json").socket, Some(usual));
    // What was asked for specially is not what a daemon has found out.
    for line in
        ["--direct", "--timeout 3", "--slow-after 1", "--fs-types-include nfs", "--fs-types-exclude x"]
    {
        assert_eq!(check(&format!("check {line}")).socket, None, "{line}");
    }
}

#[test]
fn another_mount_namespace() {
    assert_eq!(daemon("").mount_namespace, None);
    assert_eq!(daemon("--mount-namespace /proc/1/ns/mnt").mount_namespace, Some("/proc/1/ns/mnt".into()));
    let config = check("check /a --mount-namespace x");
    assert_eq!(config.config.mount_namespace, Some("x".into()));
    assert_eq!(config.socket, None, "what a daemon knows is about another one");
}

#[test]
fn the_command_lines_of_2x_keep_working() {
    for line in
        ["--poll-interval 60", "--once-only", "-1", "--once-only --print-bad-mounts", "--poll-interval=60"]
    {
        daemon(line);
    }
}

#[test]
fn checking() {
    let config = check("check /a b/c --json --timeout 5 --slow-after 6 --fs-types-include ^nfs");
    assert_eq!(config.mountpoints, [PathBuf::from("/a"), PathBuf::from("b/c")]);
    assert_eq!((config.output, config.config.settings.timeout), (CheckOutput::Json, Duration::from_secs(5)));
    assert_eq!(
        config.warnings(),
        ["--slow-after is longer than the timeout, so no mount will ever be slow".to_owned()]
    );
    assert_eq!(check("check --nagios").output, CheckOutput::Nagios);
    assert_eq!(check("check").output, CheckOutput::Table);
}

#[test]
fn errors_are_one_line() {
    for (line, text) in [
        (
            "--tiemout 3",
            "unexpected argument '--tiemout' found; a similar argument exists: '--timeout'; see --help",
        ),
        ("--timeout 0", "invalid value '0' for '--timeout <TIME>': it has to be more than zero; see --help"),
        (
            "--timeout -1",
            "invalid value '-1' for '--timeout <TIME>': it has to be more than zero; see --help",
        ),
        (
            "--poll-interval soon",
            "invalid value 'soon' for '--poll-interval <TIME>': write a number of seconds",
        ),
        ("--poll-interval", "a value is required for '--poll-interval <TIME>' but none was supplied"),
        (
            "--fs-types-include (",
            "invalid value '(' for '--fs-types-include <REGEX>': not a regular expression: unclosed",
        ),
        ("--log-level loud", "invalid value 'loud' for '--log-level <LEVEL>': use one of error, warning"),
        ("--syslog here", "invalid value 'here' for '--syslog <TARGET>': use local, off"),
        (
            "--listen-address x",
            "invalid value 'x' for '--listen-address <ADDR>': write an address and a port",
        ),
        ("--socket x", "invalid value 'x' for '--socket <PATH>': write a path that begins with /, or off"),
        ("--syslog-facility x", "invalid value 'x' for '--syslog-facility <FACILITY>': use daemon"),
        ("chek", "unrecognized subcommand 'chek'; a similar subcommand exists: 'check'; see --help"),
        (
            "--listen-address off chekc",
            "unrecognized subcommand 'chekc'; a similar subcommand exists: 'check'; see --help",
        ),
        ("--once-only xyzzy", "unrecognized subcommand 'xyzzy'; see --help"),
        (
            "check --poll-interval 5",
            "monitor: '--poll-interval' is an option of the daemon, not of check; see --help",
        ),
        ("check -1", "monitor: '-1' is an option of the daemon, not of check; see --help"),
        ("status --timeout=3", "monitor: '--timeout' is an option of the daemon, not of status; see --help"),
        ("check --nagios --syslog off", "UNKNOWN - '--syslog' is an option of the daemon, not of check"),
        ("check --no-such", "monitor: unexpected argument '--no-such' found; see --help"),
        ("check --json --nagios", "MOUNTS UNKNOWN - the argument '--json' cannot be used with '--nagios'"),
        ("check --nagios --timeout x", "MOUNTS UNKNOWN - invalid value 'x' for '--timeout <TIME>'"),
        (
            "--timeout 3 check",
            "the subcommand 'check' cannot be used with '--timeout <TIME>'; write the options after",
        ),
    ] {
        let exit = parsed(line).unwrap_err();
        let plugin = line.contains("--nagios");
        let said = if plugin { &exit.stdout } else { &exit.stderr };
        assert!(said.contains(text), "{line}: {exit:?}");
        assert_eq!(said.matches('\n').count(), 1, "{said}");
        assert_eq!(exit.status, if plugin { 3 } else { 2 });
        assert!(exit.stdout.is_empty() || exit.stderr.is_empty());
    }
    let latin = OsString::from_vec(b"--timeout=\xe9".to_vec());
    assert_eq!(parse([PROCESS_NAME.into(), latin]).unwrap_err().stderr.matches('\n').count(), 1);
    let evil = parse([PROCESS_NAME, "--a\n\x1b[31m"].map(OsString::from)).unwrap_err();
    assert_eq!(evil.stderr.matches('\n').count(), 1);
    assert!(!evil.stderr.contains('\x1b'), "{evil:?}");
}

#[test]
fn the_facilities_of_the_help_exist() {
    let help = parsed("--help").unwrap_err().stdout;
    let words = help.split_once("facility of syslog messages: ").unwrap().1.split_once("local0").unwrap().0;
    let named: Vec<&str> = words.split([',', ' ', '\n']).filter(|word| !matches!(*word, "" | "or")).collect();
    assert_eq!(named.len(), 16, "{named:?}");
    for facility in named.into_iter().chain(["local0", "local7"]) {
        daemon(&format!("--syslog-facility {facility}"));
    }
}

#[test]
fn only_options_of_metrics_are_under_their_heading() {
    let help = parsed("--help").unwrap_err().stdout;
    let (general, metrics) = help.split_once("\nMetrics:\n").unwrap();
    assert!(general.contains("--timeout <TIME>") && general.contains("--fs-types-exclude <REGEX>"));
    assert!(metrics.contains("--textfile <PATH>") && !metrics.contains("--timeout <TIME>"), "{metrics}");
}

#[test]
fn help_and_version_are_answers() {
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
fn the_last_of_several_wins() {
    let Ok(Invocation::Daemon(config, _)) = parsed("--timeout 1 --once-only --timeout 2 --once-only") else {
        panic!("a wrapper may have defaults of its own");
    };
    assert_eq!((config.settings.timeout.as_secs(), config.once_only), (2, true));
}
