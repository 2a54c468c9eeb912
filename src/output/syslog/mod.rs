//! Syslog as a sink: the local daemon, a socket, or a collector on the network.
//!
//! The `syslog` crate speaks to the sockets. What it leaves open is done here: connecting again, time limits on
//! connecting and writing, the line end that separates messages on TCP, and stamps in local time of the moment when
//! something happened (its own formatter stamps UTC at the time of writing).

mod packet;
mod target;

pub use target::SyslogTarget;

use super::sink::{Delivery, Output};
use crate::render::{Message, Priority};
use packet::{Packet, severity};
use platform::Errno;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use syslog::{Error, Facility, Logger, LoggerBackend};

/// How long connecting to one address or writing one message may take. A collector slower than this is as good as
/// absent, and the thread has to come back to see whether there is a new one.
const IO_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Called with what the sink has to say of itself.
pub type Tell = Box<dyn Fn(Priority, String) + Send>;

/// Where messages are to go, and as what: can be changed while the sink is in use.
#[derive(Clone)]
pub struct Wanted(Arc<Mutex<(SyslogTarget, Facility)>>);

impl Wanted {
    /// This, for now.
    #[must_use]
    pub fn new(target: SyslogTarget, facility: Facility) -> Wanted {
        Wanted(Arc::new(Mutex::new((target, facility))))
    }

    /// From now on this; for the next message. Is it another target?
    pub fn set(&self, target: SyslogTarget, facility: Facility) -> bool {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *wanted, (target.clone(), facility)).0 != target
    }

    fn get(&self) -> (SyslogTarget, Facility) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wanted").field(&self.get().0).finish()
    }
}

/// The output of the sink.
pub struct SyslogOutput {
    wanted: Wanted,
    target: SyslogTarget,
    facility: Facility,
    tell: Tell,
    logger: Option<Logger<LoggerBackend, Packet>>,
    /// It was told that nothing can be written.
    complained: bool,
}

impl SyslogOutput {
    /// Nothing is connected before the sink's thread runs.
    #[must_use]
    pub fn new(wanted: Wanted, tell: Tell) -> SyslogOutput {
        let (target, facility) = wanted.get();
        SyslogOutput { wanted, target, facility, tell, logger: None, complained: false }
    }

    fn look_for_other_wishes(&mut self) {
        let (target, facility) = self.wanted.get();
        if target != self.target || facility as u8 != self.facility as u8 {
            self.disconnect();
            (self.target, self.facility, self.complained) = (target, facility, false);
        }
    }

    /// One try: connects if that is needed, and writes.
    fn send(&mut self, message: &Message) -> io::Result<()> {
        if self.logger.as_ref().is_some_and(|logger| hung_up(&logger.backend)) {
            self.disconnect();
        }
        let logger = match &mut self.logger {
            Some(logger) => logger,
            none => none.insert(connect(&self.target, self.facility)?),
        };
        use syslog::LogFormat as _;
        logger.formatter.format(&mut logger.backend, severity(message.priority), message).map_err(io_error)
    }

    /// Closes for good: the buffered writer would try to write its rest when it is dropped.
    fn disconnect(&mut self) {
        match self.logger.take().map(|logger| logger.backend) {
            Some(LoggerBackend::Tcp(stream)) => drop(stream.get_ref().shutdown(Shutdown::Both)),
            Some(LoggerBackend::UnixStream(stream)) => drop(stream.get_ref().shutdown(Shutdown::Both)),
            Some(LoggerBackend::Unix(_) | LoggerBackend::Udp(..)) | None => {}
        }
    }

    fn unreachable(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            let text = format!("syslog ({}) cannot be reached: {error}; trying again", self.target);
            (self.tell)(Priority::Warning, text);
        }
    }

    fn reached(&mut self) {
        if std::mem::replace(&mut self.complained, false) {
            (self.tell)(Priority::Notice, format!("syslog ({}) is reached again", self.target));
        }
    }
}

impl Output for SyslogOutput {
    /// A machine without syslog is told at once, not at the first message.
    fn open(&mut self) {
        if self.target == SyslogTarget::Off {
            return;
        }
        match connect(&self.target, self.facility) {
            Ok(logger) => self.logger = Some(logger),
            Err(error) => self.unreachable(&error),
        }
    }

    fn write(&mut self, message: &Message) -> Delivery {
        self.look_for_other_wishes();
        if self.target == SyslogTarget::Off {
            return Delivery::Done; // it was turned off while this waited
        }
        let had_connection = self.logger.is_some();
        let mut sent = self.send(message);
        if sent.is_err() {
            self.disconnect();
            // A restarted daemon has a new socket under the old name: try that at once.
            if had_connection && !is_too_long(&sent) {
                sent = self.send(message);
            }
        }
        match sent {
            Ok(()) => {
                self.reached();
                Delivery::Done
            }
            Err(_) if is_too_long(&sent) => Delivery::Lost,
            Err(error) => {
                self.disconnect();
                self.unreachable(&error);
                Delivery::Later
            }
        }
    }
}

fn connect(target: &SyslogTarget, facility: Facility) -> io::Result<Logger<LoggerBackend, Packet>> {
    let packet = Packet::new(target, facility);
    let logger = match target {
        SyslogTarget::Off => return Err(ErrorKind::Unsupported.into()),
        SyslogTarget::Local => syslog::unix(packet).map_err(io_error)?,
        SyslogTarget::Unix(path) => syslog::unix_custom(packet, path).map_err(io_error)?,
        SyslogTarget::Udp(address) => {
            let server = first_working(address, Ok)?;
            let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            syslog::udp(packet, any, server).map_err(io_error)?
        }
        SyslogTarget::Tcp(address) => {
            let stream = first_working(address, |server| TcpStream::connect_timeout(&server, IO_TIMEOUT))?;
            Logger::new(LoggerBackend::Tcp(io::BufWriter::new(stream)), packet)
        }
    };
    match &logger.backend {
        LoggerBackend::Unix(socket) => socket.set_write_timeout(Some(IO_TIMEOUT))?,
        LoggerBackend::UnixStream(stream) => stream.get_ref().set_write_timeout(Some(IO_TIMEOUT))?,
        LoggerBackend::Tcp(stream) => stream.get_ref().set_write_timeout(Some(IO_TIMEOUT))?,
        LoggerBackend::Udp(..) => {}
    }
    Ok(logger)
}

fn first_working<T>(name: &str, attempt: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut result = Err(io::Error::new(ErrorKind::NotFound, "the name has no address"));
    for server in name.to_socket_addrs()?.take(MAX_ADDRESSES) {
        result = attempt(server);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Has the collector closed the stream? Without this look the first message after that would vanish: the kernel
/// takes it, and learns only then that nobody wants it.
fn hung_up(backend: &LoggerBackend) -> bool {
    let LoggerBackend::Tcp(stream) = backend else { return false };
    let stream = stream.get_ref();
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let gone = match stream.peek(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).is_err() || gone
}

fn is_too_long(sent: &io::Result<()>) -> bool {
    sent.as_ref().is_err_and(|error| Errno::from_io(error) == Errno::EMSGSIZE)
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) | Error::Write(error) => error,
        Error::Initialization(error) => match error.downcast::<Error>() {
            Ok(inner) => io_error(*inner),
            Err(error) => io::Error::new(ErrorKind::NotFound, error),
        },
    }
}
