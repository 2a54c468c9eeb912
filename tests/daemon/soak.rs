//! Two hostile users with thousands of mounts, deep paths, hung and lying servers, who mount and unmount all the time.
//! Each death of a mount of the system is reported at every output on time, no mount is accused by another's doing, and
//! the daemon stays small.
//!
//! `MSM_SOAK_SECONDS`, `MSM_SOAK_MOUNTS` and `MSM_SOAK_PATH` (the length of paths) make it longer and larger.

use crate::common::fake_server::{Behavior, FakeServer, Request};
use crate::common::{Daemon, Lab, Lines, Process, display_path, free_address, is_release_build, ms};
use crate::common::{pause, run_isolated_for, slack, utf8};
use crate::http::get;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const USERS: [u32; 2] = [1001, 1002];
const BYSTANDER: u32 = 1003;
const DEATHS: usize = 5;
const OUTPUTS: usize = 7;
/// Of each user, served by a server that reads requests: silent, failing and slow ones.
const SERVED: usize = 150;
const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(1);
/// Promised for a release build.
const MAX_LOOP_CPU: f64 = 0.20;
const MAX_PSS_KIB: u64 = 64 << 10;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn hostile_users_delay_nothing_and_the_daemon_stays_small() {
    let seconds = setting("MSM_SOAK_SECONDS", 30) as u64;
    let mounts = setting("MSM_SOAK_MOUNTS", if is_release_build() { 10_000 } else { 2_000 });
    run_isolated_for(Duration::from_secs(180 + seconds), |lab| {
        let attack = Attack::prepare(lab, mounts);
        let outputs = Outputs::start(lab);
        let churn = Churn::start(lab);
        pause(ms(2000));
        let before = Usage::of(outputs.daemon.process);
        let begun = Instant::now();
        let mut slowest: [(Duration, &str); OUTPUTS] = Default::default();
        let sampler = Sampler::start(outputs.daemon.process);
        for n in 0..DEATHS {
            let path = lab.mount_point(format!("system-{n}"));
            outputs.kill(lab, &path, &mut slowest);
            while begun.elapsed() < Duration::from_secs(seconds) * (n as u32 + 1) / DEATHS as u32 {
                attack.flap(lab);
                outputs.forget_requests();
                pause(ms(400));
            }
        }
        let usage = Usage::of(outputs.daemon.process);
        let took = begun.elapsed().as_secs_f64();
        let [of_loop, of_all] =
            [usage.of_loop - before.of_loop, usage.of_all - before.of_all].map(|cpu| cpu / took);
        let (cycles, pss) = (churn.stop(), sampler.stop());
        let mut report = format!("{mounts} mounts, {cycles} more mounted and unmounted in {took:.0} s; ");
        write!(report, "CPU of the loop {:.1} %, of the process {:.1} %; ", of_loop * 100.0, of_all * 100.0)
            .unwrap();
        write!(report, "PSS of all processes {} KiB; slowest reports: {slowest:?}", pss).unwrap();
        println!("{report}");
        let accused = |line: &String| line.contains("bystander") && !line.contains("appeared");
        let accusations: Vec<String> =
            outputs.daemon.stderr.all().into_iter().map(|line| line.text).filter(accused).collect();
        assert_eq!(accusations, Vec::<String>::new());
        if is_release_build() {
            assert!(of_loop < MAX_LOOP_CPU && pss < MAX_PSS_KIB, "{report}");
        }
        outputs.daemon.stop();
        drop(attack);
    });
}

/// The mounts of the hostile users.
struct Attack {
    /// Of mounts whose first request is never read.
    _devices: Vec<File>,
}

