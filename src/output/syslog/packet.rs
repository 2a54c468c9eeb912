//! One message as a syslog packet.

use super::SyslogTarget;
use crate::render::Message;
use crate::render::PROCESS_NAME;
use crate::render::Priority;
use crate::render::timestamp::rfc3164;
use jiff::tz::TimeZone;
use std::borrow::Cow;
use std::io::Write;
use std::sync::LazyLock;
use syslog::{Error, Facility, Severity};

/// Maximum size of a packet to a socket or over TCP: rsyslog's default `MaxMessageSize` is 8 KiB.
const MAX_PACKET: usize = 8192;
/// Maximum size of a packet over UDP: the limit of RFC 3164, which also fits in one Ethernet frame.
const MAX_UDP_PACKET: usize = 1024;
/// Number of bytes kept of the end of a truncated message, which contains the reason.
const KEPT_TAIL: usize = 200;
/// Replaces the removed part.
const CUT_MARK: &str = "[...]";

/// A formatter for RFC 3164: `<N>Mmm dd hh:mm:ss [HOST ]mount_status_monitor[PID]: TEXT`.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    facility: Facility,
    /// For packets that leave the machine.
    hostname: Option<String>,
    limit: usize,
    end: &'static str,
    zone: TimeZone,
}

impl Packet {
    pub(super) fn new(target: &SyslogTarget, facility: Facility) -> Packet {
        let (hostname, limit, end) = match target {
            SyslogTarget::Auto | SyslogTarget::Local | SyslogTarget::Unix(_) | SyslogTarget::Off => {
                (None, MAX_PACKET, "")
            }
            SyslogTarget::Udp(_) => (short_hostname(), MAX_UDP_PACKET, ""),
            SyslogTarget::Tcp(_) => (short_hostname(), MAX_PACKET, "\n"),
        };
        Packet { facility, hostname, limit, end, zone: local_zone() }
    }
}

/// Read at the first message, which is the one of the start: later the storage of the time zones may hang.
fn local_zone() -> TimeZone {
    static ZONE: LazyLock<TimeZone> = LazyLock::new(TimeZone::system);
    ZONE.clone()
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

fn short_hostname() -> Option<String> {
    let name = hostname::get().ok()?.into_string().ok()?;
    let short = name.split('.').next().unwrap_or_default();
    (!short.is_empty()).then(|| short.to_owned())
}

/// The text in at most `limit` bytes, with its beginning (the mount) and its end (the reason).
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

pub(super) const fn severity(priority: Priority) -> Severity {
    match priority {
        Priority::Error => Severity::LOG_ERR,
        Priority::Warning => Severity::LOG_WARNING,
        Priority::Notice => Severity::LOG_NOTICE,
        Priority::Info => Severity::LOG_INFO,
        Priority::Debug => Severity::LOG_DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};
    use syslog::LogFormat as _;

    #[test]
    fn packet_has_host_and_end_only_for_remote_targets_and_is_cut() {
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
        message.text = format!("Mount failed health-check: /{} (hung: no response in 3s)", "é".repeat(2000));
        let cut = written(&packet, &message);
        assert!(cut.len() <= MAX_UDP_PACKET && cut.len() > MAX_UDP_PACKET - 5, "{}", cut.len());
        assert!(cut.contains("health-check: /é") && cut.ends_with("é (hung: no response in 3s)\n"), "{cut}");
    }

    #[test]
    fn small_limit_does_not_panic() {
        for limit in 0..20 {
            assert!(cut_middle(&"é".repeat(30), limit).len() <= limit.max(CUT_MARK.len()));
        }
    }
}
