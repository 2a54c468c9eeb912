//! The storage of the daemon's own program and libraries hangs, or loses them.

use crate::common::{
    CommandOutput, Daemon, Lab, Process, free_address, monitor_command, ms, pause, program, run_isolated,
    wait_until,
};
use crate::http::{get, mount_json};
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of the program, and perhaps of its loader and libraries, on a file system that can hang.
struct OwnStorage {
    files: PathBuf,
    mount: PathBuf,
    loader: Option<String>,
}

impl OwnStorage {
    fn of_program(lab: &mut Lab) -> OwnStorage {
        let files = lab.scratch_path("files");
        fs::create_dir(&files).expect("create a directory");
        fs::copy(program(), files.join("program")).expect("copy the program");
        OwnStorage { files, mount: lab.scratch_path("storage"), loader: None }
    }

    /// `None` if the program needs no libraries.
    fn of_program_and_libraries(lab: &mut Lab) -> Option<OwnStorage> {
        let mut storage = OwnStorage::of_program(lab);
        let listed = Command::new("ldd").arg(program()).output().expect("ldd runs").stdout;
        for line in String::from_utf8(listed).expect("UTF-8").lines() {
            let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
            let name = Path::new(path).file_name().expect("a file").to_str().expect("UTF-8");
            fs::copy(path, storage.files.join(name)).expect("copy a library");
            if name.starts_with("ld-") {
                storage.loader = Some(name.to_owned());
            }
        }
        storage.loader.is_some().then_some(storage)
    }

    fn mount(&self, lab: &mut Lab) {
        let source = self.files.to_str().expect("UTF-8");
        lab.fuse_server().send_for(&format!("mount {{}} allow_other source={source}"), &self.mount);
    }

    /// The daemon from the files in this directory.
    fn command(&self, lab: &Lab, directory: &Path, arguments: &[&str]) -> Command {
        let program = directory.join("program");
        let command = match &self.loader {
            None => Command::new(program),
            Some(loader) => {
                let mut command = Command::new(directory.join(loader));
                command.arg("--library-path").arg(directory).arg(program);
                command
            }
        };
        lab.extend_command(command, arguments)
    }

    /// No page of the files is in memory, and none can be read.
    fn hang(&self, lab: &mut Lab) {
        lab.set_fault("mute", &self.mount);
        lab.set_fault("forget", &self.mount);
    }
}

#[test]
fn daemon_works_while_the_storage_of_its_program_hangs() {
    run_isolated(|lab| {
        let storage = OwnStorage::of_program(lab);
        assert_daemon_works_on_hung(&storage, lab);
    });
}

#[test]
fn daemon_works_while_the_storage_of_its_program_and_libraries_hangs() {
    run_isolated(|lab| match OwnStorage::of_program_and_libraries(lab) {
        Some(storage) => assert_daemon_works_on_hung(&storage, lab),
        None => lab.skip("the program is statically linked"),
    });
}

fn assert_daemon_works_on_hung(storage: &OwnStorage, lab: &mut Lab) {
    storage.mount(lab);
    let [first, second] = ["first", "second"].map(|name| lab.mount_fuse(name));
    let (daemon, address) = start(storage, lab, &[]);
    storage.hang(lab);
    assert!(is_healthy(address), "{}", daemon.transcript());
    // A new prober and a collector start.
    lab.set_fault("mute", &first);
    daemon.wait_for_failure(&first, "hung", QUICK_HANG);
    lab.set_fault("mute", &second);
    daemon.wait_for_failure(&second, "hung", QUICK_HANG);
    let has_evidence = || mount_json(address, &second)["evidence"].is_object();
    wait_until(ms(5000), "evidence is collected", has_evidence);
    lab.clear_fault(&first);
    daemon.wait_for_recovery(&first, ms(3000));
    daemon.assert_no_line("The launcher");
    // Another one takes over, and starts the next one.
    let [launcher, other] = daemon.both_launchers();
    launcher.send_signal(Signal::SIGKILL);
    lab.clear_fault(&second);
    daemon.wait_for_recovery(&second, ms(3000));
    wait_until(ms(4000), "the next launcher runs", || daemon.both_launchers()[0] != launcher);
    other.send_signal(Signal::SIGKILL);
    lab.set_fault("mute", &first);
    daemon.wait_for_failure(&first, "hung", QUICK_HANG);
    lab.clear_fault(&first);
    daemon.wait_for_recovery(&first, ms(3000));
    let zombies = || daemon.process.children().into_iter().filter(|child| child.state() == Some('Z')).count();
    wait_until(ms(1000), "every child is reaped", || zombies() == 0);
    let children = daemon.process.children();
    assert_eq!(get(address, "/metrics").status, 200);
    assert!(is_healthy(address));
    daemon.stop();
    wait_until(ms(1000), "its children have ended", || !children.iter().any(|child| child.is_alive()));
}

