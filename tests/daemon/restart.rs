//! What a daemon leaves for the next one: a restart repeats no alarm, keeps since when mounts are dead, and loses no
//! recovery, however the daemon ends.

use super::hooks::{hook, lines as hook_lines};
use crate::QUICK;
use crate::common::fake_server::{Behavior, FakeServer};
use crate::common::{
    CommandOutput, Daemon, Lab, display_path, monitor_command, ms, pause, run_isolated, run_isolated_for,
    utf8, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FAILED: &str = "Mount failed health-check: ";
const MARK: &str = "[perhaps reported before the restart]";

fn socket(lab: &Lab) -> PathBuf {
    let folder = lab.scratch_path("run");
    fs::create_dir_all(&folder).expect("create a directory");
    folder.join("socket")
}

fn state_file(lab: &Lab) -> PathBuf {
    socket(lab).with_file_name("socket.state")
}

/// As `/run` does: only there is it recorded at once what each output has.
fn keep_state_in_memory(lab: &Lab) {
    lab.mount_tmpfs(&lab.scratch_path("run"));
}

fn kill(daemon: Daemon) -> CommandOutput {
    let begun = Instant::now();
    daemon.send_signal(Signal::SIGKILL);
    daemon.wait_for_exit(begun, ms(5000))
}

fn start(lab: &Lab, more: &[&str]) -> Daemon {
    let socket = socket(lab);
    lab.start_daemon(&[QUICK, &["--socket", utf8(&socket)], more].concat())
}

/// Ends the daemon, which may have no time for anything.
fn end(daemon: Daemon, signal: Signal) {
    match signal {
        Signal::SIGKILL => drop(kill(daemon)),
        _ => daemon.stop_with(signal),
    }
}

fn status(lab: &Lab) -> Value {
    let mut command = monitor_command();
    command.args(["status", "--json", "--socket", utf8(&socket(lab))]);
    CommandOutput::run(command, ms(8000)).json()
}

/// The state of each mount and when it began, in seconds since 1970.
fn states(lab: &Lab) -> BTreeMap<String, (String, f64)> {
    let document = status(lab);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let of_mount = |mount: &Value| {
        let since: jiff::Timestamp = text(&mount["since"]).parse().expect("a time");
        (text(&mount["mountpoint"]), (text(&mount["state"]), since.as_microsecond() as f64 / 1e6))
    };
    document["mounts"].as_array().expect("mounts").iter().map(of_mount).collect()
}

/// The state is written without delay, but by another thread.
fn wait_for_state(lab: &Lab, text: &str) {
    wait_until(ms(5000), "the state is written", || {
        fs::read_to_string(state_file(lab)).is_ok_and(|state| state.contains(text))
    });
}

#[test]
fn restart_while_many_mounts_are_dead_repeats_no_alarm_and_keeps_since() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(50);
        let _syslog = lab.read_syslog();
        let daemon = start(lab, &[]);
        lab.set_faults("mute", 0..50);
        for path in &mounts {
            daemon.wait_for_failure(path, "hung", ms(8000));
        }
        let all_dead = Instant::now();
        pause(ms(1000)); // the state is settled
        let mut before = states(lab);
        let mut daemon = daemon;
        for (round, signal) in [Signal::SIGTERM, Signal::SIGKILL].into_iter().enumerate() {
            end(daemon, signal);
            // One recovers meanwhile, another is unmounted.
            let (recovered, gone) = (&mounts[2 * round], &mounts[2 * round + 1]);
            lab.clear_faults(2 * round..2 * round + 1);
            lab.detach(gone);
            daemon = start(lab, &[]);
            daemon.wait_for_line(
                &format!("Known from before the start: {} dead mounts", 50 - 2 * round),
                ms(1),
            );
            daemon.wait_for_recovery(recovered, ms(3000));
            daemon.wait_for_mount_line("Mount disappeared", gone, ms(3000));
            pause(ms(1500));
            daemon.assert_no_line(FAILED);
            daemon.assert_no_line(MARK);
            let after = states(lab);
            before.remove(&display_path(gone));
            before.remove(&display_path(recovered));
            for (path, (state, since)) in &before {
                let (state_now, since_now) = &after[path];
                assert!(
                    state_now == state && (since_now - since).abs() < 0.5,
                    "{path}: {state} {since} {since_now}"
                );
            }
        }
        // It knows how long the others were dead.
        let path = &mounts[49];
        lab.clear_faults(49..50);
        let line = daemon.wait_for_recovery(path, ms(4000)).text;
        let lasted =
            line.rsplit("(after ").next().and_then(|rest| rest.split('s').next()?.parse::<f64>().ok());
        // The line has whole seconds.
        let least = all_dead.elapsed().as_secs_f64() - 2.0;
        assert!(lasted.is_some_and(|seconds| seconds > least), "from before both restarts: {line}");
        let mut command = monitor_command();
        command.args(["watch", "--last", "200", "--socket", utf8(&socket(lab))]);
        let watch = Daemon::spawn(command);
        wait_until(ms(5000), "the deaths before both restarts are in the history", || {
            watch.stdout.count(FAILED) == 50
        });
        daemon.stop();
    });
}

