//! The target of syslog messages, as written in the configuration.

use crate::render::escape::escape_os;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SyslogTarget {
    /// The local daemon, at its standard sockets.
    Local,
    Off,
    Unix(PathBuf),
    /// `HOST:PORT`, as UDP datagrams.
    Udp(String),
    /// `HOST:PORT`, over TCP.
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
                _ => Err("unix: has to be followed by the absolute path of a socket".to_owned()),
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
            _ => {
                Err("udp:// or tcp:// has to be followed by HOST:PORT, for example udp://loghost:514"
                    .to_owned())
            }
        }
    }
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyslogTarget::Local => f.write_str("local"),
            SyslogTarget::Off => f.write_str("off"),
            SyslogTarget::Unix(path) => write!(f, "unix:{}", escape_os(path)),
            SyslogTarget::Udp(address) => write!(f, "udp://{address}"),
            SyslogTarget::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_parsed_and_displayed_alike() {
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
}
