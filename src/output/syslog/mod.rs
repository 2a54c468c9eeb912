//! Syslog as a sink: the local daemon, a socket, or a collector on the network.
//!
//! The `syslog` crate writes to the sockets. This module adds what it lacks: reconnecting, timeouts of connects and
//! writes, the line end that separates messages over TCP, and timestamps in local time of the event (the crate's
//! formatter uses UTC and the time of writing).

mod packet;
mod target;

pub use target::SyslogTarget;

use super::drill::Outcome;
use super::sink::{Delivery, SinkWriter};
use super::{LogFn, lock};
use crate::children::files::FileWorker;
use crate::render::{Message, Priority};
use packet::{Packet, severity};
use platform::Errno;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use syslog::{Error, Facility, LogFormat as _, Logger, LoggerBackend};

/// Connects to sockets by their paths, and looks up names.
static SOCKETS: FileWorker = FileWorker::new();
static NAMES: FileWorker = FileWorker::new();

/// Where the local daemon listens, on one system or another.
const LOCAL_SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// Timeout of connecting to one address and of writing one message: the thread must return to apply changed settings.
const IO_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of addresses tried for one name.
const MAX_ADDRESSES: usize = 4;

/// Can change while the sink runs.
pub type SyslogSettings = Arc<Mutex<(SyslogTarget, Facility)>>;

pub struct SyslogWriter {
    settings: SyslogSettings,
    target: SyslogTarget,
    facility: Facility,
    log: LogFn,
    logger: Option<Logger<LoggerBackend, Packet>>,
    is_failure_logged: bool,
    problem: Option<Outcome>,
}

impl SyslogWriter {
    /// Connects later, in the sink's thread. Failures and recoveries are logged by `log`.
    pub fn new(settings: SyslogSettings, log: LogFn) -> SyslogWriter {
        let (target, facility) = lock(&settings).clone();
        SyslogWriter {
            settings,
            target,
            facility,
            log,
            logger: None,
            is_failure_logged: false,
            problem: None,
        }
    }

    fn reload_settings(&mut self) {
        let (target, facility) = lock(&self.settings).clone();
        if target != self.target || facility as u8 != self.facility as u8 {
            self.disconnect();
            (self.target, self.facility, self.is_failure_logged) = (target, facility, false);
        }
    }

    /// Connects if necessary, and writes.
    fn send(&mut self, message: &Message) -> io::Result<()> {
        if self.logger.as_ref().is_some_and(|logger| is_closed(&logger.backend)) {
            self.disconnect();
        }
        let logger = match &mut self.logger {
            Some(logger) => logger,
            none => none.insert(connect(&self.target, self.facility)?),
        };
        logger.formatter.format(&mut logger.backend, severity(message.priority), message).map_err(io_error)
    }

    /// Shuts a stream down first, because its buffered writer would try to write the rest when it is dropped.
    fn disconnect(&mut self) {
        match self.logger.take().map(|logger| logger.backend) {
            Some(LoggerBackend::Tcp(stream)) => drop(stream.get_ref().shutdown(Shutdown::Both)),
            Some(LoggerBackend::UnixStream(stream)) => drop(stream.get_ref().shutdown(Shutdown::Both)),
            Some(LoggerBackend::Unix(_) | LoggerBackend::Udp(..)) | None => {}
        }
    }

    fn describe(&self, error: &io::Error) -> Outcome {
        match (&self.target, error.kind()) {
            // A machine need not have a syslog.
            (SyslogTarget::Auto, ErrorKind::NotFound) => {
                Outcome::NobodyListening(Some("there is no local syslog".to_owned()))
            }
            _ => Outcome::Failed(error.to_string()),
        }
    }

    fn on_failure(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_failure_logged, true) {
            let text = format!("syslog ({}) cannot be reached: {error}; trying again", self.target);
            (self.log)(Priority::Warning, &text);
        }
    }
}