#[test]
fn missing_mount_is_not_reported_again() {
    run_isolated(|lab| {
        let path = lab.mount_point("data");
        let rule = format!("[[rule]]\nmountpoint = \"{}\"\nexpected = true\n", path.display());
        let file = lab.write_file("config.toml", rule);
        let with_config = ["--config", utf8(&file)];
        let daemon = start(lab, &with_config);
        daemon.wait_for_mount_line("Expected mount is missing", &path, ms(4000));
        wait_for_state(lab, "\"is_in_doubt\":false");
        end(daemon, Signal::SIGKILL);
        let daemon = start(lab, &with_config);
        pause(ms(1500));
        daemon.assert_no_line("Expected mount is missing");
        end(daemon, Signal::SIGKILL);
        lab.mount_tmpfs(&path);
        let daemon = start(lab, &with_config);
        let line = daemon.wait_for_mount_line("Expected mount is there", &path, ms(3000)).text;
        assert!(!line.contains(MARK), "{line}");
        daemon.stop();
    });
}

/// The reports of one output about one mount, in order: what happened, and whether it is marked.
type History = Vec<(&'static str, bool)>;

fn history(texts: &[String], path: &Path) -> History {
    let path = path.display().to_string();
    let kind = |text: &String| {
        let kinds = [("Mount failed health-check: ", "failed"), ("Mount recovered: ", "recovered")];
        let (_, kind) = kinds.into_iter().find(|(prefix, _)| text.contains(&format!("{prefix}{path} (")))?;
        Some((kind, text.contains(MARK)))
    };
    texts.iter().filter_map(kind).collect()
}

/// Each change was reported, and twice only with a mark. Returns the number of repeats.
fn check_history(output: &str, history: &History, changes: usize) -> usize {
    let (mut repeats, mut in_a_row, mut seen) = (0, 0, 0);
    let mut last = "recovered";
    for (kind, is_marked) in history {
        if *kind == last {
            repeats += 1;
            in_a_row += 1;
            assert!(in_a_row <= 1, "{output}: {kind} repeated twice: {history:?}");
            assert!(is_marked, "{output}: {kind} without a mark: {history:?}");
        } else {
            (seen, in_a_row) = (seen + 1, 0);
        }
        last = kind;
    }
    assert_eq!(seen, changes, "{output}: {history:?}");
    repeats
}

/// `MSM_TEST_KILLS=100` makes it a hundred.
#[test]
fn kills_in_an_incident_lose_no_alarm_and_repeat_few_with_a_mark() {
    let kills: usize = std::env::var("MSM_TEST_KILLS").map_or(30, |kills| kills.parse().expect("a number"));
    run_isolated_for(Duration::from_secs(560), |lab| {
        keep_state_in_memory(lab);
        let path = lab.mount_fuse("a");
        let syslog = lab.read_syslog();
        let (page, paged) = hook(lab, "page", "");
        let config = format!(
            "timeout = \"500ms\"\npoll_interval = \"250ms\"\n[[hook]]\nname = \"page\"\ncommand = [\"{}\"]\nevents = \
             [\"failed\", \"recovered\"]\n",
            page.display()
        );
        let file = lab.write_file("config.toml", config);
        let socket = socket(lab);
        let arguments = ["--config", utf8(&file), "--socket", utf8(&socket), "--flap-changes", "0"];
        let mut stderr: Vec<String> = Vec::new();
        let mut changes = 0;
        for round in 0..kills {
            let daemon = lab.start_daemon(&arguments);
            let fault = if changes % 2 == 0 { "errno EIO" } else { "ok" };
            lab.set_fault(fault, &path);
            changes += 1;
            // From before the next probe to after the state is settled.
            pause(ms(round as u64 * 37 % 600));
            stderr.extend(kill(daemon).stderr.lines().map(str::to_owned));
        }
        let daemon = lab.start_daemon(&arguments);
        pause(ms(1000));
        stderr.extend(daemon.stderr.all().into_iter().map(|line| line.text));
        daemon.stop();
        let outputs: [(&str, Vec<String>); 3] = [
            ("stderr", stderr),
            ("syslog", syslog.all().into_iter().map(|line| line.text).collect()),
            ("hook", hook_lines(&paged)),
        ];
        for (output, texts) in &outputs {
            let repeats = check_history(output, &history(texts, &path), changes);
            println!("# {output}: {changes} changes, {repeats} repeated with a mark");
            // A line is recorded at once, a hook when it has ended.
            let most = if *output == "hook" { kills / 5 } else { kills / 20 };
            assert!(repeats <= most + 1, "{output}: {repeats} of {changes}");
        }
    });
}

/// The seconds between the time that the daemon tells and the last fault.
fn since_error(lab: &Lab, path: &Path, fault_at: jiff::Timestamp) -> f64 {
    let (state, since) = &states(lab)[&display_path(path)];
    assert_eq!(state, "failed");
    since - fault_at.as_microsecond() as f64 / 1e6
}

/// Until the state has the alarm, only the records say who has it.
#[test]
fn kill_just_after_an_alarm_repeats_it_only_where_it_was_not_delivered() {
    run_isolated(|lab| {
        keep_state_in_memory(lab);
        let path = lab.mount_fuse("a");
        let syslog = lab.read_syslog();
        let (quick, quick_log) = hook(lab, "quick", "");
        let (hung, hung_log) = hook(lab, "hung", "sleep 60");
        let config = format!(
            "[[hook]]\nname = \"quick\"\ncommand = [\"{}\"]\nevents = [\"failed\"]\n[[hook]]\nname = \
             \"hung\"\ncommand = [\"{}\"]\nevents = [\"failed\"]\ntimeout = \"30s\"\n",
            quick.display(),
            hung.display()
        );
        let file = lab.write_file("config.toml", config);
        let daemon = start(lab, &["--config", utf8(&file)]);
        let fault_at = jiff::Timestamp::now();
        lab.set_fault("errno EIO", &path);
        daemon.wait_for_failure(&path, "io_error", ms(3000));
        wait_until(ms(3000), "the hooks run", || {
            hook_lines(&quick_log).len() + hook_lines(&hung_log).len() == 2
        });
        pause(ms(50)); // until the quick one has ended
        kill(daemon);
        pause(ms(3000));
        let daemon = start(lab, &["--config", utf8(&file)]);
        wait_until(ms(5000), "the hung hook gets it again", || hook_lines(&hung_log).len() == 2);
        pause(ms(300));
        assert!(
            hook_lines(&hung_log)[1].contains("\"perhaps_repeated\":true"),
            "{:?}",
            hook_lines(&hung_log)
        );
        daemon.assert_no_line(FAILED);
        let in_syslog = syslog.all().into_iter().filter(|line| line.text.contains(FAILED)).count();
        assert_eq!((in_syslog, hook_lines(&quick_log).len()), (1, 1));
        let error = since_error(lab, &path, fault_at);
        assert!((-0.1..1.5).contains(&error), "{error}");
        kill(daemon);
    });
}

/// Each delivery is recorded by itself, not with those that die with it.
#[test]
fn kill_while_many_mounts_die_repeats_at_most_one_alarm_per_output() {
    const MOUNTS: usize = 50;
    run_isolated_for(Duration::from_secs(200), |lab| {
        keep_state_in_memory(lab);
        let mounts = lab.mount_fuses(MOUNTS);
        let syslog = lab.read_syslog();
        let mut daemon = start(lab, &[]);
        let mut were_cut = 0;
        for _ in 0..5 {
            let earlier = syslog.len();
            lab.set_faults("errno EIO", 0..MOUNTS);
            daemon.wait_for_line(FAILED, ms(3000));
            let first = kill(daemon).stderr;
            daemon = start(lab, &[]);
            pause(ms(1500));
            let second = daemon.stderr.all().into_iter().map(|line| line.text);
            let stderr: Vec<String> = first.lines().map(str::to_owned).chain(second).collect();
            let syslog = syslog.all().into_iter().skip(earlier).map(|line| line.text).collect();
            were_cut += usize::from(first.matches(FAILED).count() < MOUNTS);
            for (output, texts) in [("stderr", stderr), ("syslog", syslog)] {
                let repeats: usize =
                    mounts.iter().map(|path| check_history(output, &deaths(&texts, path), 1)).sum();
                assert!(repeats <= 1, "{output}: {repeats}");
            }
            lab.clear_faults(0..MOUNTS);
            for path in &mounts {
                daemon.wait_for_recovery(path, ms(5000));
            }
            kill(daemon);
            daemon = start(lab, &[]);
        }
        println!("# {were_cut} of 5 kills came before all lines were written");
        daemon.stop();
    });
}

fn deaths(texts: &[String], path: &Path) -> History {
    history(texts, path).into_iter().filter(|(kind, _)| *kind == "failed").collect()
}

#[test]
fn kill_just_after_another_report_does_not_repeat_it_without_a_mark() {
    run_isolated(|lab| {
        keep_state_in_memory(lab);
        let paths: Vec<PathBuf> = (0..5).map(|number| lab.mount_fuse(format!("m{number}"))).collect();
        let more = ["--slow-after", "100ms"];
        let mut daemon = start(lab, &more);
        for path in &paths {
            lab.set_fault("delay 150", path);
            daemon.wait_for_mount_line("Mount is slow", path, ms(3000));
            kill(daemon);
            daemon = start(lab, &more);
            pause(ms(600));
            // It may be killed before the line that has just been written is recorded.
            let lines = daemon.stderr.all();
            let mut repeats = lines.iter().filter(|line| line.text.starts_with("Mount is slow"));
            assert!(repeats.all(|line| line.text.ends_with(MARK)), "{}", daemon.transcript());
        }
        daemon.stop();
    });
}

#[test]
fn alert_and_metrics_keep_since_when_a_mount_is_dead() {
    run_isolated(|lab| {
        keep_state_in_memory(lab);
        let path = lab.mount_fuse("a");
        let alertmanager = FakeServer::start(Behavior::Accept);
        let url = format!("http://{}", alertmanager.address);
        let file = lab.write_file("config.toml", format!("[alertmanager]\nurl = \"{url}\"\n"));
        let textfile = lab.scratch_path("metrics.prom");
        let more = ["--config", utf8(&file), "--textfile", utf8(&textfile)];
        let mut daemon = start(lab, &more);
        lab.set_fault("errno EIO", &path);
        daemon.wait_for_failure(&path, "io_error", ms(3000));
        let starts_at = || {
            let request = alertmanager
                .wait_for_request(ms(5000), "an alert is sent", |request| request.body.contains("startsAt"));
            let alerts: Value = serde_json::from_str(&request.body).expect("JSON");
            alertmanager.take_requests();
            alerts[0]["startsAt"].clone()
        };
        let since = || {
            let metrics = fs::read_to_string(&textfile).unwrap_or_default();
            let wanted = "mountstatus_mount_state_since_timestamp_seconds{";
            let of_mount = format!("mountpoint=\"{}\"", path.display());
            let mut lines = metrics.lines();
            let line = lines.find(|line| line.starts_with(wanted) && line.contains(&of_mount))?;
            line.rsplit(' ').next()?.parse::<f64>().ok()
        };
        let is_dead = || {
            let metrics = fs::read_to_string(&textfile).unwrap_or_default();
            metrics.lines().any(|line| line == "mountstatus_dead_mounts 1" || line == "dead_mountpoints 1")
        };
        wait_until(ms(3000), "the metrics show it", is_dead);
        let (started, dead_since) = (starts_at(), since().expect("a time"));
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            end(daemon, signal);
            fs::remove_file(&textfile).expect("there are metrics");
            alertmanager.take_requests();
            pause(ms(1200));
            daemon = start(lab, &more);
            wait_until(ms(3000), "the metrics show it", is_dead);
            let now = since().expect("a time");
            assert!((now - dead_since).abs() < 0.5, "{signal}: {now} {dead_since}");
            let (first, later): (jiff::Timestamp, jiff::Timestamp) = (
                started.as_str().expect("text").parse().expect("a time"),
                starts_at().as_str().expect("text").parse().expect("a time"),
            );
            let error = (later.as_millisecond() - first.as_millisecond()).abs();
            assert!(error < 500, "{signal}: {later} {first}");
        }
        daemon.stop();
    });
}

