//! Who listens.

use std::io;
use std::os::fd::AsFd;

/// None: no portable call tells it.
#[must_use]
pub fn listener_owners(_port: u16) -> Vec<u32> {
    Vec::new()
}

/// Does nothing, because nobody is found.
pub fn adopt_listener(_listener: &impl AsFd) -> io::Result<()> {
    Ok(())
}

/// False: nor one for the process at the other end of a connection.
#[must_use]
pub fn hang_up_listener(_connection: &impl AsFd) -> bool {
    false
}
