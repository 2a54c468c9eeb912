//! Helper processes, started by exec from this program: whatever may hang happens in one of them.

pub mod collector;
pub mod prober;
