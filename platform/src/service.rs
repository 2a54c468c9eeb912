//! Notifications to the service manager by the protocol of sd_notify(3): datagrams to the socket in `NOTIFY_SOCKET`.
//!
//! The crate `sd-notify` walks to the socket's path with each message and blocks while the socket is full. But the
//! service manager accesses mounts itself: when it hangs on one, its socket fills up and the sender would hang too.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The connection to the service manager.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The service manager that the environment names, if any. Removes the variables, because children must not act as
    /// the service; so it must be called before any thread is started.
    ///
    /// # Errors
    /// Those of `socket(2)` and `connect(2)`; an address that is not one of unix(7).
    pub fn from_env() -> io::Result<Option<ServiceManager>> {
        let [socket, watchdog, pid] = [SOCKET, WATCHDOG, WATCHDOG_PID].map(|name| {
            let value = std::env::var_os(name);
            if value.is_some() && is_only_thread() {
                // SAFETY: no other thread exists that could access the environment.
                unsafe { std::env::remove_var(name) };
            }
            value
        });
        let Some(socket) = socket else { return Ok(None) };
        let watchdog = watchdog_timeout(watchdog.as_deref(), pid.as_deref(), std::process::id());
        Ok(Some(ServiceManager::new(connect(&socket)?, watchdog)?))
    }

    /// Uses this connected socket and this watchdog timeout.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn new(socket: UnixDatagram, watchdog: Option<Duration>) -> io::Result<ServiceManager> {
        socket.set_nonblocking(true)?;
        Ok(ServiceManager { socket, watchdog })
    }

    /// The service is killed after this time without `WATCHDOG=1`.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends `VARIABLE=value` lines; never blocks.
    ///
    /// # Errors
    /// `WouldBlock` while the service manager does not read; those of `send(2)`.
    pub fn send(&self, lines: &str) -> io::Result<()> {
        loop {
            match self.socket.send(lines.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(drop), // datagrams are never sent in part
            }
        }
    }
}

/// Microseconds of `CLOCK_MONOTONIC`, by which the service manager assigns a `RELOADING=1` to its request.
#[must_use]
pub fn monotonic_usec() -> u64 {
    u64::try_from(crate::monotonic_time().as_micros()).unwrap_or(u64::MAX)
}

/// Resolves the path only once, because resolving it later may hang on a dead mount.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => abstract_address(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "not an address of a Unix socket")),
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
    Err(io::Error::new(io::ErrorKind::Unsupported, "abstract addresses are not supported on this system"))
}

/// False where the threads are not known.
fn is_only_thread() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.take(2).count() == 1)
}

fn watchdog_timeout(usec: Option<&OsStr>, pid: Option<&OsStr>, ours: u32) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    // The watchdog may be meant for our parent process.
    if pid.is_some_and(|pid: &OsStr| number(pid) != Some(ours.into())) {
        return None;
    }
    usec.and_then(number).filter(|&usec| usec > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_of_another_process_is_ignored() {
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
            let found = watchdog_timeout(usec.map(OsStr::new), pid.map(OsStr::new), 77);
            assert_eq!(found, expected, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn full_socket_does_not_block() {
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
    fn only_paths_are_addresses_without_at_sign() {
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
    fn abstract_address_begins_with_at_sign() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("msm-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let theirs = UnixDatagram::bind_addr(&address).unwrap();
        connect(OsStr::new(&format!("@{name}"))).unwrap().send(b"x").unwrap();
        assert_eq!(theirs.recv(&mut [0; 4]).unwrap(), 1);
    }
}
