//! The time of the second run depends on the machine id and the host name, so that a fleet that starts at the same
//! time does not probe at the same time.

use crate::common::{Daemon, ms, run_isolated, wait_until};
use std::path::Path;
use std::time::Duration;

const ID: &str = "/etc/machine-id";
const INTERVAL: Duration = ms(9000);
/// Measurements of equal offsets differ by less than this; the offsets of all machines do not.
const TOLERANCE: Duration = ms(1500);

#[test]
fn second_run_time_depends_on_the_machine_id() {
    run_isolated(|lab| {
        if !Path::new(ID).is_file() {
            return lab.skip("there is no /etc/machine-id to put another over");
        }
        lab.bind_mount_file(Path::new(ID));
        let start = |id: &str| {
            std::fs::write(ID, id).expect("write the machine id");
            lab.start_daemon(&["--poll-interval", "9"])
        };
        // The daemon reads the id at its start only, so the file can be overwritten for the next one.
        let ids = ["1b4e", "77a0", "1b4e", "c0de", "0f0f", "2222", "3141", "5926", "5358", "9793"];
        let daemons: Vec<Daemon> = ids.iter().map(|id| start(id)).collect();
        let offsets: Vec<Duration> = daemons.iter().map(offset_of_second_run).collect();
        assert!(distance(offsets[0], offsets[2]) < TOLERANCE, "{offsets:?} for {ids:?}");
        assert!(
            offsets.iter().any(|&offset| distance(offset, offsets[0]) > TOLERANCE),
            "{offsets:?} for {ids:?}"
        );
        for (daemon, offset) in daemons.into_iter().zip(offsets) {
            assert!(offset <= INTERVAL + crate::common::slack(), "{offset:?}");
            daemon.stop();
        }
    });
}

/// An offset near zero may also be seen as one of nearly the interval: then the first run has just missed it.
fn distance(one: Duration, other: Duration) -> Duration {
    let apart = one.abs_diff(other);
    apart.min(INTERVAL.abs_diff(apart))
}

/// The time between the first and the second run.
fn offset_of_second_run(daemon: &Daemon) -> Duration {
    wait_until(2 * INTERVAL, "a second run", || daemon.stderr.count("Checked ") >= 2);
    let runs: Vec<_> =
        daemon.stderr.all().into_iter().filter(|line| line.text.starts_with("Checked ")).collect();
    runs[1].at - runs[0].at
}
