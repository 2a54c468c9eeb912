//! The target of syslog messages, as written in the configuration.

use crate::render::escape::escape_os;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SyslogTarget {
    /// The local daemon, unless standard error goes to the journal.
    Auto,
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
        let host_and_port =
            |address: &str| match address.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse().is_ok_and(|port: u16| port > 0) => {
                    Ok(address.to_owned())
                }
                _ => Err("udp:// or tcp:// must be followed by HOST:PORT, for example udp://loghost:514"
                    .to_owned()),
            };
        if let Some(path) = text.strip_prefix("unix:") {
            let is_absolute = path.starts_with('/');
            let path = is_absolute.then(|| SyslogTarget::Unix(path.into()));
            path.ok_or_else(|| "unix: must be followed by the absolute path of a socket".to_owned())
        } else if let Some(address) = text.strip_prefix("udp://") {
            host_and_port(address).map(SyslogTarget::Udp)
        } else if let Some(address) = text.strip_prefix("tcp://") {
            host_and_port(address).map(SyslogTarget::Tcp)
        } else {
            match text {
                "auto" => Ok(SyslogTarget::Auto),
                "local" => Ok(SyslogTarget::Local),
                "off" => Ok(SyslogTarget::Off),
                _ => Err("use auto, local, off, unix:PATH, udp://HOST:PORT or tcp://HOST:PORT".to_owned()),
            }
        }
    }
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyslogTarget::Auto => f.write_str("auto"),
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
            ("auto", SyslogTarget::Auto),
            ("local", SyslogTarget::Local),
            ("off", SyslogTarget::Off),
            ("unix:/run/log", SyslogTarget::Unix("/run/log".into())),
            ("udp://loghost:514", SyslogTarget::Udp("loghost:514".into())),
            ("tcp://[::1]:601", SyslogTarget::Tcp("[::1]:601".into())),
        ] {
            assert_eq!(text.parse(), Ok(target.clone()));
            assert_eq!(target.to_string(), text);
        }
        let wrong_ports = ["udp://", "udp://host", "tcp://:514", "tcp://h:0", "udp://h:x"];
        for wrong in ["", "remote", "unix:", "unix:log"].into_iter().chain(wrong_ports) {
            assert!(wrong.parse::<SyslogTarget>().is_err(), "{wrong}");
        }
    }
}
