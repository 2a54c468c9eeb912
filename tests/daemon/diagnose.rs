//! `diagnose`, with and without a daemon.

use crate::common::{CommandOutput, display_path, monitor_command, ms, run_isolated, slack, wait_until};
use crate::evidence::{PATIENT, PATIENT_HANG, Victim};
use crate::http::openapi::mismatches;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

#[test]
fn diagnosis_by_the_daemon_is_fresh_and_lists_next_steps() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        let socket = lab.scratch_path("socket").display().to_string();
        let mut arguments = vec!["--socket", &socket];
        arguments.extend(PATIENT);
        let daemon = lab.start_daemon(&arguments);
        let healthy = diagnose(&mounts[1], &["--socket", &socket]);
        healthy.assert_code(0);
        healthy.assert_stdout_contains(" is ok: responds in ");

        lab.fuse_server().freeze();
        daemon.wait_for_failure(&mounts[0], "hung", PATIENT_HANG);
        // Blocked only after the failure was logged.
        let victim = Victim::reader(&mounts[0]);
        let by_daemon = diagnose(&mounts[0], &["--socket", &socket]);
        by_daemon.assert_code(1);
        let command = format!("umount -f -l {}", display_path(&mounts[0]));
        for part in [
            " has been dead since ",
            " UTC (hung: no response in 4",
            "] is stopped (T)",
            ". kill -CONT ",
            ". echo 1 > /sys/fs/fuse/connections/",
            &command,
        ] {
            assert!(by_daemon.stdout.contains(part), "{part} is not in\n{}", by_daemon.stdout);
        }
        let also = by_daemon.stdout.find("\nAlso affected\n  * same server nowhere: ").expect("other mounts");
        assert!(
            by_daemon.stdout.find("\nNext steps ").is_some_and(|next| next > also),
            "{}",
            by_daemon.stdout
        );
        drop(victim);
        let json = diagnose(&mounts[0], &["--socket", &socket, "--json"]);
        let json: Value = json.json();
        assert_eq!(json["mount"]["state"], "hung");
        assert!(json["next_steps"].as_array().is_some_and(|steps| steps.len() == 4), "{json}");
        assert_is_documented(&json);
        lab.fuse_server().thaw();
        daemon.stop();
    });
}

#[test]
fn direct_diagnosis_collects_evidence_without_hanging() {
    run_isolated(|lab| {
        let outer = lab.mount_fuse("a");
        let inner = lab.mount_point("a/file");
        lab.bind_mount_file(&inner);
        lab.fuse_server().freeze();
        let victim = Victim::of(Command::new("stat").arg(&outer));
        let start = Instant::now();
        let result = diagnose(&outer, &["--direct"]);
        result.assert_code(1);
        assert!(start.elapsed() < ms(9000) + slack(), "{:?}", start.elapsed());
        for part in
            [" UTC (hung: no response in ", "] is stopped (T)", "blocked: stat[", "in request_wait_answer"]
        {
            assert!(result.stdout.contains(part), "{part} is not in\n{}", result.stdout);
        }
        let result = diagnose(&inner, &["--direct"]);
        result.assert_code(1);
        let next_step = format!("mount_status_monitor diagnose {}", display_path(&outer));
        result.assert_stdout_contains(&next_step);

        drop(victim);
    });
}

#[test]
fn path_in_a_mount_and_link_to_it_mean_the_mount() {
    run_isolated(|lab| {
        let outer = lab.mount_fuse("a");
        let links = lab.scratch_path("links");
        std::os::unix::fs::symlink(lab.mount_point("x"), &links).expect("make a link");
        std::fs::create_dir(lab.mount_point("x")).expect("create a directory");
        std::os::unix::fs::symlink("../a/deep", lab.mount_point("x/link")).expect("make a link");
        lab.set_fault("mute", &outer);
        let start = Instant::now();
        let inside = diagnose(&lab.mount_point("a/b/c"), &["--direct"]);
        inside.assert_code(1);
        let line = |path: &Path, is: &str| {
            format!("{}{is} is inside the mount {}\n", display_path(path), display_path(&outer))
        };
        inside.assert_stdout_contains(&line(&lab.mount_point("a/b/c"), ""));
        inside.assert_stdout_contains(&format!("{} has been dead since ", display_path(&outer)));
        let linked = diagnose(&links.join("link/y"), &["--direct"]);
        linked.assert_code(1);
        let resolved = format!(" is {}, which", display_path(&lab.mount_point("a/deep/y")));
        linked.assert_stdout_contains(&line(&links.join("link/y"), &resolved));
        let json: Value = diagnose(&links.join("link"), &["--direct", "--json"]).json();
        assert_eq!(json["mount"]["mountpoint"], display_path(&outer));
        assert!(start.elapsed() < 3 * ms(9000) + slack(), "{:?}", start.elapsed());
        lab.clear_fault(&outer);
    });
}

