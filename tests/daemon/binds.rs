//! Bind mounts share the state of their file system and cost one probe.

use crate::QUICK;
use crate::common::{count_threads_stuck_in_fuse, ms, pause, run_isolated, wait_until};

const BINDS: usize = 50;

#[test]
fn binds_of_a_hung_file_system_cost_one_thread() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("origin");
        for n in 0..BINDS {
            lab.bind_mount(&path, &lab.mount_point(format!("bind{n}")));
        }
        let daemon = lab.start_daemon(QUICK);
        lab.set_fault("mute", &path);
        daemon.wait_for_line(&format!("Checked {0} mounts; {0} are dead", BINDS + 1), ms(3500));
        assert_eq!(daemon.stderr.count("Mount failed health-check: "), BINDS + 1, "{}", daemon.transcript());
        let stuck = || count_threads_stuck_in_fuse(&daemon.process.descendants());
        wait_until(ms(1000), "one thread is stuck", || stuck() == 1);
        pause(ms(2500));
        // Polled, because the new prober may just be entering or leaving the call.
        wait_until(ms(1000), "still only one thread is stuck", || stuck() == 1);

        daemon.skip_earlier_lines();
        lab.clear_fault(&path);
        daemon.wait_for_line(&format!("Checked {} mounts; 0 are dead", BINDS + 1), ms(3500));
        assert_eq!(daemon.stderr.count("Mount recovered: "), BINDS + 1, "{}", daemon.transcript());
        daemon.stop();
    });
}
