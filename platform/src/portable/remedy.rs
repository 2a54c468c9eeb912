//! Remedies on systems where none was ever run: every call is refused.

use crate::{DeviceNumber, MountKey};
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

pub const IS_SUPPORTED: bool = false;
pub const FUSE_CONNECTIONS: &str = "";
pub const NFS_SUPERBLOCKS: &str = "";

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(ErrorKind::Unsupported, "remedies are not supported on this system"))
}

#[derive(Debug)]
pub struct PinnedMount(Infallible);

/// As on Linux, where the descriptor is closed then.
impl Drop for PinnedMount {
    fn drop(&mut self) {}
}

impl PinnedMount {
    /// # Errors
    /// Always.
    pub fn open(_: &Path, _: MountKey) -> io::Result<Option<PinnedMount>> {
        unsupported()
    }

    pub fn is_attached(&self) -> io::Result<bool> {
        match self.0 {}
    }

    #[must_use]
    pub fn key(&self) -> MountKey {
        match self.0 {}
    }

    #[must_use]
    pub fn device(&self) -> DeviceNumber {
        match self.0 {}
    }

    pub fn force(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub fn detach(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub fn abort_fuse(&self, _: &Path) -> io::Result<()> {
        match self.0 {}
    }

    pub fn shut_down_nfs(&self, _: &Path) -> io::Result<()> {
        match self.0 {}
    }

    pub fn move_beneath(&self, _: &Path, _: MountKey) -> io::Result<bool> {
        match self.0 {}
    }
}

#[derive(Debug)]
pub struct PrivatePlace(Infallible);

impl PrivatePlace {
    /// # Errors
    /// Always.
    pub fn make(_: &Path) -> io::Result<PrivatePlace> {
        unsupported()
    }

    pub fn mount_point(&self, _: &Path) -> io::Result<PathBuf> {
        match self.0 {}
    }

    /// # Errors
    /// Always.
    pub fn remove(_: &Path) -> io::Result<()> {
        unsupported()
    }
}

#[derive(Debug)]
pub struct Placeholder(Infallible);

impl Placeholder {
    /// # Errors
    /// Always.
    pub fn make() -> io::Result<Placeholder> {
        unsupported()
    }

    pub fn attach(&self, _: &Path) -> io::Result<()> {
        match self.0 {}
    }
}

/// # Errors
/// Always.
pub fn move_in(_: &Path, _: MountKey, _: &Path) -> io::Result<bool> {
    unsupported()
}

/// Never.
#[must_use]
pub fn moves_beneath() -> bool {
    false
}

/// None: nothing is refused before the calls are.
#[must_use]
pub fn missing_capabilities() -> Vec<&'static str> {
    Vec::new()
}

/// None: nothing is refused before the calls are.
#[must_use]
pub fn refused_calls() -> Vec<&'static str> {
    Vec::new()
}

/// # Errors
/// Always.
pub fn continue_fuse_server(_: u32, _: u32) -> io::Result<bool> {
    unsupported()
}

#[derive(Debug)]
pub struct ChangeWindow(Infallible);

impl ChangeWindow {
    /// # Errors
    /// Always.
    pub fn open() -> io::Result<ChangeWindow> {
        unsupported()
    }

    #[must_use]
    pub fn close(self) -> Option<WindowChanges> {
        match self.0 {}
    }
}

#[derive(Debug)]
pub struct WindowChanges(Infallible);

impl WindowChanges {
    #[must_use]
    pub fn detached(&self) -> Vec<MountKey> {
        match self.0 {}
    }

    #[must_use]
    pub fn detached_after(&self, _: MountKey) -> Vec<MountKey> {
        match self.0 {}
    }
}
