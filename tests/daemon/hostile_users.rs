//! Users whose FUSE mounts hang, and who mount and unmount all the time: what is said about the mounts of the system and
//! of other users is as good as without them.

use crate::common::{Daemon, Lab, display_path, ms, pause, run_isolated, utf8, wait_until};
use crate::{QUICK, QUICK_HANG};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const HOSTILE: u32 = 1001;
const OTHER: u32 = 1002;

/// Where the kernel says whose a connection is; not mounted in every container.
fn mount_fusectl() {
    let connections = "/sys/fs/fuse/connections";
    // EBUSY: it is already there.
    let _ = mount(Some("none"), connections, Some("fusectl"), MsFlags::empty(), None::<&str>);
}

fn mount_of(lab: &mut Lab, name: &str, user: u32) -> PathBuf {
    lab.mount_fuse_with(name, &format!("owner={user} allow_other"))
}

fn assert_dies_on_time(lab: &mut Lab, daemon: &Daemon, path: &Path) {
    lab.set_fault("mute", path);
    daemon.wait_for_failure(path, "hung", QUICK_HANG);
}

#[test]
fn hung_mounts_of_a_user_harm_nobody_else() {
    const HUNG: usize = 300;
    run_isolated(|lab| {
        mount_fusectl();
        let [first, second] = ["system-1", "system-2"].map(|name| mount_of(lab, name, 0));
        let other = mount_of(lab, "other", OTHER);
        let healthy = mount_of(lab, "healthy", OTHER);
        let daemon = lab.start_daemon(QUICK);
        // They hang one after another, so that each could strand a prober.
        for n in 0..HUNG {
            lab.mount_fuse_with(n.to_string(), &format!("owner={HOSTILE} mute"));
            if n % 50 == 0 {
                pause(ms(600));
            }
        }
        daemon.wait_for_line("of user 1001 are stranded, which is the limit", ms(15_000));
        assert_dies_on_time(lab, &daemon, &first);
        assert_dies_on_time(lab, &daemon, &other);
        daemon.wait_for_line(" could not be judged", ms(15_000));
        assert_dies_on_time(lab, &daemon, &second);
        lab.clear_fault(&first);
        daemon.wait_for_recovery(&first, ms(3000));
        daemon.assert_no_line(&display_path(&healthy));
        let of_others = |line: &String| line.contains("system") || line.contains("other");
        let lines = daemon.stderr.all().into_iter().map(|line| line.text);
        let lines: Vec<String> = lines
            .filter(of_others)
            .filter(|line| !line.starts_with("Mount ") && !line.contains("ext steps: "))
            .collect();
        assert_eq!(lines, Vec::<String>::new());
        daemon.stop();
    });
}

#[test]
fn user_who_kills_the_own_prober_is_the_only_one_without_judgement() {
    run_isolated(|lab| {
        mount_fusectl();
        let system = mount_of(lab, "system", 0);
        let own = mount_of(lab, "own", HOSTILE);
        let daemon = lab.start_daemon(QUICK);
        let killed = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            // The prober of the user is younger than that of the system.
            let process = daemon.process;
            let probers = move || process.children().into_iter().filter(|child| child.has_role("prober"));
            let system_prober = probers().min_by_key(|prober| prober.0).expect("a prober");
            let (killed, is_over) = (&killed, &is_over);
            let _over = Over(is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    for prober in probers().filter(|prober| *prober != system_prober) {
                        let is_killed = prober.try_signal(Signal::SIGKILL).is_ok();
                        killed.fetch_add(usize::from(is_killed), Ordering::Relaxed);
                    }
                    pause(ms(5));
                }
            });
            assert_dies_on_time(lab, &daemon, &system);
            wait_until(ms(10_000), "the prober was killed again and again", || {
                killed.load(Ordering::Relaxed) >= 4
            });
        });
        // After the death, probers of the system were killed too: the next one may start after a pause.
        lab.clear_fault(&system);
        daemon.wait_for_recovery(&system, ms(10_000));
        daemon.assert_no_line(&format!("Mount failed health-check: {}", display_path(&own)));
        assert_dies_on_time(lab, &daemon, &system);
        daemon.stop();
    });
}

/// Ends the threads of a test that fails too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Mounts and unmounts as fast as it can; each server ends at once.
fn churn(directory: &Path, is_over: &AtomicBool) -> usize {
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        let path = directory.join((count % 50).to_string());
        let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
        let options = format!(
            "fd={},rootmode=40000,user_id={HOSTILE},group_id={HOSTILE},allow_other",
            device.as_raw_fd()
        );
        mount(Some("x"), &path, Some("fuse"), MsFlags::empty(), Some(options.as_str())).expect("mount");
        drop(device);
        if count >= 40 {
            let old = directory.join(((count - 40) % 50).to_string());
            umount2(&old, MntFlags::MNT_DETACH).expect("unmount");
        }
        count += 1;
        pause(ms(1));
    }
    count
}

#[test]
fn alert_of_the_system_is_not_lost_in_the_churn_of_a_user() {
    run_isolated(|lab| {
        mount_fusectl();
        let system = mount_of(lab, "system", 0);
        let syslog = lab.read_syslog();
        let log = lab.scratch_path("hook.log");
        let script =
            format!("#!/bin/sh\necho \"$MSM_EVENT $MSM_MOUNTPOINT\" >> {}\nsleep 0.3\n", log.display());
        let hook = lab.write_file("hook", script);
        fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).expect("make it executable");
        let config = format!(
            "[[hook]]\nname = \"page\"\ncommand = [\"{}\"]\nevents = [\"mounted\", \"unmounted\", \"failed\", \"recovered\"]\n",
            hook.display()
        );
        let config = lab.write_file("config.toml", config);
        let directory = lab.mount_point("churn");
        (0..50).for_each(|n| fs::create_dir_all(directory.join(n.to_string())).expect("create a directory"));
        let daemon = lab.start_daemon(&[QUICK, &["--config", utf8(&config)]].concat());
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let churn = scope.spawn(|| churn(&directory, &is_over));
            let over = Over(&is_over);
            daemon.wait_for_line(&format!("Mount appeared: {}", display_path(&directory)), ms(3000));
            pause(ms(5000));
            for (fault, line) in [("mute", "Mount failed health-check"), ("ok", "Mount recovered")] {
                let from = syslog.len();
                lab.set_fault(fault, &system);
                if fault == "ok" {
                    lab.set_fault("release", &system);
                }
                let line = format!("{line}: {}", display_path(&system));
                daemon.wait_for_line(&line, ms(3000));
                assert!(syslog.wait_for(from, &line, ms(1000)).is_some(), "not in syslog: {line}");
            }
            let has_run = |event: &str| {
                let wanted = format!("{event} {}", system.display());
                fs::read_to_string(&log).unwrap_or_default().lines().any(|line| line == wanted)
            };
            wait_until(ms(3000), "the hook runs for the system's mount", || {
                has_run("failed") && has_run("recovered")
            });
            drop(over);
            let count = churn.join().expect("it ends");
            assert!(count > 200, "{count} mounts are no churn");
        });
        daemon.stop();
    });
}
