//! The number of requests that wait in each FUSE connection (`waiting` below `fusectl`). It says neither which requests
//! wait nor since when. The files cannot be read twice (`nonseekable_open` in `fs/fuse/control.c`), so each sample opens
//! them.

use crate::DeviceNumber;
use crate::linux::evidence::connection;
use crate::signs::{Sign, Waiting};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The file systems among these with requests that wait. One that cannot be read is left out: it has ended, `fusectl`
/// is not mounted, or it belongs to somebody else.
pub(super) fn waiting(connections: &Path, devices: &[DeviceNumber]) -> Vec<Waiting> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = if devices.is_empty() { None } else { open(connections, flags, Mode::empty()).ok() };
    let Some(directory) = directory else { return Vec::new() };
    let is_waited_for = |device: &&DeviceNumber| read_count(&directory, **device).is_some_and(|n| n > 0);
    let of = |&device| Waiting { sign: Sign::Fuse(device), connection: connection(device), answers: 0 };
    devices.iter().filter(is_waited_for).map(of).collect()
}

fn read_count(connections: &OwnedFd, device: DeviceNumber) -> Option<u64> {
    let path = format!("{}/waiting", connection(device));
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(connections, path.as_str(), flags, Mode::empty()).ok()?);
    let mut buffer = [0; 32];
    let length = file.read(&mut buffer).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn connections_with_waiting_requests_are_found_while_they_exist() {
        let directory = std::env::temp_dir().join(format!("msm-fuse-signs-{}", std::process::id()));
        let set = |number: u32, text: &str| {
            fs::create_dir_all(directory.join(number.to_string())).unwrap();
            fs::write(directory.join(format!("{number}/waiting")), text).unwrap();
        };
        let sample = |minors: &[u32]| -> Vec<u32> {
            let devices: Vec<DeviceNumber> =
                minors.iter().map(|&minor| DeviceNumber { major: 0, minor }).collect();
            waiting(&directory, &devices).into_iter().map(|waiting| waiting.connection).collect()
        };
        assert_eq!(sample(&[40]), [0; 0], "fusectl is not mounted");
        for (number, text) in [(40, "0\n"), (41, "3\n"), (42, "9\n"), (44, "")] {
            set(number, text);
        }
        assert_eq!(sample(&[40, 41, 43, 44]), [41], "42 is not asked for, 43 does not exist, 44 is empty");
        set(40, "12\n");
        set(41, "0\n");
        assert_eq!(sample(&[40, 41]), [40]);
        fs::remove_dir_all(directory).unwrap();
    }
}
