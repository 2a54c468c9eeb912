//! Evidence: what is logged and published about a dead mount, and that collecting it delays nothing.

use crate::common::{
    Daemon, Lines, Process, count_threads_stuck_in_fuse, free_address, ms, run_isolated, run_isolated_for,
    slack, suspend, wait_until,
};
use crate::http::{get, mount_json, start_with_http};
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Half of this timeout is enough to collect all evidence, even on a loaded machine.
pub(crate) const PATIENT: &[&str] = &["--timeout", "4", "--poll-interval", "1"];
pub(crate) const PATIENT_HANG: Duration = ms(5500);

/// A process that blocks on a mount until the server ends.
pub(crate) struct Victim(Child);

impl Victim {
    pub(crate) fn of(command: &mut Command) -> Victim {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let victim = Victim(child.expect("the program starts"));
        let process = Process(victim.0.id());
        wait_until(ms(5000), "the program blocks", || count_threads_stuck_in_fuse(&[process]) == 1);
        victim
    }

    pub(crate) fn reader(path: &Path) -> Victim {
        Victim::of(Command::new("cat").arg(path.join("file")))
    }

    /// `name[pid]`, as in log lines.
    fn display_name(&self, name: &str) -> String {
        format!("{name}[{}]", self.0.id())
    }
}

fn wait_for_evidence(
    address: SocketAddr,
    path: &Path,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> Value {
    let mut evidence = Value::Null;
    wait_until(ms(10_000), what, || {
        evidence = mount_json(address, path)["evidence"].clone();
        condition(&evidence)
    });
    evidence
}

#[test]
fn stopped_fuse_server_and_blocked_tasks_are_logged_with_the_failure() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        mount_fusectl();
        let (daemon, address) = start_with_http(lab, PATIENT);
        lab.fuse_server().freeze();
        let victims = [Victim::reader(&path), Victim::of(Command::new("stat").arg(&path))];
        let line = daemon.wait_for_failure(&path, "hung", PATIENT_HANG).text;
        for part in [
            "s; fuse from faultfs; its server faultfs[",
            "] is stopped (T)",
            "2 tasks blocked: cat[",
            &victims[0].display_name("cat"),
            &victims[1].display_name("stat"),
            "FUSE requests pending",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        let evidence =
            wait_for_evidence(address, &path, "complete evidence", |found| !found["fuse_waiting"].is_null());
        assert_eq!(evidence["fuse_server"]["state"], "T", "{evidence}");
        assert_eq!(evidence["fuse_waiting"], 3, "two victims and the probe: {evidence}");
        assert_eq!(evidence["blocked_tasks"]["count"], 2, "{evidence}");
        assert_eq!(evidence["probe"]["wait_channel"], "request_wait_answer", "{evidence}");
        let stack = evidence["probe"]["stack"].as_array().expect("root can read the stack");
        assert!(
            stack.iter().any(|function| function.as_str().is_some_and(|f| f.contains("fuse"))),
            "{stack:?}"
        );
        assert_eq!(evidence["needs_root"], serde_json::json!([]), "{evidence}");

        let metrics = get(address, "/metrics");
        let metrics = metrics.text();
        assert!(metrics.contains("mountstatus_mount_blocked_tasks{"), "{metrics}");
        let page = get(address, "/");
        assert!(page.text().contains("is stopped (T); 2 tasks blocked: cat["), "{}", page.text());

        lab.fuse_server().thaw();
        daemon.wait_for_recovery(&path, ms(5000));
        wait_until(ms(2000), "the evidence is cleared", || mount_json(address, &path)["evidence"].is_null());
        assert!(!get(address, "/metrics").text().contains("mountstatus_mount_blocked_tasks{"));
        daemon.stop();
    });
}

#[test]
fn probes_of_another_daemon_are_no_blocked_tasks() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let (daemon, address) = start_with_http(lab, PATIENT);
        let other = lab.start_daemon(&["--timeout", "60", "--poll-interval", "1"]);
        lab.set_fault("mute", &path);
        let stuck = || count_threads_stuck_in_fuse(&other.process.descendants());
        wait_until(ms(5000), "the other daemon's probe hangs", || stuck() == 1);
        let victim = Victim::reader(&path);
        let line = daemon.wait_for_failure(&path, "hung", PATIENT_HANG).text;
        assert!(line.contains(&format!("1 task blocked: {}", victim.display_name("cat"))), "{line}");
        let evidence = wait_for_evidence(address, &path, "tasks", |found| !found["blocked_tasks"].is_null());
        assert_eq!(evidence["blocked_tasks"]["count"], 1, "{evidence}");
        other.stop();
        daemon.stop();
    });
}

