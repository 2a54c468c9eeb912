//! What the kernel has stacked on files: loop devices, what is on these (device mapper, md), swap files and exports of
//! the NFS server. Read from procfs and sysfs; the files are only named.

use crate::evidence::{BlockDevice, NamedFile, StackedFiles};
use crate::linux::mountinfo::{device_number, unescape};
use crate::linux::procfs::read_up_to;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Of each kind so many are looked at: more than any machine has of them.
const MAX_ENTRIES: usize = 4096;
/// Maximum size of a file that is read: a path, or the list of exports.
const MAX_FILE: u64 = 1 << 20;
/// Levels of devices on a loop device.
const MAX_LEVELS: usize = 8;

/// Reads below `proc` and `sys`.
#[must_use]
pub fn stacked_files(proc: &Path, sys: &Path) -> StackedFiles {
    let mut reader = Reader::default();
    let loops = loops(&sys.join("block"), &mut reader);
    let (swaps, exports) = (swaps(proc, &mut reader), exports(proc, &mut reader));
    StackedFiles { loops, swaps, exports, not_read: reader.not_read }
}

/// Reads files and directories, and remembers those that exist and could not be read to their end.
#[derive(Default)]
struct Reader {
    not_read: Vec<Vec<u8>>,
}

impl Reader {
    /// `None` if it does not exist, or no longer.
    fn text(&mut self, file: &Path) -> Option<Vec<u8>> {
        match read_up_to(file, MAX_FILE + 1) {
            Ok(text) if text.len() as u64 <= MAX_FILE => Some(text),
            Err(error) if is_absent(&error) => None,
            Ok(_) | Err(_) => self.failed(file),
        }
    }

    /// The content without the newline at its end.
    fn line(&mut self, file: &Path) -> Option<Vec<u8>> {
        let mut text = self.text(file)?;
        if text.ends_with(b"\n") {
            text.pop();
        }
        Some(text)
    }

    fn names(&mut self, directory: &Path) -> Vec<String> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Vec::new(),
            Err(_) => return self.failed(directory).unwrap_or_default(),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let names: Vec<String> = names.take(MAX_ENTRIES).collect();
        self.check_count(names.len(), directory);
        names
    }

    fn check_count(&mut self, count: usize, file: &Path) {
        if count >= MAX_ENTRIES {
            self.failed::<()>(file);
        }
    }

    fn failed<T>(&mut self, file: &Path) -> Option<T> {
        self.not_read.push(file.as_os_str().as_bytes().to_vec());
        None
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn loops(block: &Path, reader: &mut Reader) -> Vec<(NamedFile, Vec<BlockDevice>)> {
    let mut loops = Vec::new();
    for name in reader.names(block).into_iter().filter(|name| name.starts_with("loop")) {
        let Some(file) = reader.line(&block.join(&name).join("loop/backing_file")) else { continue };
        let mut devices = Vec::new();
        add_device(block, &block.join(&name), &name, MAX_LEVELS, &mut devices, reader);
        loops.push((NamedFile { path: file, user: name.into_bytes() }, devices));
    }
    loops
}

/// Adds a device, its partitions, and the devices that use these.
fn add_device(
    block: &Path,
    directory: &Path,
    name: &str,
    levels: usize,
    devices: &mut Vec<BlockDevice>,
    reader: &mut Reader,
) {
    let is_known = devices.iter().any(|known| known.name == name.as_bytes());
    if levels == 0 || devices.len() >= MAX_ENTRIES || is_known {
        return;
    }
    let Some(number) = reader.line(&directory.join("dev")).and_then(|text| device_number(&text)) else {
        return;
    };
    let mapped_name = reader.line(&directory.join("dm/name"));
    devices.push(BlockDevice { name: name.into(), mapped_name, number });
    for partition in reader.names(directory).into_iter().filter(|partition| partition.starts_with(name)) {
        add_device(block, &directory.join(&partition), &partition, levels - 1, devices, reader);
    }
    for holder in reader.names(&directory.join("holders")) {
        add_device(block, &block.join(&holder), &holder, levels - 1, devices, reader);
    }
}

fn swaps(proc: &Path, reader: &mut Reader) -> Vec<NamedFile> {
    let file = proc.join("swaps");
    let text = reader.text(&file).unwrap_or_default();
    let files = text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == b"file").then(|| NamedFile { path: unescape(path).as_bytes().to_vec(), user: Vec::new() })
    });
    let files: Vec<NamedFile> = files.take(MAX_ENTRIES).collect();
    reader.check_count(files.len(), &file);
    files
}

