//! What needs nothing beyond POSIX and is shared by the back-ends that have no Linux below them. All of it is compiled
//! for tests on every system, and the back-end `interval` makes Linux itself run on it.

pub(crate) mod channel;
pub mod evidence;
pub(crate) mod namespace;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod ticker;