#[test]
fn blocked_tasks_are_assigned_to_their_mount() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let (daemon, address) = start_with_http(lab, PATIENT);
        lab.set_faults("mute", 0..2);
        // The first has its working directory in the mount; the second only opens a path, and while two mounts hang it
        // cannot be assigned to one of them.
        let inside =
            Victim::of(Command::new("sh").args(["-c", "cd \"$0\" && exec cat file"]).arg(&mounts[1]));
        let outside = Victim::reader(&mounts[0]);
        for path in &mounts[..2] {
            daemon.wait_for_failure(path, "hung", PATIENT_HANG);
        }
        let evidence =
            wait_for_evidence(address, &mounts[1], "its task", |found| found["blocked_tasks"]["count"] == 1);
        assert_eq!(evidence["blocked_tasks"]["named"][0]["pid"], inside.0.id(), "{evidence}");
        let evidence =
            wait_for_evidence(address, &mounts[0], "no task", |found| !found["blocked_tasks"].is_null());
        assert_eq!(evidence["blocked_tasks"]["count"], 0, "{evidence}");
        assert_eq!(evidence["blocked_tasks"]["unassigned"], 1, "{evidence}");
        drop(outside);
        daemon.stop();
    });
}

#[test]
fn ended_fuse_server_is_reported_as_gone() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let (daemon, address) = start_with_http(lab, QUICK);
        lab.set_fault("die", &path);
        daemon.wait_for_failure(&path, "disconnected", ms(1000));
        let evidence =
            wait_for_evidence(address, &path, "its server", |found| !found["fuse_server"].is_null());
        let text = evidence["says"][0].as_str().expect("a string").to_owned();
        assert_eq!(text, "its server process is gone");
        daemon.stop();
    });
}

#[test]
fn one_collector_serves_many_mounts_and_ends_after_recovery() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(40);
        let daemon = lab.start_daemon(PATIENT);
        assert_eq!(daemon.collector(), None, "nothing is dead");
        lab.set_faults("mute", 0..40);
        wait_until(ms(5000), "there is a collector", || daemon.collector().is_some());
        daemon.wait_for_line("Checked 40 mounts; 40 are dead", PATIENT_HANG);
        let collectors =
            daemon.process.children().into_iter().filter(|child| child.has_role("collector")).count();
        assert!(collectors <= 1, "{collectors}");
        let lines = daemon.stderr.all();
        let failed: Vec<_> = lines.iter().filter(|line| line.text.starts_with("Mount failed")).collect();
        assert_eq!(failed.len(), 40);
        assert!(failed.iter().all(|line| line.text.contains("its server faultfs[")), "{}", failed[0].text);
        lab.clear_faults(0..40);
        daemon.wait_for_recovery(&mounts[39], ms(5000));
        wait_until(ms(10_000), "the collector has ended", || daemon.collector().is_none());
        daemon.stop();
    });
}

/// Waits for the collector, which runs only while a mount is dead.
fn collector_of(daemon: &Daemon) -> Process {
    let mut collector = None;
    wait_until(ms(5000), "there is a collector", || {
        collector = daemon.collector();
        collector.is_some()
    });
    collector.expect("found above")
}

