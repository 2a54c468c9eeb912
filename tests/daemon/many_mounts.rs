//! Many mounts; a fifth of them hang at the same time.

use crate::common::{display_path, is_release_build, ms, run_isolated_for, slack};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn exactly_the_hung_mounts_are_logged_in_time() {
    run_isolated_for(Duration::from_secs(180), |lab| {
        let count = if is_release_build() { 1000 } else { 400 };
        let hung = count / 5;
        let mounts = lab.mount_fuses(count);
        let daemon = lab.start_daemon(&["--timeout", "1", "--poll-interval", "2"]);
        daemon.wait_for_line(&format!("Checked {count} mounts; 0 are dead"), ms(5000));
        lab.set_faults("mute", 0..hung);
        let start = Instant::now();
        daemon.wait_for_line(&format!("Checked {count} mounts; {hung} are dead"), 2 * INTERVAL + TIMEOUT);

        let lines = daemon.stderr.all();
        for (n, path) in mounts.iter().enumerate() {
            let needle = format!("Mount failed health-check: {} (", display_path(path));
            let found: Vec<_> = lines.iter().filter(|line| line.text.contains(&needle)).collect();
            assert_eq!(found.len(), usize::from(n < hung), "{needle}");
            for line in found {
                let after = line.at.saturating_duration_since(start);
                assert!(after < INTERVAL + TIMEOUT + ms(1000) + slack(), "{after:?}: {}", line.text);
            }
        }
        daemon.skip_earlier_lines();
        daemon.wait_for_line(&format!("Checked {count} mounts; {hung} are dead"), 2 * INTERVAL + TIMEOUT);
        lab.clear_faults(0..hung);
        daemon.wait_for_line(&format!("Checked {count} mounts; 0 are dead"), 3 * INTERVAL + TIMEOUT);

        lab.set_faults("mute", 0..hung);
        daemon.wait_for_line(&format!("Checked {count} mounts; {hung} are dead"), 2 * INTERVAL + TIMEOUT);
        daemon.stop();
    });
}
