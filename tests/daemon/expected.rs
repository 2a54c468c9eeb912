//! Expected mounts: missing, found, and from fstab.

use crate::common::{CommandOutput, Daemon, display_path, monitor_command, ms, pause, run_isolated, utf8};
use nix::sys::signal::Signal;
use std::os::unix::fs::symlink;

fn rule(path: &std::path::Path, more: &str) -> String {
    format!("poll_interval = 60\n[[rule]]\nmountpoint = \"{}\"\nexpected = true\n{more}", path.display())
}

#[test]
fn expected_mount_is_missing_then_found_then_missing_again() {
    run_isolated(|lab| {
        let (path, root) = (lab.mount_point("data"), display_path(lab.mount_point("").parent().unwrap()));
        let file = lab.write_file("config.toml", rule(&path, "fstype = \"tmpfs\"\n"));
        let daemon = lab.start_daemon(&["--config", utf8(&file)]);
        let text = display_path(&path);
        let what = format!("{text} (tmpfs, required by {}:2; writes now go to {root})", display_path(&file));
        daemon.wait_for_line(&format!("Expected mount is missing: {what}"), ms(3000));
        daemon.skip_earlier_lines();
        lab.mount_tmpfs(&path);
        daemon.wait_for_line(
            &format!("Expected mount is there: {text} (tmpfs from over; was missing for "),
            ms(2000),
        );
        daemon.skip_earlier_lines();
        // A mount that is replaced at once is not missing.
        lab.unmount_when_idle(&path);
        lab.mount_tmpfs_over(&path);
        pause(ms(1800));
        daemon.assert_no_line("Expected mount is missing");
        lab.unmount_when_idle(&path);
        daemon.wait_for_line(&format!("Expected mount is missing: {what}"), ms(4000));
        daemon.skip_earlier_lines();
        // A mount of another type does not satisfy the rule.
        lab.mount_fuse("data");
        pause(ms(300));
        daemon.assert_no_line("Expected mount is there");
        daemon.stop();
    });
}

#[test]
fn missing_mount_makes_a_single_run_fail() {
    run_isolated(|lab| {
        lab.mount_fuse("a");
        let (path, file) = (lab.mount_point("data"), lab.scratch_path("config.toml"));
        std::fs::write(&file, rule(&path, "")).unwrap();
        let arguments = ["--config", utf8(&file)];
        let run =
            CommandOutput::run(lab.daemon_command(&[&arguments[..], &["--once-only"]].concat()), ms(8000));
        run.assert_code(1);
        run.assert_stderr_contains(&format!("Expected mount is missing: {}", display_path(&path)))
            .assert_stderr_contains("Checked 1 mount; 0 are dead");
        let check = |more: &[&str]| {
            let mut command = monitor_command();
            command.args(["check", "--direct"]).args(arguments).args(more);
            CommandOutput::run(command, ms(8000))
        };
        let only = [lab.mount_point("a"), path.clone()].map(|path| utf8(&path).to_owned());
        let table = check(&[&only[0], &only[1]]);
        table.assert_code(1);
        table.assert_stdout_contains("missing");
        table.assert_stdout_contains("Checked 1 mount; 0 are dead; 1 missing");
        let plugin = check(&["--nagios", &only[0], &only[1]]);
        plugin.assert_code(2);
        plugin.assert_stdout_contains(&format!("1 missing: {}", only[1]));
        lab.mount_tmpfs(&path);
        assert_eq!(check(&[&only[0], &only[1]]).code, Some(0));
    });
}

