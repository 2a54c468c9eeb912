//! Code that needs only POSIX, shared by all back-ends except `linux`. It is compiled for tests on every system, and
//! the back-end `interval` runs it on Linux.

pub(crate) mod channel;
pub mod evidence;
pub(crate) mod interval_timer;
pub(crate) mod namespace;
pub(crate) mod probe;
pub(crate) mod process;
