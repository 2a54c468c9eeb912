//! Syslog as a sink: the local daemon, a socket, or a collector on the network.
//!
//! The `syslog` crate speaks to the sockets. What it leaves open is done here: connecting again, time limits on
//! connecting and writing, the line end that separates messages on TCP, and stamps in local time of the moment when
//! something happened (its own formatter stamps UTC at the time of writing).

use super::sink::{Delivery, Output};
use super::stamp::rfc3164;
use super::{Message, PROCESS_NAME, Priority};
use jiff::tz::TimeZone;
use platform::Errno;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use syslog::{Error, Facility, Logger, LoggerBackend, Severity};

/// The longest packet to a socket or over TCP: rsyslog's default `MaxMessageSize` is 8 KiB.
const MAX_PACKET: usize = 8192;
/// The longest packet over UDP: RFC 3164's limit, which also fits in one Ethernet frame.
const MAX_UDP_PACKET: usize = 1024;
/// What is kept of the end of a message that is cut: the reason stands there.
const KEPT_TAIL: usize = 200;
/// Stands where something was cut out.
const CUT_MARK: &str = "[...]";
/// How long connecting to one address or writing one message may take. A collector slower than this is as good as
/// absent, and the thread has to come back to see whether there is a new one.
const IO_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Where syslog is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SyslogTarget {
    /// The local daemon at its usual sockets.
    Local,
    /// Nowhere.
    Off,
    /// A socket of the local machine.
    Unix(PathBuf),
    /// `HOST:PORT`, by datagrams.
    Udp(String),
    /// `HOST:PORT`, by a stream.
    Tcp(String),
}

impl FromStr for SyslogTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<SyslogTarget, String> {
        match text {
            "local" => return Ok(SyslogTarget::Local),
            "off" => return Ok(SyslogTarget::Off),
            _ => {}
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                path if path.starts_with('/') => Ok(SyslogTarget::Unix(path.into())),
                _ => Err("after unix: comes the absolute path of a socket".to_owned()),
            };
        }
        let (kind, address): (fn(String) -> SyslogTarget, _) =
            match (text.strip_prefix("udp://"), text.strip_prefix("tcp://")) {
                (Some(address), _) => (SyslogTarget::Udp, address),
                (_, Some(address)) => (SyslogTarget::Tcp, address),
                (None, None) => {
                    return Err("use local, off, unix:PATH, udp://HOST:PORT or tcp://HOST:PORT".to_owned());
                }
            };
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                Ok(kind(address.to_owned()))
            }
            _ => Err("after udp:// or tcp:// comes HOST:PORT, for example udp://loghost:514".to_owned()),
        }
    }
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyslogTarget::Local => f.write_str("local"),
            SyslogTarget::Off => f.write_str("off"),
            SyslogTarget::Unix(path) => write!(f, "unix:{}", path.display()),
            SyslogTarget::Udp(address) => write!(f, "udp://{address}"),
            SyslogTarget::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Called with what the sink has to say of itself.
pub type Tell = Box<dyn Fn(Priority, String) + Send>;

/// The output of the sink.
pub struct SyslogOutput {
    target: SyslogTarget,
    packet: Packet,
    tell: Tell,
    logger: Option<Logger<LoggerBackend, Packet>>,
    /// It was told that nothing can be written.
    complained: bool,
}

impl SyslogOutput {
    /// Nothing is connected before the sink's thread runs.
    #[must_use]
    pub fn new(target: SyslogTarget, facility: Facility, tell: Tell) -> SyslogOutput {
        let (hostname, limit, end) = match target {
            SyslogTarget::Local | SyslogTarget::Unix(_) | SyslogTarget::Off => (None, MAX_PACKET, ""),
            SyslogTarget::Udp(_) => (own_name(), MAX_UDP_PACKET, ""),
            SyslogTarget::Tcp(_) => (own_name(), MAX_PACKET, "\n"),
        };
        let packet = Packet { facility, hostname, limit, end, zone: TimeZone::UTC };
        SyslogOutput { target, packet, tell, logger: None, complained: false }
    }

