//! Reading and watching the mount table.

use crate::MountTable;
use mio::{Interest, Registry, Token, event::Source};
use std::io;
use std::path::Path;

/// The mount table of one mount namespace and the event that it changed.
#[derive(Debug)]
pub struct MountWatch {}

impl MountWatch {
    /// Opens the table at `path` (`/proc/self/mountinfo`). Register it with a poll *before* the first read: the
    /// kernel's change counter is consumed by the registration, and a change in between would go unseen.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn open(_path: &Path) -> io::Result<MountWatch> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads the whole table from the mountinfo text.
    ///
    /// # Errors
    /// Those of `read(2)`; a line that cannot be understood is an error that quotes it.
    pub fn read(&mut self) -> io::Result<MountTable> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads what an event announced, in the cheapest way that this kernel offers; equals [`MountWatch::read`].
    ///
    /// # Errors
    /// As [`MountWatch::read`].
    pub fn refresh(&mut self) -> io::Result<MountTable> {
        self.read()
    }
}

impl Source for MountWatch {
    fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }
    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }
    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}
