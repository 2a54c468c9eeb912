//! What a thread of this process does at one moment: two samples tell whether it is stuck in a system call.

/// A sample of a thread, taken by [`crate::process::ThreadSampler`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ThreadSample {
    /// It waits in a system call.
    Waiting {
        /// The call with its arguments, in the kernel's words; empty if the kernel does not tell.
        call: Vec<u8>,
        /// How many times the thread stopped running so far. Without a change it has not run.
        switches: u64,
    },
    /// It runs, is ready to run, is stopped, is not in a system call, or has ended.
    Elsewhere,
    /// The system does not tell.
    Unknown,
}
