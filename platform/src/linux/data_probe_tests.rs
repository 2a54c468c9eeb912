use super::*;
use crate::linux::mount_identity::statx;
use crate::{FsKind, MountKey, User};
use std::cell::RefCell;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const OWN_FILE: &str = ".monitor-0000-1111";

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("msm-data-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("in")).unwrap();
        Directory(path)
    }

    fn probe(&self, kind: DataKind, path: &str) -> (Result<bool, Failure>, Vec<Call>) {
        let name = CString::new(self.0.as_os_str().as_bytes()).unwrap();
        let found = statx(&name, libc::AT_STATX_DONT_SYNC, libc::STATX_MNT_ID).unwrap();
        let target = Target {
            path: self.0.as_os_str(),
            kind: FsKind::Local,
            key: MountKey(found.stx_mnt_id),
            id: u32::try_from(found.stx_mnt_id).unwrap(),
            owner: None,
            user: User::System,
            data: None,
        };
        let data = DataProbe { kind, path: path.into(), identity: None, own_file: OWN_FILE.to_owned() };
        let calls = RefCell::new(Vec::new());
        let result = probe(&name, &target, &data, &|call| calls.borrow_mut().push(call));
        (result, calls.into_inner())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.join("in"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn age(path: &Path, seconds: u64) {
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn file_is_read_and_what_is_none_is_refused() {
    let directory = Directory::new("read");
    let inside = directory.0.join("in");
    fs::write(inside.join("file"), "x").unwrap();
    fs::write(inside.join("empty"), "").unwrap();
    symlink("file", inside.join("link")).unwrap();
    symlink(".", directory.0.join("link")).unwrap();
    nix::unistd::mkfifo(&inside.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let read = |path| directory.probe(DataKind::Read, path);
    let (result, calls) = read("in/file");
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(calls, [Call::Identify, Call::Open, Call::Read, Call::Close]);
    for (path, failure) in [
        ("in/empty", (Call::Read, Errno::EINVAL)),
        ("in/none", (Call::Open, Errno::ENOENT)),
        ("in/link", (Call::Open, Errno::ELOOP)),
        ("link/file", (Call::Open, Errno::ELOOP)),
        ("in/pipe", (Call::Open, Errno::ENXIO)),
        ("in", (Call::Open, Errno::ENXIO)),
        ("in/../../etc/passwd", (Call::Open, Errno::EXDEV)),
        ("/etc/passwd", (Call::Open, Errno::EXDEV)),
    ] {
        assert_eq!(read(path).0, Err(failure), "{path}");
    }
}

#[test]
fn file_is_written_compared_and_removed() {
    let directory = Directory::new("write");
    let (result, calls) = directory.probe(DataKind::Write, "in");
    assert!(result.is_ok(), "{result:?}");
    use Call::{Close, Identify, Open, Read, Remove, Write};
    assert_eq!(calls, [Identify, Open, Remove, Open, Write, Read, Close, Remove]);
    assert_eq!(directory.names(), Vec::<String>::new());
    symlink("in", directory.0.join("link")).unwrap();
    assert_eq!(directory.probe(DataKind::Write, "link").0, Err((Open, Errno::ELOOP)));
    fs::write(directory.0.join("file"), "").unwrap();
    assert_eq!(directory.probe(DataKind::Write, "file").0, Err((Open, Errno::ENOTDIR)));
}

#[test]
fn left_files_of_this_machine_are_removed_and_no_others() {
    let directory = Directory::new("left");
    let inside = directory.0.join("in");
    for (name, seconds) in [
        (OWN_FILE, 0),
        (".monitor-0000-2222", 3_600), // of an earlier boot
        (".monitor-0000-3333", 10),    // perhaps of a machine with the same id, which runs
        (".monitor-4444-1111", 3_600), // of another machine
        ("important", 3_600),
    ] {
        fs::write(inside.join(name), "x").unwrap();
        age(&inside.join(name), seconds);
    }
    assert!(directory.probe(DataKind::Write, "in").0.is_ok());
    assert_eq!(directory.names(), [".monitor-0000-3333", ".monitor-4444-1111", "important"]);
    // A link that somebody put there is removed, and not what it leads to.
    symlink("important", inside.join(OWN_FILE)).unwrap();
    assert!(directory.probe(DataKind::Write, "in").0.is_ok());
    assert_eq!(fs::read(inside.join("important")).unwrap(), b"x");
    fs::create_dir(inside.join(OWN_FILE)).unwrap();
    assert!(matches!(
        directory.probe(DataKind::Write, "in").0,
        Err((Call::Remove, Errno::EISDIR | Errno::EPERM))
    ));
}
