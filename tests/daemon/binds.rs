//! Many mounts of one file system share its fate, and the cost of one.

use crate::QUICK;
use crate::common::{isolated, ms, pause, soon, stuck_in_fuse};

const BINDS: usize = 50;

#[test]
fn binds_of_a_hung_file_system_cost_one_thread() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("origin");
        for n in 0..BINDS {
            lab.bind(&path, &lab.at(format!("bind{n}")));
        }
        let daemon = lab.daemon(QUICK);
        lab.order("mute", &path);
        daemon.told(&format!("Checked {0} mounts; {0} are dead", BINDS + 1), ms(3500));
        assert_eq!(daemon.stderr.count("Mount failed health-check: "), BINDS + 1, "{}", daemon.transcript());
        let stuck = || stuck_in_fuse(&daemon.process.descendants());
        soon(ms(1000), "one thread is stuck", || stuck() == 1);
        pause(ms(2500));
        // It is on its way into the kernel's hands when it is killed, so ask more than once.
        soon(ms(1000), "one thread is stuck, and no other was sent after it", || stuck() == 1);

        daemon.mark();
        lab.order("ok", &path);
        lab.order("release", &path);
        daemon.told(&format!("Checked {} mounts; 0 are dead", BINDS + 1), ms(3500));
        assert_eq!(daemon.stderr.count("Mount recovered: "), BINDS + 1, "{}", daemon.transcript());
        daemon.stop();
    });
}