#[test]
fn fstab_entries_are_expected_and_reloaded() {
    run_isolated(|lab| {
        lab.mount_fuse("a");
        let fstab = lab.scratch_path("fstab");
        let [needed, optional, lazy] = ["needed", "optional", "lazy"].map(|name| lab.mount_point(name));
        let line =
            |path: &std::path::Path, options: &str| format!("nas:/x {} nfs4 {options} 0 0\n", path.display());
        let text = format!(
            "# comment\n{}{}{}/dev/x none swap sw 0 0\n",
            line(&needed, "rw"),
            line(&optional, "rw,nofail"),
            line(&lazy, "noauto,x-systemd.automount")
        );
        std::fs::write(&fstab, &text).unwrap();
        let daemon = Daemon::start(lab.daemon_command(&[&format!("--expect-fstab={}", fstab.display())]));
        let missing = format!(
            "Expected mount is missing: {} (nfs4 from nas:/x, required by {}:2",
            display_path(&needed),
            display_path(&fstab)
        );
        daemon.wait_for_line(&missing, ms(3000));
        daemon.assert_no_line(&display_path(&optional));
        daemon.assert_no_line(&display_path(&lazy));
        daemon.skip_earlier_lines();
        std::fs::write(&fstab, text + &line(&optional, "rw")).unwrap();
        daemon.wait_for_line(&format!("Expected mount is missing: {}", display_path(&optional)), ms(5000));
        daemon.assert_no_line(&missing); // already logged
        daemon.skip_earlier_lines();
        lab.mount_tmpfs(&needed);
        daemon.wait_for_line(&format!("Expected mount is there: {}", display_path(&needed)), ms(2000));
        std::fs::remove_file(&fstab).unwrap();
        daemon.wait_for_line("Configuration not reloaded", ms(5000));
        daemon.send_signal(Signal::SIGTERM);
    });
}

#[test]
fn clients_of_the_daemon_show_missing_mounts() {
    run_isolated(|lab| {
        let alive = lab.mount_fuse("a");
        let (path, file, socket) =
            (lab.mount_point("data"), lab.scratch_path("config.toml"), lab.scratch_path("socket"));
        std::fs::write(&file, rule(&path, "")).unwrap();
        let socket = utf8(&socket);
        let daemon = lab.start_daemon(&["--config", utf8(&file), "--socket", socket]);
        daemon.wait_for_line("Expected mount is missing: ", ms(3000));
        let run_client = |arguments: &[&str]| {
            let mut command = monitor_command();
            command.args(arguments).args(["--socket", socket]);
            CommandOutput::run(command, ms(5000))
        };
        let (alive, missing) = (utf8(&alive), utf8(&path));
        let status = run_client(&["status"]);
        status.assert_code(1);
        status.assert_stdout_contains("; 1 missing");
        assert_eq!(run_client(&["check", alive]).code, Some(0), "only the named mount counts");
        let check = run_client(&["check", missing]);
        check.assert_code(1);
        check.assert_stdout_contains("missing");
        let json = run_client(&["status", "--json"]);
        let document: serde_json::Value = json.json();
        assert_eq!((&document["missing"], &document["dead"]), (&1.into(), &0.into()));
        assert_eq!(
            (&document["expected"][0]["mountpoint"], &document["expected"][0]["missing"]),
            (&missing.into(), &true.into())
        );
        daemon.stop();
    });
}

/// The mount table shows paths without symbolic links.
#[test]
fn fstab_paths_through_links_are_followed() {
    run_isolated(|lab| {
        let [first, second] = ["a", "b"].map(|name| lab.mount_fuse(name));
        let (link, later) = (lab.scratch_path("link"), lab.scratch_path("later"));
        let mounts = first.parent().expect("it has one").to_owned();
        symlink(&mounts, &link).expect("link");
        let fstab = format!(
            "x {} fuse defaults\nx {} fuse defaults\nx {} fuse defaults\n",
            link.join("a").display(),
            later.join("b").display(),
            link.join("none").display()
        );
        let fstab = lab.write_file("fstab", fstab);
        lab.set_fault("mute", &first); // it is not looked at
        let expect = format!("--expect-fstab={}", fstab.display());
        let daemon = lab.start_daemon(&[crate::QUICK, &[&expect]].concat());
        let missing = |path: &std::path::Path| format!("Expected mount is missing: {} (", display_path(path));
        daemon.wait_for_line(&missing(&mounts.join("none")), ms(3000));
        daemon.wait_for_line(&missing(&later.join("b")), ms(3000));
        daemon.assert_no_line(&missing(&first));
        daemon.assert_no_line(&missing(&link.join("a")));
        symlink(&mounts, &later).expect("link");
        let found = format!("Expected mount is there: {} (", display_path(&second));
        daemon.wait_for_line(&found, ms(13_000));
        daemon.stop();
    });
}