#[test]
fn other_mounts_namespaces_and_fstab_are_named_for_a_dead_mount() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let bound = lab.mount_point("bound");
        lab.bind_mount(&mounts[0], &bound);
        let fstab = lab.write_file(
            "fstab",
            format!("# none\nnowhere:/x {} fuse.fault secret=1\n", display_path(&mounts[0])),
        );
        let config = lab.write_file("config.toml", format!("expect_fstab = \"{}\"\n", display_path(&fstab)));
        let config = ["--direct", "--config", config.to_str().expect("UTF-8")];
        let mut other =
            Command::new("unshare").args(["--mount", "sleep", "600"]).spawn().expect("unshare starts");
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).expect("a namespace");
        let pid = other.id().to_string();
        let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
        wait_until(ms(5000), "it runs in its own namespace", || {
            name() == "sleep\n" && namespace(&pid) != namespace("self")
        });
        let healthy = diagnose(&mounts[0], &config);
        healthy.assert_code(0);
        assert!(!healthy.stdout.contains("Also affected"), "{}", healthy.stdout);

        lab.set_fault("mute", &mounts[0]);
        let dead = diagnose(&mounts[0], &config);
        let json: Value = diagnose(&bound, &["--direct", "--json"]).json();
        let namespace = namespace(&pid);
        other.kill().and_then(|()| other.wait()).expect("it ends");
        dead.assert_code(1);
        let holder = format!(
            "mounted in the mount namespace {} of sleep[{pid}], at {}",
            display_path(&namespace),
            display_path(&mounts[0])
        );
        let path = display_path(&mounts[0]);
        for part in [
            format!("same file system: {}", display_path(&bound)),
            format!("same server nowhere: {}, {}", display_path(&mounts[1]), display_path(&mounts[2])),
            holder,
            "Mount it again, once it is unmounted".to_owned(),
            format!("  * mount {path}"),
            format!("{} line 2: fuse.fault from nowhere:/x", display_path(&fstab)),
        ] {
            // Long lines are wrapped.
            let lines = dead.stdout.replace("\n    ", " ").replace("   ", " ");
            assert!(lines.contains(&part), "{part} is not in\n{}", dead.stdout);
        }
        assert!(!dead.stdout.contains("secret"), "{}", dead.stdout);
        assert_is_documented(&json);
        let found = &json["surroundings"];
        assert_eq!(found["same_file_system"], serde_json::json!([path]), "{json}");
        assert_eq!(found["namespaces"]["named"][0]["pid"].to_string(), pid, "{json}");
        assert_eq!(found["mount_again"][0]["command"], Value::Null, "{json}");
        lab.clear_faults(0..1);
    });
}

/// The unit is in a directory that only the namespace of the test has.
#[test]
fn unit_of_systemd_makes_the_mount_again() {
    const DIRECTORIES: [&str; 4] = [
        "/etc/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ];
    run_isolated(|lab| {
        let path = lab.mount_fuse("a-b");
        let Some(directory) = DIRECTORIES.into_iter().map(Path::new).find(|path| path.is_dir()) else {
            return lab.skip("needs a directory of systemd's units");
        };
        lab.mount_tmpfs_over(directory);
        let name =
            display_path(&path).trim_start_matches('/').replace('-', "\\x2d").replace('/', "-") + ".mount";
        std::fs::write(directory.join(&name), "[Mount]\n").expect("write a file");
        lab.set_fault("mute", &path);
        let json: Value = diagnose(&path, &["--direct", "--json"]).json();
        lab.clear_fault(&path);
        let step = &json["surroundings"]["mount_again"][0];
        assert_eq!(step["command"], format!("systemctl start '{name}'"), "{json}");
    });
}

#[test]
fn fstab_on_dead_storage_is_not_known() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        lab.set_faults("mute", 0..2);
        let config = format!("expect_fstab = \"{}/file\"\n", display_path(&mounts[1]));
        let config = lab.write_file("config.toml", config);
        let start = Instant::now();
        let dead = diagnose(&mounts[0], &["--direct", "--config", config.to_str().expect("UTF-8")]);
        dead.assert_code(1);
        dead.assert_stdout_contains(
            "not known: fstab and units of systemd: no answer from its storage in 2s",
        );
        assert!(start.elapsed() < ms(11_000) + slack(), "{:?}", start.elapsed());
        lab.clear_faults(0..2);
    });
}

#[test]
fn path_of_a_missing_mount_is_not_taken_for_the_mount_below() {
    run_isolated(|lab| {
        let path = lab.mount_point("missing");
        std::fs::create_dir(&path).expect("create a directory");
        let fstab = lab.write_file("fstab", format!("nas:/x {} nfs4 defaults\n", display_path(&path)));
        let config = lab.write_file("config.toml", format!("expect_fstab = \"{}\"\n", display_path(&fstab)));
        let config = ["--direct", "--config", config.to_str().expect("UTF-8")];
        for path in [path.clone(), path.join("a/b")] {
            let missing = diagnose(&path, &config);
            assert_eq!(missing.code, Some(2), "{}", missing.stdout);
            let part = format!("missing is not mounted, but {}:1 has it", display_path(&fstab));
            missing.assert_stderr_contains(&part);
        }
        lab.mount_tmpfs_over(&path);
        diagnose(&path.join("a/b"), &config).assert_code(0);
    });
}

