//! The system calls of remedies. Each changes the machine, and each may wait for storage forever: they are made only in a
//! child that carries out one step.
//!
//! `pinned` is one mount, held so that `MNT_FORCE`, `MNT_DETACH` and the control files of the kernel hit no other;
//! `placing` makes mounts at a private place and moves them in; `window` tells which mounts came and went during a call;
//! `server` continues a stopped FUSE server; `rights` is what this process may do.

mod pinned;
mod placing;
mod rights;
mod server;
mod window;

pub use pinned::PinnedMount;
pub use placing::{Placeholder, PrivatePlace, move_in, moves_beneath};
pub use rights::{missing_capabilities, refused_calls};
pub use server::continue_fuse_server;
pub use window::{ChangeWindow, WindowChanges};

/// Whether steps can be made on this system.
pub const IS_SUPPORTED: bool = true;
pub const FUSE_CONNECTIONS: &str = "/sys/fs/fuse/connections";
pub const NFS_SUPERBLOCKS: &str = "/sys/fs/nfs";
