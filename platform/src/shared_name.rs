//! Names that are copied by counting references: they can be long, and many values have the same.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shared<T: ?Sized>(Arc<T>);

/// A mount point.
pub type SharedPath = Shared<Path>;
/// Another name or text of a mount: few different ones, so the mounts have the smallest possible reference.
pub type SharedName = Shared<OsString>;

impl SharedPath {
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl SharedName {
    /// Whether both are copies of one, and not only equal.
    #[cfg(all(test, target_os = "linux", not(feature = "interval")))]
    pub(crate) fn is_same(&self, other: &SharedName) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether there is no other copy.
    #[cfg(all(target_os = "linux", not(feature = "interval")))]
    pub(crate) fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized + AsRef<Path>> AsRef<Path> for Shared<T> {
    fn as_ref(&self) -> &Path {
        (*self.0).as_ref()
    }
}

impl<T: ?Sized + AsRef<OsStr>> AsRef<OsStr> for Shared<T> {
    fn as_ref(&self) -> &OsStr {
        (*self.0).as_ref()
    }
}

impl From<PathBuf> for SharedPath {
    fn from(path: PathBuf) -> SharedPath {
        Shared(path.into())
    }
}

impl From<OsString> for SharedPath {
    fn from(path: OsString) -> SharedPath {
        PathBuf::from(path).into()
    }
}

impl<S: AsRef<OsStr> + ?Sized> From<&S> for SharedPath {
    fn from(path: &S) -> SharedPath {
        Shared(Path::new(path).into())
    }
}

impl From<OsString> for SharedName {
    fn from(name: OsString) -> SharedName {
        Shared(Arc::new(name))
    }
}

impl From<String> for SharedName {
    fn from(name: String) -> SharedName {
        OsString::from(name).into()
    }
}

impl<S: AsRef<OsStr> + ?Sized> From<&S> for SharedName {
    fn from(name: &S) -> SharedName {
        OsString::from(name).into()
    }
}

impl PartialEq<Path> for SharedPath {
    fn eq(&self, other: &Path) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<PathBuf> for SharedPath {
    fn eq(&self, other: &PathBuf) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<&Path> for SharedPath {
    fn eq(&self, other: &&Path) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<str> for SharedName {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for SharedName {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
