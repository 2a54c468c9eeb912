//! What an event of the mount table means.

/// What the kernel has to say since it was asked last.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// The mount table is not as it was: read it.
    pub table: bool,
    /// The kernel itself waits for a file server, and does not say for which: ask all network file systems at once.
    pub server_not_responding: bool,
}
