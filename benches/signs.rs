//! What the reader of early signs costs: samples of 1,000 FUSE connections and of the transports to 100 NFS servers, from
//! files that look like those of the kernel. The kernel's own files cost more: real FUSE mounts are in
//! `docs/benchmarks.md`.

mod median;

use median::median;
use platform::DeviceNumber;
use platform::signs::SignReader;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONNECTIONS: u32 = 1_000;
const SERVERS: u32 = 100;
const SAMPLES: usize = 101;
/// The default of `signs_interval`.
const INTERVAL: Duration = Duration::from_secs(2);

const INFO: &str = "last_used=4294951024\ncur_cong=0\ncong_win=256\nmax_num_slots=65536\nmin_num_slots=2\nnum_reqs=2\n\
                    binding_q_len=0\nsending_q_len=0\npending_q_len=1\nbacklog_q_len=0\nmain_xprt=1\nsrc_port=867\n\
                    tasks_queuelen=1\ndst_port=2049\n\0";

fn main() {
    let root = PathBuf::from(format!("/dev/shm/msm-bench-signs-{}", std::process::id()));
    let fuse: Vec<DeviceNumber> = (0..CONNECTIONS).map(|minor| DeviceNumber { major: 0, minor }).collect();
    for minor in 0..CONNECTIONS {
        write(&root.join(format!("fs/fuse/connections/{minor}/waiting")), "0\n");
    }
    println!("\nA sample, median of {SAMPLES}, and its share of a core at intervals of {INTERVAL:?}");
    let mut reader = SignReader::below(&root, &root);
    show(&format!("{CONNECTIONS} FUSE file systems"), || reader.sample(false, &fuse).len(), 0);
    for (queued, found) in [(0, 0), (1, SERVERS as usize)] {
        make_transports(&root, queued);
        let title = format!("{SERVERS} NFS servers, each with {queued} queued requests");
        show(&title, || reader.sample(true, &[]).len(), found);
    }
    fs::remove_dir_all(root).expect("remove the files");
}

fn make_transports(root: &Path, queued: u32) {
    for number in 0..SERVERS {
        let switch = root.join(format!("kernel/sunrpc/xprt-switches/switch-{number}"));
        let info = format!("num_xprts=1\nnum_active=1\nnum_unique_destaddr=1\nqueue_len={queued}\n\0");
        write(&switch.join("xprt_switch_info"), &info);
        write(&switch.join("xprt-0-tcp/dstaddr"), &format!("10.9.0.{number}\n\0"));
        write(&switch.join("xprt-0-tcp/xprt_info"), INFO);
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it has a parent")).expect("create a directory");
    fs::write(path, text).expect("write a file");
}

fn show(title: &str, mut sample: impl FnMut() -> usize, expected: usize) {
    let costs: Vec<Duration> = (0..SAMPLES)
        .map(|_| {
            let before = SignReader::cpu_time();
            assert_eq!(sample(), expected);
            SignReader::cpu_time() - before
        })
        .collect();
    let cost = median(costs);
    println!("{title:<50} {cost:>10.1?}  {:.3} %", cost.as_secs_f64() / INTERVAL.as_secs_f64() * 100.0);
}