/// `PATH CLIENT(OPTIONS)`, and comments. The second file is there without `/proc/fs/nfsd` being mounted.
fn exports(proc: &Path, reader: &mut Reader) -> Vec<NamedFile> {
    let file = proc.join("fs/nfsd/exports");
    let text = reader.text(&file).or_else(|| reader.text(&proc.join("fs/nfs/exports"))).unwrap_or_default();
    let exports =
        text.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"/")).filter_map(|line| {
            let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
            let (path, clients) = (fields.next()?, fields.next().unwrap_or_default());
            let client = clients.split(|&byte| byte == b'(').next().unwrap_or_default();
            Some(NamedFile { path: unescape(path).as_bytes().to_vec(), user: client.to_vec() })
        });
    let exports: Vec<NamedFile> = exports.take(MAX_ENTRIES).collect();
    reader.check_count(exports.len(), &file);
    exports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceNumber;
    use std::fs;

    #[test]
    fn loop_devices_swaps_and_exports_are_read() {
        let folder = std::env::temp_dir().join(format!("msm-stacked-{}", std::process::id()));
        let (proc, sys) = (folder.join("proc"), folder.join("sys"));
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            &proc.join("swaps"),
            "Filename\tType\tSize\n/dev/sda2 partition 1 0 -2\n/srv/a\\040b   file 1 0 -3\n",
        );
        write(&proc.join("fs/nfsd/exports"), "# Version 1.1\n/srv\\040x\t10.0.0.0/8(rw,fsid=1)\n");
        let block = sys.join("block");
        write(&block.join("loop0/loop/backing_file"), "/srv/image 1\n");
        write(&block.join("loop0/dev"), "7:0\n");
        write(&block.join("loop0/holders/dm-3/x"), "");
        write(&block.join("loop0/loop0p1/dev"), "259:0\n");
        write(&block.join("loop0/loop0p1/holders/dm-4/x"), "");
        write(&block.join("dm-4/dev"), "252:4\n");
        write(&block.join("loop1/dev"), "7:1\n"); // unused
        write(&block.join("dm-3/dev"), "252:3\n");
        write(&block.join("dm-3/dm/name"), "secret\n");
        write(&block.join("dm-3/holders/loop0/x"), ""); // a cycle ends
        let named = |path: &str, user: &str| NamedFile { path: path.into(), user: user.into() };
        let device = |name: &str, mapped: Option<&str>, major, minor| BlockDevice {
            name: name.into(),
            mapped_name: mapped.map(Into::into),
            number: DeviceNumber { major, minor },
        };
        let expected = StackedFiles {
            loops: vec![(
                named("/srv/image 1", "loop0"),
                vec![
                    device("loop0", None, 7, 0),
                    device("loop0p1", None, 259, 0),
                    device("dm-4", None, 252, 4),
                    device("dm-3", Some("secret"), 252, 3),
                ],
            )],
            swaps: vec![named("/srv/a b", "")],
            exports: vec![named("/srv x", "10.0.0.0/8")],
            not_read: Vec::new(),
        };
        assert_eq!(stacked_files(&proc, &sys), expected);
        fs::remove_file(proc.join("fs/nfsd/exports")).unwrap();
        write(&proc.join("fs/nfs/exports"), "/other\t*(rw)\n");
        fs::remove_file(proc.join("swaps")).unwrap();
        fs::create_dir(proc.join("swaps")).unwrap();
        let found = stacked_files(&proc, &sys);
        assert_eq!(found.exports, [named("/other", "*")]);
        let unreadable = proc.join("swaps").as_os_str().as_bytes().to_vec();
        assert_eq!(found.not_read, [unreadable]);
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(stacked_files(Path::new("/nowhere"), Path::new("/nowhere")), StackedFiles::default());
    }
}
