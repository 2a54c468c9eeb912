//! Parsers of option values. Error texts do not name the option.

use crate::output::Facility;
use crate::output::http::SocketChoice;
use regex::bytes::{Regex, RegexBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Minimum duration: timers are not more precise.
const MIN_DURATION: Duration = Duration::from_millis(1);
/// Maximum duration: a longer one probably has a wrong unit.
const MAX_DURATION: Duration = Duration::from_secs(366 * 86_400);

/// Maximum number of characters shown of a wrong value.
const MAX_SHOWN: usize = 64;

/// Adds the value to the text of its problem, unless it is there, may contain a password, or is not UTF-8.
pub(super) fn with_value(problem: String, value: &str) -> String {
    let shown: String = value.chars().take(MAX_SHOWN).collect();
    if value.contains(['@', char::REPLACEMENT_CHARACTER])
        || problem.contains(", not ")
        || (!value.is_empty() && problem.contains(&shown))
    {
        return problem;
    }
    format!("{problem}, not \"{shown}\"")
}

/// What somebody meant who wrote a glob where a regular expression belongs.
pub(super) fn regex_of_glob(pattern: &str) -> Option<String> {
    let is_glob =
        pattern.starts_with('/') && pattern.contains("/*") && !pattern.contains(['^', '$', '(', '\\', '+']);
    let start = pattern.split('*').next().filter(|_| is_glob)?;
    Some(format!("^{start}"))
}

/// A regular expression over names, which are bytes: `.` is any byte. Without `^` and `$` it matches anywhere.
pub(super) fn name_regex(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).unicode(false).dot_matches_new_line(true).build().map_err(|error| {
        // The message has several lines; the last one is the reason.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        format!("not a regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
    })
}

/// Fewer changes than this are one failure.
const MIN_FLAP_CHANGES: u32 = 3;
/// The times of so many changes are kept for each mount that changes.
const MAX_FLAP_CHANGES: u32 = 100;

/// The number of changes after which a mount flaps; 0 for never.
pub(super) fn flap_changes(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(changes @ (0 | MIN_FLAP_CHANGES..=MAX_FLAP_CHANGES)) => Ok(changes),
        _ => Err(format!("must be 0 or a number from {MIN_FLAP_CHANGES} to {MAX_FLAP_CHANGES}")),
    }
}

/// A duration: `60` (seconds), `0.5`, `500ms`, `2m`, `1h30m`. Crates for this reject bare numbers and fractions, which
/// version 2 accepted.
pub fn duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a number of seconds, or 500ms, 30s, 2m, 1h30m, 1d";
    let text = text.trim();
    if text.starts_with('-') && text[1..].parse::<f64>().is_ok() {
        return Err("must be more than zero".to_owned());
    }
    let mut seconds = 0.0;
    let (mut rest, mut last_unit) = (text, f64::INFINITY);
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let number: f64 = number.parse().map_err(|_| HELP)?;
        let unit = match unit {
            "" if number_end == text.len() => 1.0,
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(HELP.to_owned()),
        };
        if unit >= last_unit {
            return Err(HELP.to_owned()); // 30s2m or 2m2m is probably a mistake
        }
        seconds += number * unit;
        (rest, last_unit) = (after, unit);
    }
    match Duration::try_from_secs_f64(seconds) {
        _ if text.is_empty() => Err(HELP.to_owned()),
        Ok(duration) if duration.is_zero() => Err("must be more than zero".to_owned()),
        Ok(duration) if duration < MIN_DURATION => Err("must be at least 1ms".to_owned()),
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        _ => Err("must not be longer than a year".to_owned()),
    }
}

/// A [`duration`], or 0 for off.
pub(super) fn duration_or_off(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" { Ok(Duration::ZERO) } else { duration(text) }
}

/// Whether something is done if it is possible.
pub(super) fn auto_or_off(text: &str) -> Result<bool, String> {
    match text {
        "auto" => Ok(true),
        "off" => Ok(false),
        _ => Err("write auto or off".to_owned()),
    }
}

/// An address to listen on: `127.0.0.1:9817`, `[::1]:9817`, `localhost:9817`, `:9817` for all addresses, or `off`.
/// Host names are not resolved, which could take long.
pub(super) fn listen_address(text: &str) -> Result<Option<SocketAddr>, String> {
    const HELP: &str = "write an address and a port such as 127.0.0.1:9817, [::]:9817 or :9817, or off";
    if text == "off" {
        return Ok(None);
    }
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    let (host, port) = text.rsplit_once(':').ok_or(HELP)?;
    let host: IpAddr = match host {
        "" => Ipv6Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => return Err(HELP.to_owned()),
    };
    Ok(Some(SocketAddr::new(host, port.parse().map_err(|_| HELP)?)))
}