impl SinkWriter for SyslogWriter {
    /// Connects, so that a machine without syslog is reported at the start and not with the first message.
    fn open(&mut self) {
        if self.target == SyslogTarget::Off {
            return;
        }
        match connect(&self.target, self.facility) {
            Ok(logger) => self.logger = Some(logger),
            Err(error) => self.on_failure(&error),
        }
    }

    fn write(&mut self, message: &Message) -> Delivery {
        self.reload_settings();
        if self.target == SyslogTarget::Off {
            return Delivery::Done; // turned off while the message was queued
        }
        let was_connected = self.logger.is_some();
        let mut sent = self.send(message);
        // A restarted daemon has a new socket with the old name.
        if was_connected && sent.as_ref().is_err_and(|error| !is_too_long(error)) {
            self.disconnect();
            sent = self.send(message);
        }
        match sent {
            Ok(()) => {
                if std::mem::replace(&mut self.is_failure_logged, false) {
                    (self.log)(Priority::Notice, &format!("syslog ({}): connected again", self.target));
                }
                Delivery::Done
            }
            Err(error) => {
                self.disconnect();
                self.problem = Some(self.describe(&error));
                if is_too_long(&error) {
                    return Delivery::Lost;
                }
                self.on_failure(&error);
                Delivery::Retry
            }
        }
    }

    fn take_problem(&mut self) -> Option<Outcome> {
        self.problem.take()
    }
}

fn connect(target: &SyslogTarget, facility: Facility) -> io::Result<Logger<LoggerBackend, Packet>> {
    let packet = Packet::new(target, facility);
    let logger = match target {
        SyslogTarget::Off => return Err(ErrorKind::Unsupported.into()),
        SyslogTarget::Auto | SyslogTarget::Local => {
            let mut opened = LOCAL_SOCKETS.iter().map(|path| connect_to_path(Path::new(path)));
            let is_there = |result: &io::Result<_>| {
                !result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
            };
            let missing = || {
                let text = format!("there is no {}", LOCAL_SOCKETS.join(", no "));
                Err(io::Error::new(ErrorKind::NotFound, text))
            };
            Logger::new(opened.find(is_there).unwrap_or_else(missing)?, packet)
        }
        SyslogTarget::Unix(path) => Logger::new(connect_to_path(path)?, packet),
        SyslogTarget::Udp(address) => {
            let server = connect_any(address, Ok)?;
            let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            syslog::udp(packet, any, server).map_err(io_error)?
        }
        SyslogTarget::Tcp(address) => {
            let stream = connect_any(address, |server| TcpStream::connect_timeout(&server, IO_TIMEOUT))?;
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

fn connect_to_path(path: &Path) -> io::Result<LoggerBackend> {
    let (socket, is_stream) = SOCKETS.begin(IO_TIMEOUT)?.connect(path, true)?;
    Ok(match is_stream {
        true => LoggerBackend::UnixStream(io::BufWriter::new(UnixStream::from(socket))),
        false => LoggerBackend::Unix(UnixDatagram::from(socket)),
    })
}

/// The first of the addresses of a name for which `connect` succeeds.
fn connect_any<T>(name: &str, connect: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut result = Err(io::Error::new(ErrorKind::NotFound, "the name has no address"));
    let servers = match name.parse() {
        Ok(address) => vec![address],
        Err(_) => NAMES.begin(IO_TIMEOUT)?.resolve(name)?,
    };
    for server in servers.into_iter().take(MAX_ADDRESSES) {
        result = connect(server);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Whether the collector has closed the stream. Without this check the next message would be lost: the kernel accepts
/// it before it learns that the stream is closed.
fn is_closed(backend: &LoggerBackend) -> bool {
    let LoggerBackend::Tcp(stream) = backend else { return false };
    let stream = stream.get_ref();
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let is_closed = match stream.peek(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).is_err() || is_closed
}

fn is_too_long(error: &io::Error) -> bool {
    Errno::from_io(error) == Errno::EMSGSIZE
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