    /// One try: connects if that is needed, and writes.
    fn send(&mut self, message: &Message) -> io::Result<()> {
        if self.logger.as_ref().is_some_and(|logger| hung_up(&logger.backend)) {
            self.disconnect();
        }
        let logger = match &mut self.logger {
            Some(logger) => logger,
            none => none.insert(connect(&self.target, self.packet.clone())?),
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
        self.packet.zone = TimeZone::system();
        match connect(&self.target, self.packet.clone()) {
            Ok(logger) => self.logger = Some(logger),
            Err(error) => self.unreachable(&error),
        }
    }

    fn write(&mut self, message: &Message) -> Delivery {
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

fn connect(target: &SyslogTarget, packet: Packet) -> io::Result<Logger<LoggerBackend, Packet>> {
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
    sent.as_ref().is_err_and(|error| Errno::of(error) == Errno::EMSGSIZE)
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

const fn severity(priority: Priority) -> Severity {
    match priority {
        Priority::Error => Severity::LOG_ERR,
        Priority::Warning => Severity::LOG_WARNING,
        Priority::Notice => Severity::LOG_NOTICE,
        Priority::Info => Severity::LOG_INFO,
        Priority::Debug => Severity::LOG_DEBUG,
    }
}

fn own_name() -> Option<String> {
    let name = hostname::get().ok()?.into_string().ok()?;
    let short = name.split('.').next().unwrap_or_default();
    (!short.is_empty()).then(|| short.to_owned())
}

/// RFC 3164: `<N>Mmm dd hh:mm:ss [HOST ]mount_status_monitor[PID]: TEXT`.
#[derive(Clone, Debug)]
struct Packet {
    facility: Facility,
    /// Only for packets that leave the machine.
    hostname: Option<String>,
    limit: usize,
    end: &'static str,
    zone: TimeZone,
}

impl syslog::LogFormat<&Message> for Packet {
    fn format<W: Write>(&self, w: &mut W, severity: Severity, message: &Message) -> Result<(), Error> {
        let mut packet =
            format!("<{}>{} ", self.facility as u8 | severity as u8, rfc3164(message.time, &self.zone));
        if let Some(hostname) = &self.hostname {
            packet.push_str(hostname);
            packet.push(' ');
        }
        packet.push_str(&format!("{PROCESS_NAME}[{}]: ", std::process::id()));
        let room = self.limit.saturating_sub(packet.len() + self.end.len());
        packet.push_str(&cut_middle(&message.text, room));
        packet.push_str(self.end);
        write!(w, "{packet}").map_err(Error::Write)
    }
}

/// The text in at most `limit` bytes: what it is about stands at its start, the reason at its end.
fn cut_middle(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let room = limit.saturating_sub(CUT_MARK.len());
    let tail = KEPT_TAIL.min(room / 2);
    let (mut head_end, mut tail_start) = (room - tail, text.len() - tail);
    while !text.is_char_boundary(head_end) {
        head_end -= 1;
    }
    while !text.is_char_boundary(tail_start) {
        tail_start += 1;
    }
    Cow::Owned(format!("{}{CUT_MARK}{}", &text[..head_end], &text[tail_start..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;
    use syslog::LogFormat as _;

    #[test]
    fn targets() {
        for (text, target) in [
            ("local", SyslogTarget::Local),
            ("off", SyslogTarget::Off),
            ("unix:/run/log", SyslogTarget::Unix("/run/log".into())),
            ("udp://loghost:514", SyslogTarget::Udp("loghost:514".into())),
            ("tcp://[::1]:601", SyslogTarget::Tcp("[::1]:601".into())),
        ] {
            assert_eq!(text.parse(), Ok(target.clone()));
            assert_eq!(target.to_string(), text);
        }
        for wrong in [
            "",
            "remote",
            "unix:",
            "unix:log",
            "udp://",
            "udp://host",
            "tcp://:514",
            "tcp://h:0",
            "udp://h:x",
        ] {
            assert!(wrong.parse::<SyslogTarget>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn packets() {
        let mut packet = Packet {
            facility: Facility::LOG_DAEMON,
            hostname: None,
            limit: MAX_PACKET,
            end: "",
            zone: TimeZone::UTC,
        };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_762_070_709);
        let mut message =
            Message { time, priority: Priority::Error, text: "Mount é".to_owned(), event: None };
        let written = |packet: &Packet, message: &Message| {
            let mut bytes = Vec::new();
            packet.format(&mut bytes, severity(message.priority), message).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let pid = std::process::id();
        let local = format!("<27>Nov  2 08:05:09 mount_status_monitor[{pid}]: Mount é");
        assert_eq!(written(&packet, &message), local);
        (packet.hostname, packet.end, packet.limit) = (Some("host".to_owned()), "\n", MAX_UDP_PACKET);
        let remote = format!("<27>Nov  2 08:05:09 host mount_status_monitor[{pid}]: Mount é\n");
        assert_eq!(written(&packet, &message), remote);
        message.text = format!("Mount failed health-check: /{} (hung: no answer in 3s)", "é".repeat(2000));
        let cut = written(&packet, &message);
        assert!(cut.len() <= MAX_UDP_PACKET && cut.len() > MAX_UDP_PACKET - 5, "{}", cut.len());
        assert!(cut.contains("health-check: /é") && cut.ends_with("é (hung: no answer in 3s)\n"), "{cut}");
    }

    #[test]
    fn tiny_limits_do_not_panic() {
        for limit in 0..20 {
            assert!(cut_middle(&"é".repeat(30), limit).len() <= limit.max(CUT_MARK.len()));
        }
    }
}
