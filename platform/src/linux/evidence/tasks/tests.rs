use super::*;
use crate::DeviceNumber;
use crate::evidence::Family;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

/// A simulated `/proc`.
struct Proc(PathBuf);

/// The mounts of the suspects in these tests.
const WATCHED: &str =
    "58 1 0:41 / /a rw - fuse s rw\n59 1 0:42 / /b rw - fuse s rw\n60 1 0:43 / /c rw - nfs4 s:/ rw\n";
const STUCK: &str = "[<0>] request_wait_answer+0x1/0x2\n[<0>] fuse_do_getattr+0x1/0x2\n";

impl Proc {
    fn new() -> Proc {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("msm-proc-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        fs::create_dir(&root).unwrap();
        Proc(root)
    }

    /// Adds a thread in this state and function.
    #[allow(clippy::too_many_arguments)] // one for each file
    fn task(&self, pid: u32, tid: u32, name: &str, state: char, channel: &str, syscall: &str, stack: &str) {
        let directory = self.0.join(format!("{pid}/task/{tid}"));
        fs::create_dir_all(&directory).unwrap();
        let stat = format!("{tid} ({name}) {state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 77 0 0\n");
        for (file, text) in [
            ("stat", stat.as_str()),
            ("wchan", channel),
            ("syscall", syscall),
            ("stack", stack),
            ("status", "voluntary_ctxt_switches:\t9\n"),
        ] {
            fs::write(directory.join(file), text).unwrap();
        }
        self.set_namespace(pid, tid, 1, WATCHED);
    }

    /// Puts a thread into this mount namespace.
    fn set_namespace(&self, pid: u32, tid: u32, namespace: u32, table: &str) {
        let directory = self.0.join(format!("{pid}/task/{tid}"));
        fs::create_dir_all(directory.join("ns")).unwrap();
        let _ = fs::remove_file(directory.join("ns/mnt"));
        std::os::unix::fs::symlink(format!("mnt:[{namespace}]"), directory.join("ns/mnt")).unwrap();
        fs::write(directory.join("mountinfo"), table).unwrap();
    }

    fn file(&self, pid: u32, fd: u32, mount: u32) {
        let directory = self.0.join(format!("{pid}/fdinfo"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(fd.to_string()), format!("pos:\t0\nmnt_id:\t{mount}\n")).unwrap();
    }

    fn found(&self, suspects: &[Suspect]) -> Vec<BlockedTasks> {
        let limits = ScanLimits { tasks: 1000, until: Instant::now() + Duration::from_secs(60) };
        let found = blocked_tasks(&self.0, suspects, &limits);
        found.into_iter().map(|tasks| tasks.found().cloned().unwrap()).collect()
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn suspect(minor: u32, mount: u32, family: Family, only_hung: bool) -> Suspect {
    let device_number = DeviceNumber { major: 0, minor };
    Suspect { device_number, mount_ids: vec![mount], family, only_hung }
}

fn names(tasks: &BlockedTasks) -> Vec<(u32, String)> {
    tasks.named.iter().map(|t| (t.pid, String::from_utf8_lossy(&t.name).into_owned())).collect()
}

#[test]
fn task_belongs_to_the_mount_of_the_file_of_its_system_call() {
    let proc = Proc::new();
    proc.task(20, 20, "reader", 'S', "request_wait_answer", "0 0x3 0x7f00000000 0x10", STUCK);
    proc.file(20, 3, 58);
    proc.task(21, 21, "other", 'S', "request_wait_answer", "0 0x4 0x7f00000000 0x10", STUCK);
    proc.file(21, 4, 59);
    proc.task(22, 22, "healthy", 'S', "do_epoll_wait", "232 0x3", "");
    proc.task(23, 23, "disk", 'D', "io_schedule", "0 0x3 0x7f00000000", "[<0>] ext4_x+0x1/0x2\n");
    proc.file(23, 3, 1);
    let found = proc.found(&[suspect(41, 58, Family::Fuse, false), suspect(42, 59, Family::Fuse, false)]);
    assert_eq!(names(&found[0]), [(20, "reader".to_owned())]);
    assert_eq!(names(&found[1]), [(21, "other".to_owned())]);
    assert!(found[0].complete && !found[0].of_user_only && found[0].count == 1);
}

#[test]
fn mount_of_another_namespace_is_found_in_its_table() {
    let proc = Proc::new();
    proc.task(20, 20, "inside", 'D', "rpc_wait_bit_killable", "1 0x3 0x7f00000000", "");
    proc.file(20, 3, 900);
    fs::create_dir(proc.0.join("20/ns")).unwrap();
    std::os::unix::fs::symlink("mnt:[4026531999]", proc.0.join("20/ns/mnt")).unwrap();
    fs::write(proc.0.join("20/mountinfo"), "900 1 0:41 / /data rw - nfs4 s:/e rw\n").unwrap();
    let found = proc.found(&[suspect(41, 58, Family::Nfs, false)]);
    assert_eq!(names(&found[0]), [(20, "inside".to_owned())]);
}

#[test]
fn task_without_a_file_belongs_to_the_only_hung_mount_of_its_family() {
    let proc = Proc::new();
    let path = "332 0xffffff9c 0x7ffef3d16a21 0x900 0xfff 0x7ffef3d14540";
    proc.task(20, 20, "ls", 'S', "request_wait_answer", path, STUCK);
    let nfs = suspect(43, 60, Family::Nfs, true);
    let found = proc.found(&[suspect(41, 58, Family::Fuse, true), nfs]);
    assert_eq!((found[0].count, found[1].count, found[1].unassigned), (1, 0, 0));
    // A mount that fails at once blocks no task.
    let found = proc.found(&[suspect(41, 58, Family::Fuse, false), suspect(42, 59, Family::Fuse, true)]);
    assert_eq!((found[0].count, found[1].count), (0, 1));
    for suspects in [
        vec![suspect(41, 58, Family::Fuse, false)],
        vec![suspect(41, 58, Family::Fuse, true), suspect(42, 59, Family::Fuse, true)],
    ] {
        let found = proc.found(&suspects);
        assert!(found.iter().all(|tasks| tasks.count == 0 && tasks.unassigned == 1), "{found:?}");
    }
}

#[test]
fn path_in_another_namespace_is_assigned_to_no_mount() {
    let proc = Proc::new();
    let path = "332 0xffffff9c 0x7ffef3d16a21 0x900 0xfff 0x7ffef3d14540";
    for pid in [20, 21, 22] {
        proc.task(pid, pid, "stat", 'S', "request_wait_answer", path, STUCK);
    }
    // One has the same file system, and perhaps others; one has none of it.
    proc.set_namespace(21, 21, 2, "900 1 0:41 / /data rw - fuse s rw\n901 1 0:77 / /other rw - fuse s rw\n");
    proc.set_namespace(22, 22, 3, "910 1 0:77 / /other rw - fuse s rw\n");
    let found = proc.found(&[suspect(41, 58, Family::Fuse, true)]);
    assert_eq!(names(&found[0]), [(20, "stat".to_owned())]);
    assert_eq!((found[0].count, found[0].unassigned), (1, 1));
}

#[test]
fn processes_of_this_program_are_left_out_and_no_others() {
    let proc = Proc::new();
    let task = |pid: u32, tid, name: &str| {
        proc.task(pid, tid, name, 'S', "request_wait_answer", "0 0x3", STUCK);
        proc.file(pid, 3, 58);
    };
    let runs = |pid: u32, tid: u32, program: &str| {
        std::os::unix::fs::symlink(program, proc.0.join(format!("{pid}/task/{tid}/exe"))).unwrap();
    };
    for (n, program) in [
        "/usr/bin/mount_status_monitor",
        "/opt/mount_status_monitor (deleted)",
        "/memfd:mount_status_monitor (deleted)",
        "/memfd:msm-launcher (deleted)",
    ]
    .into_iter()
    .enumerate()
    {
        let pid = 30 + u32::try_from(n).unwrap();
        task(pid, pid, "any name");
        runs(pid, pid, program);
    }
    // Without a program: the thread or its process has the name.
    task(40, 41, "msm-probe");
    proc.task(42, 42, "msm-collector", 'Z', "0", "", "");
    task(42, 43, "tasks");
    fs::write(proc.0.join("42/stat"), "42 (msm-collector) Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 77 0 0\n")
        .unwrap();
    task(50, 50, "msm-probe");
    runs(50, 50, "/usr/bin/python3");
    let found = proc.found(&[suspect(41, 58, Family::Fuse, true)]);
    assert_eq!(names(&found[0]), [(50, "msm-probe".to_owned())]);
}

#[test]
fn working_directory_counts_unless_the_stack_shows_another_family() {
    use std::os::unix::fs::MetadataExt as _;
    let proc = Proc::new();
    #[allow(clippy::disallowed_methods)] // our own directory
    let device = fs::metadata(&proc.0).unwrap().dev();
    let number = DeviceNumber {
        major: u32::try_from(device >> 8 & 0xfff).unwrap(),
        minor: u32::try_from(device & 0xff | device >> 12 & 0xfff00).unwrap(),
    };
    let here = |family| Suspect { device_number: number, mount_ids: vec![], family, only_hung: false };
    let path = "332 0xffffff9c 0x7ffef3d16a21 0x900";
    proc.task(20, 20, "first", 'S', "request_wait_answer", path, STUCK);
    proc.task(21, 21, "second", 'D', "folio_wait_bit_common", path, "[<0>] filemap_read+0x1/0x2\n");
    for pid in [20, 21] {
        std::os::unix::fs::symlink(&proc.0, proc.0.join(format!("{pid}/cwd"))).unwrap();
    }
    assert_eq!(proc.found(&[here(Family::Fuse)])[0].count, 2);
    // The first waits for a FUSE server, whatever its directory.
    let found = proc.found(&[here(Family::Nfs)]);
    assert_eq!(names(&found[0]), [(21, "second".to_owned())]);
}

#[test]
fn threads_are_counted_and_processes_are_named_up_to_a_limit() {
    let proc = Proc::new();
    for pid in 20..40 {
        for thread in 0..3 {
            proc.task(pid, pid * 100 + thread, "(a) b", 'S', "request_wait_answer", "0 0x3", STUCK);
        }
        proc.file(pid, 3, 58);
    }
    let found = proc.found(&[suspect(41, 58, Family::Fuse, true)]);
    assert_eq!((found[0].count, found[0].named.len()), (60, MAX_NAMED_TASKS));
    assert!(found[0].named.is_sorted_by_key(|task| task.pid) && found[0].named[0].name == b"(a) b");
}

#[test]
fn scan_beyond_its_limits_is_incomplete() {
    let proc = Proc::new();
    for pid in 20..40 {
        proc.task(pid, pid, "x", 'S', "request_wait_answer", "0 0x3", STUCK);
    }
    let suspects = [suspect(41, 58, Family::Fuse, true)];
    let limits = ScanLimits { tasks: 5, until: Instant::now() + Duration::from_secs(60) };
    let found = blocked_tasks(&proc.0, &suspects, &limits);
    assert!(
        matches!(&found[0], Observation::Found(tasks) if !tasks.complete && tasks.count == 5),
        "{found:?}"
    );
    let limits = ScanLimits { tasks: 1000, until: Instant::now() };
    let found = blocked_tasks(&proc.0, &suspects, &limits);
    assert!(
        matches!(&found[0], Observation::Found(tasks) if !tasks.complete && tasks.count == 0),
        "{found:?}"
    );
}

#[test]
fn invalid_files_are_no_tasks() {
    let proc = Proc::new();
    proc.task(20, 20, "x", 'S', "request_wait_answer", "0 0x3", STUCK);
    fs::write(proc.0.join("20/task/20/stat"), b"\xff(((").unwrap();
    fs::create_dir_all(proc.0.join("21/task/21")).unwrap();
    fs::create_dir_all(proc.0.join("notanumber/task/1")).unwrap();
    assert_eq!(proc.found(&[suspect(41, 58, Family::Fuse, true)])[0].count, 0);
}
