//! An error number with its name.

use std::fmt;

/// A system error number (`errno(3)`), including those that have no name here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Errno(pub i32);

macro_rules! define_errnos {
    ($($name:ident)*) => {
        impl Errno {
            $(#[allow(missing_docs)] pub const $name: Errno = Errno(libc::$name);)*
        }
    };
}
define_errnos! {
    EPERM ENOENT EINTR EIO ENXIO EAGAIN ENOMEM EACCES EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ETXTBSY EFBIG ENOSPC EROFS EDQUOT ENOSYS EOPNOTSUPP ELOOP
    ENAMETOOLONG EPROTO EMSGSIZE ESTALE ENOTCONN ECONNABORTED ECONNREFUSED ECONNRESET EHOSTDOWN EHOSTUNREACH
    ENETUNREACH ESHUTDOWN ESRCH ETIMEDOUT
}

impl Errno {
    /// `ERESTARTSYS` of Linux: internal to the kernel, but an NFS call interrupted by `umount -f` returns it (seen on 6.1
    /// to 7.3).
    pub const RESTART: Errno = Errno(512);

    /// The number of an I/O error; `EIO` where it has none.
    #[must_use]
    pub fn from_io(error: &std::io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// The symbolic name (`ESTALE`), or `errno 512` for a number without one.
    #[must_use]
    pub fn name(self) -> String {
        match nix::errno::Errno::from_raw(self.0) {
            nix::errno::Errno::UnknownErrno => format!("errno {}", self.0),
            known => format!("{known:?}"),
        }
    }

    /// The system's description (`strerror(3)`).
    #[must_use]
    pub fn describe(self) -> &'static str {
        nix::errno::Errno::from_raw(self.0).desc()
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
