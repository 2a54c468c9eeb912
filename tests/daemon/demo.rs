//! `contrib/demo`, which the README names.

use crate::common::{CommandOutput, ms, run_isolated};
use std::path::Path;
use std::process::Command;

#[test]
fn demo_shows_a_hung_mount_and_its_recovery() {
    run_isolated(|_| {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/demo"));
        let programs = Path::new(env!("CARGO_BIN_EXE_mount_status_monitor")).parent();
        command.arg(programs.expect("programs are in a directory"));
        let output = CommandOutput::run(command, ms(60_000));
        assert_eq!(output.code, Some(0), "{}\n{}", output.stdout, output.stderr);
        for text in [
            "Started mount_status_monitor ",
            "Mount failed health-check: /mnt/projects (hung: no response in 3s; ",
            "Mount recovered: /mnt/projects (after ",
        ] {
            assert!(output.stderr.contains(text), "{text}\n{}", output.stderr);
        }
        for text in ["\nhung ", "Checked 2 mounts", "; 1 is dead\n", "Next steps"] {
            assert!(output.stdout.contains(text), "{text}\n{}", output.stdout);
        }
    });
}
