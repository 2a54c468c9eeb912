//! Files that decide what runs with the rights of the daemon are refused if other users could replace them.

use crate::common::{CommandOutput, Lab, display_path, monitor_command, ms, run_isolated, utf8, wait_until};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chown};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const USER: u32 = 1234;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

fn give_away(path: &Path) {
    chown(path, Some(Uid::from_raw(USER)), Some(Gid::from_raw(USER))).expect("chown");
}

fn check_config(file: &Path) -> CommandOutput {
    let mut command = monitor_command();
    command.args(["--check-config", "--config", utf8(file)]);
    CommandOutput::run(command, ms(3000))
}

/// The files of one case: a configuration with a drop-in and a hook.
struct Files {
    folder: PathBuf,
    config: PathBuf,
    drop_in: PathBuf,
    program: PathBuf,
}

fn create(lab: &Lab, name: &str) -> Files {
    let folder = lab.scratch_path(name);
    let (etc, bin) = (folder.join("etc"), folder.join("bin"));
    fs::create_dir_all(etc.join("conf.d")).expect("create a directory");
    fs::create_dir(&bin).expect("create a directory");
    let (config, program) = (etc.join("config.toml"), bin.join("hook"));
    let drop_in = etc.join("conf.d/hook.toml");
    fs::write(&config, "").expect("write the configuration");
    fs::write(&program, "#!/bin/sh\n").expect("write the program");
    fs::write(&drop_in, format!("[[hook]]\nname = \"h\"\ncommand = \"{}\"\n", program.display()))
        .expect("write the drop-in");
    for path in [&folder, &etc, &bin, &etc.join("conf.d"), &program] {
        chmod(path, 0o755);
    }
    for path in [&config, &drop_in] {
        chmod(path, 0o644);
    }
    Files { folder, config, drop_in, program }
}

const EVERY: &str = "can be written by every user";

type Change = fn(&Files);
type Part = fn(&Files) -> PathBuf;

/// A change, the file that is refused for it, and the part of its path that is named, with the reason.
const CASES: [(Change, Part, Part, &str); 9] = [
    (|it| chmod(&it.config, 0o666), |it| it.config.clone(), |it| it.config.clone(), EVERY),
    (|it| give_away(&it.config), |it| it.config.clone(), |it| it.config.clone(), "belongs to user 1234"),
    (|it| chmod(&it.folder, 0o777), |it| it.config.clone(), |it| it.folder.clone(), EVERY),
    (|it| give_away(&it.folder), |it| it.config.clone(), |it| it.folder.clone(), "belongs to user 1234"),
    (|it| chmod(&it.drop_in, 0o602), |it| it.drop_in.clone(), |it| it.drop_in.clone(), EVERY),
    (
        |it| chmod(&it.folder.join("etc/conf.d"), 0o777),
        |it| it.drop_in.clone(),
        |it| it.folder.join("etc/conf.d"),
        EVERY,
    ),
    (|it| chmod(&it.program, 0o757), |it| it.program.clone(), |it| it.program.clone(), EVERY),
    (
        |it| chmod(it.program.parent().expect("it has one"), 0o777),
        |it| it.program.clone(),
        |it| it.folder.join("bin"),
        EVERY,
    ),
    // The target of a link, in a folder that everybody can write.
    (
        |it| {
            let shared = it.folder.join("shared");
            fs::create_dir(&shared).expect("create a directory");
            chmod(&shared, 0o777);
            fs::rename(&it.program, shared.join("hook")).expect("rename");
            symlink("../shared/hook", &it.program).expect("link");
        },
        |it| it.program.clone(),
        |it| it.folder.join("shared"),
        EVERY,
    ),
];

