//! Systems without mount namespaces.

use crate::MountWatch;
use mio::{Interest, Registry, Token, event::Source};
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::Path;

/// Whose a namespace is that a file names.
#[derive(Debug)]
pub enum FoundNamespace {
    /// The one in which this process is.
    Own,
    /// Another.
    Other(MountNamespace),
}

/// Another mount namespace, of which there is none.
#[derive(Debug)]
pub struct MountNamespace(Infallible);

impl MountNamespace {
    /// # Errors
    /// Always: this system has no mount namespaces.
    pub fn open(_: &Path) -> io::Result<FoundNamespace> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "mount namespaces are not supported on this system"))
    }

    /// A watch over its mount table.
    ///
    /// # Errors
    /// There is none of which this could be asked.
    pub fn watch(&self) -> io::Result<MountWatch> {
        match self.0 {}
    }

    /// Is there no use for it any more?
    pub fn has_ended(&mut self) -> bool {
        match self.0 {}
    }

    /// The path by which it was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self.0 {}
    }

    /// Its number.
    #[must_use]
    pub fn inode(&self) -> u64 {
        match self.0 {}
    }

    /// A descriptor for those who start probers in it.
    ///
    /// # Errors
    /// There is none of which this could be asked.
    pub fn try_clone_fd(&self) -> io::Result<File> {
        match self.0 {}
    }
}

impl Source for MountNamespace {
    fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        match self.0 {}
    }

    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        match self.0 {}
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        match self.0 {}
    }
}