/// Host names, separated by commas, or `*`.
pub(super) fn host_names(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> =
        text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    let is_name =
        |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match names.iter().find(|name| *name != "*" && !is_name(name)) {
        Some(name) => {
            Err(format!("{name} is not a host name; write names separated by commas, without ports, or *"))
        }
        None => Ok(names),
    }
}

/// A Unix socket: a path, or `off`.
pub(super) fn socket_choice(text: &str) -> Result<SocketChoice, String> {
    match text {
        "off" => Ok(SocketChoice::Off),
        path if path.starts_with('/') => Ok(SocketChoice::At(path.into())),
        _ => Err("write a path that begins with /, or off".to_owned()),
    }
}

/// The name or the id of a group, which is looked up when it is needed.
pub(super) fn group(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, ':' | ',' | '/');
    match text {
        "" => Err("write the name or the id of a group".to_owned()),
        name if name.chars().all(is_allowed) => Ok(name.to_owned()),
        _ => Err("not the name or the id of a group".to_owned()),
    }
}

pub(super) const FACILITY_HELP: &str = "Facility of syslog messages: daemon, user, auth, authpriv, cron, syslog, kern, \
    mail, lpr, news, uucp, ftp, ntp, audit, alert, clock_daemon or local0 to local7";

pub(super) fn facility(name: &str) -> Result<Facility, String> {
    name.parse().map_err(|()| FACILITY_HELP.replace("Facility of syslog messages:", "use"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn number_of_changes_is_zero_or_at_least_three() {
        assert_eq!(["0", "3", " 100 "].map(flap_changes), [Ok(0), Ok(3), Ok(100)]);
        assert!(["", "1", "2", "101", "-3", "3.0"].map(flap_changes).iter().all(Result::is_err));
    }

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        for (text, millis) in [
            ("60", 60_000),
            ("0.5", 500),
            (".5", 500),
            ("500ms", 500),
            ("1.5s", 1500),
            ("2m", 120_000),
            ("2min", 120_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("366d", 366 * 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (problem, texts) in [
            ("more than zero", &["0", "0s", "-5"][..]),
            ("at least 1ms", &["0.0001"]),
            ("longer than a year", &["367d", "99999999999999999999999999"]),
            (
                "write a number",
                &["", "soon", "5 minutes", "30s2m", "1h30", "1.2.3", "--once-only", "inf", "1e3"],
            ),
        ] {
            for text in texts {
                assert!(duration(text).unwrap_err().contains(problem), "{text}: {:?}", duration(text));
            }
        }
    }

    #[test]
    fn listen_addresses_have_a_port_or_are_off() {
        for (text, address) in [
            ("127.0.0.1:9817", "127.0.0.1:9817"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:1", "127.0.0.1:1"),
            (":9817", "[::]:9817"),
        ] {
            assert_eq!(listen_address(text), Ok(Some(address.parse().unwrap())));
        }
        assert_eq!(listen_address("off"), Ok(None));
        for wrong in ["", "9817", "host:9817", "127.0.0.1", "127.0.0.1:x", ":99999"] {
            assert!(listen_address(wrong).unwrap_err().starts_with("write an address"), "{wrong}");
        }
        assert_eq!(socket_choice("off"), Ok(SocketChoice::Off));
        assert_eq!(socket_choice("/run/x"), Ok(SocketChoice::At("/run/x".into())));
        assert!(socket_choice("x").is_err());
    }

    #[test]
    fn problems_quote_the_value_unless_it_may_have_a_password() {
        for (problem, value, text) in [
            ("use a or b", "c", "use a or b, not \"c\""),
            ("use a or b", "", "use a or b, not \"\""),
            ("x[ is not a glob", "x[", "x[ is not a glob"),
            ("must be a number, not a table", "x", "must be a number, not a table"),
            ("is not a URL", "http//me:secret@host", "is not a URL"),
        ] {
            assert_eq!(with_value(problem.to_owned(), value), text);
        }
        assert!(with_value("no".to_owned(), &"x".repeat(100_000)).len() < 100);
    }

    #[test]
    fn a_glob_is_no_regular_expression() {
        for (pattern, meant) in [
            ("/mnt/*", Some("^/mnt/")),
            ("/var/lib/*/mounts/*", Some("^/var/lib/")),
            ("^/mnt/", None),
            ("/mnt/.*", None),
            ("^/(home|srv)/*", None),
        ] {
            assert_eq!(regex_of_glob(pattern).as_deref(), meant, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_duration_or_an_error(text: String) {
            if let Ok(duration) = duration(&text) {
                prop_assert!((MIN_DURATION..=MAX_DURATION).contains(&duration));
            }
        }
    }
}