#[test]
fn state_that_cannot_be_used_is_ignored_with_one_line() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        lab.set_fault("errno EIO", &path);
        let daemon = start(lab, &[]);
        daemon.wait_for_failure(&path, "io_error", ms(3000));
        daemon.stop();
        let state = state_file(lab);
        let good = fs::read_to_string(&state).expect("a state");
        assert_eq!(state.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let other_version = good.replacen("\"version\":1", "\"version\":2", 1);
        let other_boot = good.replacen("\"boot\":\"", "\"boot\":\"0", 1);
        let cases = [
            (other_version, 0o600, "another version"),
            (other_boot, 0o600, "before the last start of the machine"),
            (good[..good.len() / 2].to_owned(), 0o600, "it is damaged"),
            (String::new(), 0o600, "it is damaged"),
            (" ".repeat((8 << 20) + 1), 0o600, "it is larger than 8192 KiB"),
            (good, 0o666, "others may write it"),
        ];
        for (text, mode, why) in cases {
            fs::write(&state, text).unwrap();
            fs::set_permissions(&state, Permissions::from_mode(mode)).unwrap();
            let daemon = start(lab, &[]);
            let line = daemon.wait_for_line("Nothing is known from before the start: ", ms(1)).text;
            assert!(line.contains(why), "{line}");
            daemon.wait_for_failure(&path, "io_error", ms(3000));
            assert_eq!(daemon.stderr.count("before the start"), 1, "{}", daemon.transcript());
            daemon.stop();
        }
        assert!(fs::read_to_string(&state).unwrap().contains("\"version\":1"), "it was replaced");
    });
}

#[test]
fn state_on_storage_that_hangs_or_of_a_running_daemon_is_left_alone() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        lab.set_fault("errno EIO", &path);
        let first = start(lab, &[]);
        first.wait_for_failure(&path, "io_error", ms(3000));
        let second = start(lab, &[]);
        second.wait_for_line("another daemon uses it", ms(1));
        second.wait_for_failure(&path, "io_error", ms(3000));
        second.stop();
        first.stop();

        let (storage, _) = lab.mount_storage("storage");
        lab.set_fault("mute", &storage);
        let socket = storage.join("socket");
        let daemon = lab.start_daemon(&[QUICK, &["--socket", utf8(&socket)]].concat());
        let line = daemon.wait_for_line("Nothing is kept for the next start: ", ms(1)).text;
        assert!(line.contains("which may hang"), "{line}");
        daemon.stop();
    });
}

#[test]
fn second_instance_without_a_socket_keeps_nothing() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        lab.set_fault("errno EIO", &path);
        for _ in 0..2 {
            let daemon = lab.start_daemon(QUICK);
            daemon.wait_for_failure(&path, "io_error", ms(3000));
            daemon.stop();
        }
        assert!(!state_file(lab).exists());
    });
}
