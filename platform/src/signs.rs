//! Early signs of a dead mount: what the kernel shows, without a request to the storage, while a task waits for it.

use crate::DeviceNumber;

pub use crate::system::signs::{IS_SUPPORTED, SignReader};

/// Where tasks wait. It is a reason to probe and never a verdict: long waits may be legitimate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Sign {
    /// For the server of this FUSE file system.
    Fuse(DeviceNumber),
    /// For the NFS server with this address, written as in the option `addr=` of its mounts.
    Server(Vec<u8>),
}

/// One sample of requests that wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    pub sign: Sign,
    /// Distinguishes several connections with the same sign.
    pub connection: u32,
    /// Grows with each answer that arrives; always 0 where the kernel does not count answers.
    pub answers: u64,
}