#[test]
fn files_and_folders_that_others_can_write_are_refused() {
    run_isolated(|lab| {
        for (number, (change, file, part, why)) in CASES.into_iter().enumerate() {
            let files = create(lab, &number.to_string());
            check_config(&files.config).assert_code(0);
            change(&files);
            let line =
                format!("{}: refused: {} {why}", display_path(&file(&files)), display_path(&part(&files)));
            let checked = check_config(&files.config);
            checked.assert_code(2);
            checked.assert_stderr_contains(&line);
            let started =
                CommandOutput::run(lab.daemon_command(&["--config", utf8(&files.config)]), ms(3000));
            started.assert_code(2);
            started.assert_stderr_contains(&line);
        }
    });
}

#[test]
fn sticky_folders_groups_and_read_only_mounts_are_accepted() {
    run_isolated(|lab| {
        let files = create(lab, "sticky");
        chmod(&files.folder, 0o1777);
        check_config(&files.config).assert_code(0);
        give_away(&files.folder.join("etc"));
        check_config(&files.config).assert_code(2);

        let files = create(lab, "group");
        chmod(&files.config, 0o664);
        let daemon = lab.start_daemon(&["--config", utf8(&files.config)]);
        daemon.wait_for_line(&format!("{} can be written by its group", display_path(&files.config)), ms(0));
        daemon.stop();

        // As a ConfigMap, whose folder is writable for all.
        let files = create(lab, "read-only");
        for path in [&files.folder, &files.folder.join("etc"), &files.config, &files.program] {
            chmod(path, 0o777);
        }
        check_config(&files.config).assert_code(2);
        lab.bind_mount(&files.folder.clone(), &files.folder);
        lab.remount_read_only(&files.folder);
        check_config(&files.config).assert_code(0);
    });
}

#[test]
fn reload_of_a_file_that_others_can_write_is_refused() {
    run_isolated(|lab| {
        let files = create(lab, "reload");
        let daemon = lab.start_daemon(&["--config", utf8(&files.config)]);
        chmod(&files.program, 0o777);
        daemon.send_signal(Signal::SIGHUP);
        let line = format!(
            "Configuration not reloaded, the old one stays in force: {0}: refused: {0} can be written by every user",
            display_path(&files.program)
        );
        daemon.wait_for_line(&line, ms(2000));
        chmod(&files.program, 0o755);
        daemon.send_signal(Signal::SIGHUP);
        daemon.wait_for_line("Configuration reloaded: nothing has changed", ms(2000));
        daemon.stop();
    });
}

/// The owner may be root or the user who runs the daemon.
#[test]
fn daemon_of_an_ordinary_user_accepts_its_own_files() {
    run_isolated(|lab| {
        let files = create(lab, "own");
        let start = || {
            let mut command = lab.daemon_command_as(USER, &["--config", utf8(&files.config)]);
            command.arg("--check-config");
            CommandOutput::run(command, ms(3000))
        };
        start().assert_code(0);
        give_away(&files.config);
        start().assert_code(0);
        chown(&files.config, Some(Uid::from_raw(USER + 1)), None).expect("chown");
        start().assert_code(2);
    });
}

#[test]
fn hook_whose_program_hangs_is_off_until_it_can_be_looked_at() {
    run_isolated(|lab| {
        let (storage, folder) = lab.mount_storage("storage");
        let path = lab.mount_fuse("a");
        let (done, program) = (lab.scratch_path("done"), folder.join("hook"));
        fs::write(&program, format!("#!/bin/sh\necho >> {}\n", done.display())).expect("write the program");
        chmod(&program, 0o755);
        let hook = format!("[[hook]]\nname = \"h\"\ncommand = \"{}\"\n", program.display());
        let config = lab.write_file("config.toml", hook);
        lab.set_fault("mute", &storage);
        let options = ["--config", utf8(&config), "--timeout", "500ms", "--poll-interval", "1"];
        let daemon = lab.start_daemon(&options);
        daemon.wait_for_line("Hook h is off: its program cannot be looked at: no answer", ms(0));
        lab.clear_fault(&storage);
        daemon.wait_for_line("Configuration reloaded: hooks changed", ms(10_000));
        lab.set_fault("mute", &path);
        wait_until(ms(3000), "the hook runs", || fs::read_to_string(&done).is_ok());
        daemon.stop();
    });
}