impl Attack {
    fn prepare(lab: &mut Lab, mounts: usize) -> Attack {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raise the limit");
        let connections = "/sys/fs/fuse/connections";
        let _ = mount(Some("none"), connections, Some("fusectl"), MsFlags::empty(), None::<&str>);
        for n in 0..DEATHS {
            lab.mount_fuse_with(format!("system-{n}"), "owner=0 allow_other");
            lab.mount_fuse_with(format!("bystander-{n}"), &format!("owner={BYSTANDER}"));
        }
        let mut devices = Vec::new();
        for user in USERS {
            let served = format!("{user}/served");
            lab.set_fault(
                &format!("mount owner={user} allow_other"),
                &lab.mount_point(format!("{served}/0..{SERVED}")),
            );
            let part = |range: &str| lab.mount_point(format!("{served}/{range}"));
            let [silent, failing, lying] = [part("0..50"), part("50..80"), part("80..100")];
            lab.set_fault("mute", &silent);
            lab.set_fault("errno EIO", &failing);
            lab.set_fault("errno EACCES", &lying);
            let deep = deep_directory(&lab.mount_point(user.to_string()));
            let count = (mounts / USERS.len()).saturating_sub(SERVED);
            devices.extend((0..count).map(|n| mount_silent(&deep.join(n.to_string()), user)));
        }
        Attack { _devices: devices }
    }

    /// Some servers are slow now, and quick later.
    fn flap(&self, lab: &mut Lab) {
        static TURN: AtomicUsize = AtomicUsize::new(0);
        let fault = if TURN.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { "delay 1300" } else { "ok" };
        for user in USERS {
            lab.set_fault(fault, &lab.mount_point(format!("{user}/served/100..{SERVED}")));
        }
    }
}

/// A directory whose path has nearly the maximum length.
fn deep_directory(from: &Path) -> PathBuf {
    let mut path = from.to_owned();
    while path.as_os_str().len() < setting("MSM_SOAK_PATH", 3800) {
        path.push("d".repeat(200));
    }
    fs::create_dir_all(&path).expect("create directories");
    path
}

/// A mount whose server never reads a request; it ends with the file.
fn mount_silent(path: &Path, user: u32) -> File {
    fs::create_dir_all(path).expect("create a directory");
    let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
    let options =
        format!("fd={},rootmode=40000,user_id={user},group_id={user},allow_other", device.as_raw_fd());
    mount(Some("x"), path, Some("fuse"), MsFlags::empty(), Some(options.as_str())).expect("mount");
    device
}

/// Each user mounts and unmounts all the time.
struct Churn {
    is_over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<usize>>,
}

impl Churn {
    fn start(lab: &Lab) -> Churn {
        let is_over = Arc::new(AtomicBool::new(false));
        let start = |user: u32| {
            let (is_over, directory) = (Arc::clone(&is_over), lab.mount_point(format!("{user}/churn")));
            thread::spawn(move || {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let path = directory.join((count % 20).to_string());
                    drop(mount_silent(&path, user)); // its server ends at once
                    pause(ms(2));
                    umount2(&path, MntFlags::MNT_DETACH).expect("unmount");
                    pause(ms(2));
                    count += 1;
                }
                count
            })
        };
        Churn { threads: USERS.map(start).into(), is_over }
    }

    fn stop(mut self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).map(|thread| thread.join().expect("it ends")).sum()
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// The daemon with every output.
struct Outputs {
    daemon: Daemon,
    syslog: Lines,
    hook_log: PathBuf,
    textfile: PathBuf,
    address: SocketAddr,
    gateway: FakeServer,
    alertmanager: FakeServer,
}

