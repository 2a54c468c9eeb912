//! FUSE mounts whose server is the test itself, by the protocol of fuse(4), so that it controls when they respond. They
//! are made in a mount namespace of the test's thread and end with it.

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

/// `FUSE_INIT` and `FUSE_GETATTR` of linux/fuse.h.
const INIT: u32 = 26;
pub(crate) const GETATTR: u32 = 3;
/// Larger than the smallest buffer that the kernel accepts for reading requests (8 KiB).
const REQUEST: usize = 1 << 20;
/// Milliseconds that a probe may take to its first request on a busy machine.
const REQUEST_TIMEOUT: u16 = 20_000;

/// A tmpfs in a new mount namespace of the calling thread; `None`, with a message, if that is not permitted.
pub(crate) fn private_directory() -> Option<PathBuf> {
    let directory = PathBuf::from("/mnt");
    let made = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| {
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        })
        .and_then(|()| mount(Some("none"), &directory, Some("tmpfs"), MsFlags::empty(), Some("mode=755")));
    match (made, File::open("/dev/fuse")) {
        (Ok(()), Ok(_)) => Some(directory),
        (made, fuse) => {
            println!("skipped: needs root and FUSE: {made:?}, {:?}", fuse.err());
            None
        }
    }
}

/// A mounted FUSE file system and its server. Dropping it ends the server.
pub(crate) struct Fuse {
    pub(crate) path: PathBuf,
    server: File,
}

/// A request of the kernel.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) opcode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    unique: [u8; 8],
}

impl Fuse {
    pub(crate) fn mount(directory: &Path, name: &str, options: &str) -> Fuse {
        let path = directory.join(name);
        fs::create_dir(&path).unwrap();
        let server = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,{options}", server.as_raw_fd());
        mount(Some("test"), &path, Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
        let mut fuse = Fuse { path, server };
        let init = fuse.read_request();
        assert_eq!(init.opcode, INIT);
        let mut reply = [0; 64]; // struct fuse_init_out
        reply[0..4].copy_from_slice(&7u32.to_ne_bytes());
        reply[4..8].copy_from_slice(&31u32.to_ne_bytes());
        reply[20..24].copy_from_slice(&4096u32.to_ne_bytes()); // max_write
        fuse.reply(&init, 0, &reply);
        fuse
    }

    /// Reads the next request, after which its caller can no longer be killed.
    pub(crate) fn read_request(&mut self) -> Request {
        let mut ready = [PollFd::new(self.server.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut ready, REQUEST_TIMEOUT), Ok(1), "no request arrived");
        let mut buffer = vec![0; REQUEST];
        let length = self.server.read(&mut buffer).unwrap();
        assert!(length >= 40, "a request has a header");
        let number = |at: usize| u32::from_ne_bytes(buffer[at..at + 4].try_into().unwrap());
        let unique = buffer[8..16].try_into().unwrap();
        Request { opcode: number(4), uid: number(24), gid: number(28), unique }
    }

    pub(crate) fn reply(&mut self, request: &Request, errno: i32, data: &[u8]) {
        let mut packet = Vec::new();
        packet.extend_from_slice(&u32::try_from(16 + data.len()).unwrap().to_ne_bytes());
        packet.extend_from_slice(&(-errno).to_ne_bytes());
        packet.extend_from_slice(&request.unique);
        packet.extend_from_slice(data);
        self.server.write_all(&packet).unwrap();
    }
}
