//! What an event of the mount table means.

/// What the kernel has reported since the last call.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// The mount table may have changed and must be read.
    pub table: bool,
    /// The kernel waits for a file server but does not say which: all network file systems should be probed.
    pub server_not_responding: bool,
}