#[test]
fn stuck_collector_does_not_delay_detection() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let daemon = lab.start_daemon(QUICK);
        lab.set_fault("errno EIO", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "io_error", ms(1500));
        suspend(collector_of(&daemon));
        let start = Instant::now();
        lab.set_fault("mute", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG);
        assert!(start.elapsed() < QUICK_HANG + slack());
        daemon.wait_for_line("did not finish in time; killed", ms(12_000));
        // The next mount gets a new collector.
        lab.set_fault("mute", &mounts[2]);
        daemon.wait_for_failure(&mounts[2], "hung", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn killed_collector_is_logged_and_replaced() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        let daemon = lab.start_daemon(QUICK);
        lab.set_fault("errno EIO", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "io_error", ms(1500));
        collector_of(&daemon).send_signal(Signal::SIGKILL);
        daemon.wait_for_line("exited unexpectedly", ms(2000));
        lab.set_fault("mute", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn evidence_for_an_ordinary_user_lists_what_needs_root() {
    run_isolated_for(Duration::from_secs(120), |lab| {
        let path = lab.mount_fuse("a");
        mount_fusectl();
        let address = free_address();
        let text = address.to_string();
        let mut arguments = vec!["--listen-address", &text];
        arguments.extend(PATIENT);
        let daemon = Daemon::start(lab.daemon_command_as(65_534, &arguments));
        lab.fuse_server().freeze();
        let victim = Victim::reader(&path);
        let line = daemon.wait_for_failure(&path, "hung", PATIENT_HANG).text;
        assert!(!line.contains("tasks blocked") && !line.contains("server process"), "{line}");
        let evidence = wait_for_evidence(address, &path, "what is known", |found| {
            found["needs_root"].as_array().is_some_and(|all| all.len() >= 4)
        });
        let needs = evidence["needs_root"].as_array().expect("a list");
        for what in ["stack", "fuse_waiting", "fuse_server", "blocked_tasks"] {
            assert!(needs.iter().any(|need| need == what), "{what} is not in {evidence}");
        }
        drop(victim);
        lab.fuse_server().thaw();
        daemon.stop();
    });
}

/// Threads to be scanned; `MSM_TEST_TASKS=20000` sets another number.
const TASKS: usize = 3000;

#[test]
fn many_tasks_do_not_delay_detection() {
    run_isolated_for(Duration::from_secs(120), |lab| {
        let wanted = std::env::var("MSM_TEST_TASKS").ok().and_then(|n| n.parse().ok()).unwrap_or(TASKS);
        let path = lab.mount_fuse("a");
        for _ in 0..wanted {
            // The threads end with the process.
            let idle = || loop {
                std::thread::park();
            };
            std::thread::Builder::new().stack_size(16 * 1024).spawn(idle).expect("start a thread");
        }
        lab.fuse_server().freeze();
        let victim = Victim::reader(&path);
        let start = Instant::now();
        let (daemon, address) = start_with_http(lab, &["--timeout", "2", "--poll-interval", "1"]);
        let line = daemon.wait_for_failure(&path, "hung", ms(3500));
        assert!(line.at - start < ms(3500) + slack(), "{:?}", line.at - start);
        let evidence =
            wait_for_evidence(address, &path, "its tasks", |found| !found["blocked_tasks"].is_null());
        let tasks = &evidence["blocked_tasks"];
        // An overloaded machine may not reach the victim in time, but then the scan is not reported as complete.
        assert!(tasks["count"] == 1 || tasks["complete"] == false, "{evidence}");
        drop(victim);
        lab.fuse_server().thaw();
        daemon.stop();
    });
}

/// Reading `cmdline` and some other files of a task requires its mmap lock. Here a task holds it while it waits for the
/// mount, so a reader of these files (such as `ps`) blocks too.
#[test]
fn task_that_holds_its_mmap_lock_does_not_block_the_collector() {
    run_isolated(|lab| {
        if Command::new("perl").arg("-e1").status().is_err() {
            return lab.skip("needs perl");
        }
        let path = lab.mount_fuse("a");
        let (daemon, address) = start_with_http(lab, PATIENT);
        let data = path.join("data");
        let mut reader = PausedOpener::start(&data, 0, "sysread(F, $b, 9)");
        let mmap = if cfg!(target_arch = "x86_64") { 9 } else { 222 };
        let mut mapper =
            PausedOpener::start(&data, 0o4_010_000, &format!("syscall({mmap}, 0, 4096, 1, 2, fileno(F), 0)"));
        lab.set_fault("mute", &path);
        // The reader holds the page lock; the mapper waits for the page while it holds its mmap lock.
        reader.proceed();
        mapper.proceed();
        let mut command = Command::new("cat");
        command.arg(format!("/proc/{}/cmdline", mapper.victim.0.id()));
        assert_eq!(Daemon::spawn(command).exit_code_within(ms(1000)), None, "reading cmdline does not block");

        let line = daemon.wait_for_failure(&path, "hung", PATIENT_HANG).text;
        assert!(line.contains("2 tasks blocked: perl["), "{line}");
        let evidence = wait_for_evidence(address, &path, "both", |found| found["complete"] == true);
        let named = evidence["blocked_tasks"]["named"].as_array().expect("tasks").clone();
        let pids: Vec<_> = named.iter().map(|task| task["pid"].as_u64()).collect();
        for opener in [&reader, &mapper] {
            assert!(pids.contains(&Some(opener.victim.0.id().into())), "{evidence}");
        }
        daemon.assert_no_line("does not finish");
        daemon.stop();
    });
}

/// A process that opens a file, and later runs a given statement on it.
struct PausedOpener {
    victim: Victim,
}

impl PausedOpener {
    fn start(path: &Path, flags: i32, then: &str) -> PausedOpener {
        let script =
            format!("$| = 1; sysopen(F, $ARGV[0], {flags}) or die; print \"open\\n\"; <STDIN>; {then};");
        let child = Command::new("perl")
            .args(["-e", &script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("perl starts");
        let output = Lines::from_reader(child.stdout.take().expect("the stream is piped"));
        output.wait_for(0, "open", ms(5000)).expect("perl opens the file");
        PausedOpener { victim: Victim(child) }
    }

    /// Runs the statement and waits until the process is blocked.
    fn proceed(&mut self) {
        use std::io::Write;
        let stdin = self.victim.0.stdin.as_mut().expect("the stream is piped");
        stdin.write_all(b"\n").expect("send the request");
        let process = Process(self.victim.0.id());
        let waits = || std::fs::read_to_string(format!("/proc/{}/wchan", process.0)).unwrap_or_default();
        let stuck = || process.state() == Some('D') || waits().contains("request_wait_answer");
        wait_until(ms(5000), "the process is blocked", stuck);
    }
}

/// Mounts fusectl, which has the number of waiting requests.
pub(crate) fn mount_fusectl() {
    use nix::mount::{MsFlags, mount};
    let place = "/sys/fs/fuse/connections";
    mount(Some("none"), place, Some("fusectl"), MsFlags::empty(), None::<&str>).expect("fusectl mounts");
}