#[test]
fn own_namespace_is_another_one_for_a_watched_namespace() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let mut other =
            Command::new("unshare").args(["--mount", "sleep", "600"]).spawn().expect("unshare starts");
        let pid = other.id();
        let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
        wait_until(ms(5000), "it runs in its own namespace", || name() == "sleep\n");
        lab.set_fault("mute", &path);
        let config = lab.write_file("config.toml", format!("mount_namespace = \"/proc/{pid}/ns/mnt\"\n"));
        let config = ["--direct", "--json", "--config", config.to_str().expect("UTF-8")];
        let json: Value = diagnose(&path, &config).json();
        lab.clear_fault(&path);
        other.kill().and_then(|()| other.wait()).expect("it ends");
        assert_eq!(json["mount"]["state"], "hung", "{json}");
        assert_is_documented(&json);
        let own = std::fs::read_link("/proc/self/ns/mnt").expect("a namespace");
        let found = &json["surroundings"]["namespaces"];
        assert_eq!(found["count"], 1, "{json}");
        assert_eq!(format!("mnt:[{}]", found["named"][0]["namespace"]), display_path(&own), "{json}");
    });
}

/// An overlay on dead storage hangs like a local file system whose device is gone.
#[test]
fn links_on_storage_that_does_not_answer_are_not_followed() {
    run_isolated(|lab| {
        let lower = lab.mount_fuse("a");
        let merged = lab.mount_point("merged");
        if let Err(error) = mount_overlay(&[&lower, &lab.scratch_path("")], &merged) {
            return lab.skip(&format!("no overlay on a FUSE mount: {error}"));
        }
        lab.set_fault("mute", &lower);
        let start = Instant::now();
        let result = diagnose(&merged.join("file/x"), &["--direct"]);
        assert!(start.elapsed() < ms(11_000) + slack(), "{:?}", start.elapsed());
        lab.clear_fault(&lower);
        let inside = format!(
            "{} is inside the mount {} (links were not followed: no answer from its storage in 2s)\n",
            display_path(&merged.join("file/x")),
            display_path(&merged)
        );
        result.assert_stdout_contains(&inside);
    });
}

fn mount_overlay(layers: &[&Path], at: &Path) -> nix::Result<()> {
    let layers: Vec<String> = layers.iter().map(|path| display_path(path)).collect();
    std::fs::create_dir(at).expect("create a directory");
    let options = format!("lowerdir={}", layers.join(":"));
    nix::mount::mount(Some("o"), at, Some("overlay"), nix::mount::MsFlags::empty(), Some(options.as_str()))
}

#[test]
fn what_is_stacked_on_a_dead_mount_is_named() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let merged = lab.mount_point("merged");
        let overlay = mount_overlay(&[&path, &lab.scratch_path("")], &merged);
        let device = LoopDevice::on(&path.join("file"));
        if overlay.is_err() && device.is_none() {
            return lab.skip("needs an overlay or a loop device on a FUSE mount");
        }
        lab.set_fault("mute", &path);
        let dead = diagnose(&path, &["--direct", "--json"]);
        lab.clear_fault(&path);
        dead.assert_code(1);
        let json: Value = dead.json();
        assert_is_documented(&json);
        let stacked = |what: &str| {
            let all = json["surroundings"]["stacked"].as_array().expect("a list");
            all.iter().find(|it| it["what"] == what).unwrap_or_else(|| panic!("no {what} in {json}")).clone()
        };
        match overlay {
            Ok(()) => {
                let layer = stacked("layer of an overlay");
                assert_eq!(layer["file"], display_path(&path), "{json}");
                assert_eq!(layer["mountpoints"][0], display_path(&merged), "{json}");
            }
            Err(error) => lab.skip(&format!("no overlay on a FUSE mount: {error}")),
        }
        match &device {
            Some(LoopDevice(name)) => {
                let name = name.strip_prefix("/dev/").expect("a device");
                assert_eq!(stacked(&format!("loop device {name}"))["file"], display_path(&path.join("file")));
            }
            None => lab.skip("no loop device on a file of a FUSE mount"),
        }
    });
}

fn assert_is_documented(json: &Value) {
    let api = include_str!("../../contrib/openapi.json");
    let api: Value = serde_json::from_str(api).expect("the description is JSON");
    assert!(json["surroundings"].is_object(), "{json}");
    let mismatches = mismatches(&api, &api["components"]["schemas"]["Diagnosis"], json, "diagnosis");
    assert_eq!(mismatches, Vec::<String>::new(), "{json}");
}

/// A loop device, which is removed at the end.
struct LoopDevice(String);

impl LoopDevice {
    fn on(file: &Path) -> Option<LoopDevice> {
        let output =
            Command::new("losetup").args(["--find", "--show", "--read-only"]).arg(file).output().ok()?;
        let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !name.is_empty()).then_some(LoopDevice(name))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

fn diagnose(path: &Path, arguments: &[&str]) -> CommandOutput {
    let mut command = monitor_command();
    command.arg("diagnose").arg(path).args(arguments).env("LC_ALL", "C").current_dir("/");
    CommandOutput::run(command, ms(20_000))
}
