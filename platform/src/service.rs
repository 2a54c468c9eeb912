//! The service manager that started us, told by the protocol of `sd_notify(3)`: small datagrams to the socket that is
//! named in `NOTIFY_SOCKET`.
//!
//! Not by the crate `sd-notify`: it walks to the socket's path with each message and waits until there is room in the
//! socket. The service manager is process 1, which looks at mounts and may hang on one; its socket then fills up, and
//! whoever waits for it hangs too.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// What the service manager wants to hear, and where.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names, if it does. To be called before any thread is started: the variables are
    /// taken out of the environment, so that no child takes itself for the service.
    ///
    /// # Errors
    /// Those of `socket(2)` and `connect(2)`; an address of another kind than `unix(7)` has.
    pub fn from_env() -> io::Result<Option<ServiceManager>> {
        let [socket, watchdog, pid] = [SOCKET, WATCHDOG, WATCHDOG_PID].map(|name| {
            let value = std::env::var_os(name);
            if value.is_some() && is_alone() {
                // SAFETY: no other thread is there that could read the environment at this moment.
                unsafe { std::env::remove_var(name) };
            }
            value
        });
        let Some(socket) = socket else { return Ok(None) };
        let watchdog = patience(watchdog.as_deref(), pid.as_deref(), std::process::id());
        Ok(Some(ServiceManager::new(connect(&socket)?, watchdog)?))
    }

    /// Behind this connected socket, and with this patience with a service that it hears nothing of.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn new(socket: UnixDatagram, watchdog: Option<Duration>) -> io::Result<ServiceManager> {
        socket.set_nonblocking(true)?;
        Ok(ServiceManager { socket, watchdog })
    }

    /// After so much time without `WATCHDOG=1` it kills us.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends `VARIABLE=value` lines. Never waits.
    ///
    /// # Errors
    /// `WouldBlock` while the service manager does not read; those of `send(2)`.
    pub fn send(&self, lines: &str) -> io::Result<()> {
        loop {
            match self.socket.send(lines.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(drop), // a datagram is never sent in part
            }
        }
    }
}

/// Microseconds of `CLOCK_MONOTONIC`: by them the service manager knows which of its requests to reload is meant.
#[must_use]
pub fn monotonic_usec() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes into a structure that is there; it cannot fail with this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000
}

/// Once and not for each message: the walk to a path may hang on what lies on the way, later on.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => abstract_address(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "no address of a Unix socket")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no abstract addresses"))
}

/// Is this the only thread? Where that is not known, the environment is left as it is.
fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.take(2).count() == 1)
}

fn patience(usec: Option<&OsStr>, pid: Option<&OsStr>, ours: u32) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    // A watchdog over the process that started us is none of our business.
    if pid.is_some_and(|pid: &OsStr| number(pid) != Some(ours.into())) {
        return None;
    }
    usec.and_then(number).filter(|&usec| usec > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_ours_or_none() {
        let secs = Duration::from_secs;
        for (usec, pid, expected) in [
            (None, None, None),
            (Some("30000000"), None, Some(secs(30))),
            (Some("30000000"), Some("77"), Some(secs(30))),
            (Some("30000000"), Some("78"), None),
            (Some("30000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (Some("soon"), None, None),
        ] {
            let found = patience(usec.map(OsStr::new), pid.map(OsStr::new), 77);
            assert_eq!(found, expected, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn a_full_socket_makes_nobody_wait() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let manager = ServiceManager::new(ours, None).unwrap();
        let mut sent = 0;
        let error = loop {
            match manager.send("WATCHDOG=1") {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(sent > 0);
        let mut buffer = [0; 32];
        assert_eq!(theirs.recv(&mut buffer).unwrap(), 10);
        manager.send("READY=1").expect("there is room again");
    }

    #[test]
    fn addresses() {
        let path = std::env::temp_dir().join(format!("msm-notify-{}", std::process::id()));
        let theirs = UnixDatagram::bind(&path).unwrap();
        let ours = connect(path.as_os_str()).unwrap();
        ours.send(b"x").unwrap();
        assert_eq!(theirs.recv(&mut [0; 4]).unwrap(), 1);
        std::fs::remove_file(&path).unwrap();
        assert!(connect(path.as_os_str()).is_err());
        assert!(connect(OsStr::new("vsock:2:1234")).is_err());
        assert!(connect(OsStr::new("")).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_addresses() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("msm-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let theirs = UnixDatagram::bind_addr(&address).unwrap();
        connect(OsStr::new(&format!("@{name}"))).unwrap().send(b"x").unwrap();
        assert_eq!(theirs.recv(&mut [0; 4]).unwrap(), 1);
    }
}
