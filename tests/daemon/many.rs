//! Many mounts, many of them hung at the same time.

use crate::common::{isolated_for, ms, printed, slack};
use std::time::{Duration, Instant};

const MOUNTS: usize = if cfg!(debug_assertions) { 400 } else { 1000 };
const HUNG: usize = MOUNTS / 5;
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn each_of_many_hung_mounts_is_told_in_time_and_no_other() {
    isolated_for(Duration::from_secs(180), this_test!(), |lab| {
        let mounts = lab.fuses(MOUNTS);
        let daemon = lab.daemon(&["--timeout", "1", "--poll-interval", "2"]);
        daemon.told(&format!("Checked {MOUNTS} mounts; 0 are dead"), ms(5000));
        lab.say_range("mute", 0, HUNG, "");
        let start = Instant::now();
        daemon.told(&format!("Checked {MOUNTS} mounts; {HUNG} are dead"), 2 * INTERVAL + TIMEOUT);

        let lines = daemon.stderr.all();
        for (n, path) in mounts.iter().enumerate() {
            let needle = format!("Mount failed health-check: {} (", printed(path));
            let told: Vec<_> = lines.iter().filter(|line| line.text.contains(&needle)).collect();
            assert_eq!(told.len(), usize::from(n < HUNG), "{needle}");
            for line in told {
                let after = line.at.saturating_duration_since(start);
                assert!(after < INTERVAL + TIMEOUT + ms(1000) + slack(), "{after:?}: {}", line.text);
            }
        }
        daemon.mark();
        daemon.told(&format!("Checked {MOUNTS} mounts; {HUNG} are dead"), 2 * INTERVAL + TIMEOUT);
        lab.say_range("ok", 0, HUNG, "");
        lab.say_range("release", 0, HUNG, "");
        daemon.told(&format!("Checked {MOUNTS} mounts; 0 are dead"), 3 * INTERVAL + TIMEOUT);

        lab.say_range("mute", 0, HUNG, "");
        daemon.told(&format!("Checked {MOUNTS} mounts; {HUNG} are dead"), 2 * INTERVAL + TIMEOUT);
        daemon.stop();
    });
}
