//! Systems without mount namespaces.

use crate::remedy::PinnedMount;
use crate::{MountKey, MountSource, MountTable, MountWatch};
use mio::{Interest, Registry, Token, event::Source};
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::Path;

/// Another mount namespace, which does not exist here.
#[derive(Debug)]
pub struct MountNamespace(Infallible);

impl MountNamespace {
    /// # Errors
    /// Always.
    pub fn open(_: &Path) -> io::Result<Option<MountNamespace>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "mount namespaces are not supported on this system"))
    }

    pub fn watch(&self, _: MountSource) -> io::Result<MountWatch> {
        match self.0 {}
    }

    pub fn table(&self) -> io::Result<MountTable> {
        match self.0 {}
    }

    pub fn pin(&self, _: &Path, _: MountKey) -> io::Result<Option<PinnedMount>> {
        match self.0 {}
    }

    pub fn unmount(&self, _: &Path) -> io::Result<()> {
        match self.0 {}
    }

    pub fn has_ended(&mut self) -> bool {
        match self.0 {}
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        match self.0 {}
    }

    #[must_use]
    pub fn inode(&self) -> u64 {
        match self.0 {}
    }

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