impl Outputs {
    fn start(lab: &Lab) -> Outputs {
        let syslog = lab.read_syslog();
        let hook_log = lab.scratch_path("hook.log");
        let script =
            format!("#!/bin/sh\necho \"$MSM_EVENT $MSM_MOUNTPOINT\" >> {}\nsleep 0.1\n", hook_log.display());
        let hook = lab.write_file("hook", script);
        fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).expect("make it executable");
        let [gateway, alertmanager] = [(); 2].map(|()| FakeServer::start(Behavior::Accept));
        let config = format!(
            "[[hook]]\nname = \"page\"\ncommand = [\"{}\"]\n\
             events = [\"mounted\", \"unmounted\", \"failed\", \"recovered\"]\n\
             [alertmanager]\nurl = \"http://{}\"\n",
            hook.display(),
            alertmanager.address
        );
        let config = lab.write_file("config.toml", config);
        let (address, textfile) = (free_address(), lab.scratch_path("metrics.prom"));
        let daemon = lab.start_daemon(&[
            "--config",
            utf8(&config),
            "--listen-address",
            &address.to_string(),
            "--textfile",
            utf8(&textfile),
            "--prometheus-push-gateway",
            &gateway.address,
            "--poll-interval",
            &INTERVAL.as_secs().to_string(),
            "--timeout",
            &TIMEOUT.as_secs().to_string(),
        ]);
        Outputs { daemon, syslog, hook_log, textfile, address, gateway, alertmanager }
    }

    fn forget_requests(&self) {
        self.gateway.take_requests();
        self.alertmanager.take_requests();
    }

    /// Makes this mount hang, and waits until each output says so.
    fn kill(&self, lab: &mut Lab, path: &Path, slowest: &mut [(Duration, &'static str); OUTPUTS]) {
        let path_text = display_path(path);
        let line = format!("Mount failed health-check: {path_text} (hung");
        let metric = |text: &str| {
            text.lines().any(|line| {
                line.starts_with("mountstatus_mount_up{")
                    && line.contains(&format!("\"{path_text}\""))
                    && line.ends_with(" 0")
            })
        };
        lab.set_fault("mute", path);
        let begun = Instant::now();
        let checks: [(&'static str, &dyn Fn() -> bool); OUTPUTS] = [
            ("log", &|| self.daemon.stderr.count(&line) > 0),
            ("syslog", &|| self.syslog.count(&line) > 0),
            ("hook", &|| {
                let wanted = format!("failed {}", path.display());
                fs::read_to_string(&self.hook_log).unwrap_or_default().lines().any(|line| line == wanted)
            }),
            ("HTTP", &|| metric(get(self.address, "/metrics").text())),
            ("text file", &|| metric(&fs::read_to_string(&self.textfile).unwrap_or_default())),
            ("push gateway", &|| self.gateway.take_requests().iter().any(|request| metric(&request.body))),
            ("Alertmanager", &|| {
                self.alertmanager.take_requests().iter().any(|request| alerts_of_hang(request, &path_text))
            }),
        ];
        // The text file is written, and metrics are pushed, after each run.
        let limits = [0, 0, 0, 0, 1, 1, 0].map(|runs| INTERVAL * (1 + runs) + TIMEOUT + ms(1000) + slack());
        let mut is_done = [false; OUTPUTS];
        while is_done.contains(&false) {
            for (n, (name, check)) in checks.iter().enumerate() {
                if !is_done[n] && check() {
                    is_done[n] = true;
                    slowest[n] = slowest[n].max((begun.elapsed(), name));
                }
                assert!(
                    is_done[n] || begun.elapsed() < limits[n],
                    "{path_text}: {name}\n{}",
                    self.daemon.transcript()
                );
            }
            pause(ms(50));
        }
    }
}

/// Whether a request to Alertmanager contains the alert that this mount hangs.
fn alerts_of_hang(request: &Request, path: &str) -> bool {
    let alerts: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
    alerts
        .as_array()
        .expect("alerts")
        .iter()
        .any(|alert| alert["labels"]["alertname"] == "MountDead" && alert["labels"]["mountpoint"] == path)
}

/// CPU time in seconds.
struct Usage {
    of_loop: f64,
    of_all: f64,
}

impl Usage {
    fn of(process: Process) -> Usage {
        let cpu = |path: String| {
            let stat = fs::read_to_string(path).expect("it runs");
            let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
            let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
            ticks / 100.0
        };
        let pid = process.0;
        Usage {
            of_loop: cpu(format!("/proc/{pid}/task/{pid}/stat")),
            of_all: cpu(format!("/proc/{pid}/stat")),
        }
    }
}

/// Finds the most memory that is used.
struct Sampler {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Sampler {
    fn start(daemon: Process) -> Sampler {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut most = 0;
            while !ends.load(Ordering::Relaxed) {
                most = most.max(pss_kib(daemon));
                pause(ms(300));
            }
            most
        });
        Sampler { is_over, thread }
    }

    fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends")
    }
}

/// The memory of the daemon and its children; shared pages are counted once.
fn pss_kib(daemon: Process) -> u64 {
    let pss = |process: Process| {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.0)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    let is_ours = |process: &Process| {
        ["prober", "collector", "launcher", "files"].iter().any(|role| process.has_role(role))
    };
    pss(daemon) + daemon.children().into_iter().filter(is_ours).map(pss).sum::<u64>()
}
