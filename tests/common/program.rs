//! The program under test.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

/// Tests another build of the program than the one that cargo built with the tests.
const VARIABLE: &str = "MSM_TEST_PROGRAM";

pub(crate) fn program() -> &'static Path {
    static PROGRAM: LazyLock<&Path> = LazyLock::new(|| match std::env::var_os(VARIABLE) {
        Some(path) => Path::new(Box::leak(path.into_boxed_os_str())),
        None => Path::new(env!("CARGO_BIN_EXE_mount_status_monitor")),
    });
    &PROGRAM
}

/// A development build is larger and slower.
pub(crate) fn is_release_build() -> bool {
    program().parent().is_some_and(|folder| folder.ends_with("release"))
}

pub(crate) fn monitor_command() -> Command {
    Command::new(program())
}