/// What the tests above would see without the copy in memory.
#[test]
fn daemon_that_runs_from_its_file_hangs_with_it() {
    run_isolated(|lab| {
        let storage = OwnStorage::of_program(lab);
        storage.mount(lab);
        let (daemon, address) = start(&storage, lab, &["--run-from-memory", "off"]);
        assert!(daemon.launchers().is_empty());
        // Children are started from the file now. If they read it while its pages are removed, the fault server waits for a
        // page that it does not serve.
        pause(ms(1500));
        storage.hang(lab);
        assert!(!is_healthy(address));
        daemon.send_signal(Signal::SIGTERM);
        pause(ms(2000));
        assert!(daemon.process.is_alive(), "{}", daemon.transcript());
        lab.clear_fault(&storage.mount);
        assert_eq!(daemon.exit_code_within(ms(5000)), Some(0));
    });
}

/// An upgrade that overwrites files in place. (The kernel protects the file that is executed, here the loader.)
#[test]
fn daemon_survives_the_truncation_of_its_program_and_libraries() {
    run_isolated(|lab| {
        let Some(storage) = OwnStorage::of_program_and_libraries(lab) else {
            return lab.skip("the program is statically linked");
        };
        let path = lab.mount_fuse("a");
        let address = free_address();
        let listen = address.to_string();
        let arguments = [QUICK, &["--listen-address", &listen]].concat();
        let daemon = Daemon::start(storage.command(lab, &storage.files, &arguments));
        for entry in fs::read_dir(&storage.files).expect("the directory exists") {
            let file = entry.expect("an entry").path();
            if !file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-")) {
                File::create(&file).expect("truncate a file");
            }
        }
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        assert!(is_healthy(address));
        lab.clear_fault(&path);
        daemon.wait_for_recovery(&path, ms(3000));
        daemon.stop();
    });
}

#[test]
fn no_process_maps_a_file() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let daemon = lab.start_daemon(QUICK);
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        wait_until(ms(3000), "a collector runs", || daemon.collector().is_some());
        for process in daemon.process.children().into_iter().chain([daemon.process]) {
            let name = fs::read_to_string(format!("/proc/{}/comm", process.0)).unwrap_or_default();
            assert_eq!(mapped_files(process), Vec::<String>::new(), "{name}");
        }
        assert!(maps(daemon.process).contains("/memfd:"));
        daemon.stop();
    });
}

/// The sysctl forbids memory that may be executed; here it is mapped instead.
#[test]
fn daemon_runs_from_memory_where_memory_files_may_not_be_executed() {
    run_isolated(|lab| {
        // Of the process namespace of this test.
        if fs::write("/proc/sys/vm/memfd_noexec", "2").is_err() {
            return lab.skip("vm.memfd_noexec cannot be set (Linux 6.3)");
        }
        let daemon = lab.start_daemon(QUICK);
        let processes = daemon.process.children().into_iter().chain([daemon.process]);
        assert_eq!(processes.flat_map(mapped_files).collect::<Vec<_>>(), Vec::<String>::new());
        assert!(maps(daemon.process).contains("/memfd:"));
        daemon.assert_no_line("Cannot run from memory");
        daemon.stop();
    });
}

#[test]
fn daemon_that_may_not_run_from_memory_says_so_and_works() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let socket = lab.scratch_path("socket");
        let mut command = Command::new("prlimit");
        command.args(["--fsize=65536", "--"]).arg(program());
        let arguments = [QUICK, &["--socket", socket.to_str().expect("UTF-8")]].concat();
        let daemon = Daemon::start(lab.extend_command(command, &arguments));
        let line = daemon.wait_for_line("Cannot run from memory: ", ms(100));
        assert!(line.text.contains("File too large"), "{line:?}");
        let status = |arguments: &[&str]| {
            let mut command = monitor_command();
            command.args(["status", "--socket"]).arg(&socket).args(arguments);
            CommandOutput::run(command, ms(2000))
        };
        assert_eq!(status(&["--json"]).json()["daemon"]["runs_from_memory"], false);
        status(&[]).assert_stdout_contains("The daemon runs from its file");
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        daemon.stop();
    });
}

fn start(storage: &OwnStorage, lab: &Lab, arguments: &[&str]) -> (Daemon, SocketAddr) {
    let address = free_address();
    let listen = address.to_string();
    let arguments = [QUICK, arguments, &["--listen-address", &listen]].concat();
    let daemon = Daemon::start(storage.command(lab, &storage.mount, &arguments));
    wait_until(ms(3000), "the daemon is healthy", || is_healthy(address));
    (daemon, address)
}

/// Whether `/-/healthy` answers in time.
fn is_healthy(address: SocketAddr) -> bool {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, ms(2000))?;
        stream.set_read_timeout(Some(ms(2000)))?;
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    answer().is_ok_and(|text| text.starts_with("HTTP/1.1 200 "))
}

/// Nothing if the process has ended, as a child that works on a file does.
fn maps(process: Process) -> String {
    fs::read_to_string(format!("/proc/{}/maps", process.0)).unwrap_or_default()
}

/// The files that the process needs: readable mappings that are not of a file in memory.
fn mapped_files(process: Process) -> Vec<String> {
    let maps = maps(process);
    let is_file = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1] != "---p" && fields[4] != "0" && !fields[5].starts_with("/memfd:")
    };
    maps.lines().filter(is_file).map(str::to_owned).collect()
}
