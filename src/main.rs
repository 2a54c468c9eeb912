//! The program `mount_status_monitor`.

use mount_status_monitor::probe;

fn main() {
    if std::env::args_os().nth(1).is_some_and(|mode| mode == "prober") {
        probe::prober::run();
    }
}
