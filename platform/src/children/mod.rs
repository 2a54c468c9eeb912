//! Child processes, by calls that all systems have.

pub(crate) mod child;
pub mod command;
pub(crate) mod spawn;
