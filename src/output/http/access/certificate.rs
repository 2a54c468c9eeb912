//! Reads parts of an X.509 certificate that the TLS library does not return.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const OBJECT_ID: u8 = 0x06;
const OCTETS: u8 = 0x04;
/// The tag of the version, which may be absent.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;
/// The object id of the extension subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Values in DER, one after the other.
struct Values<'d>(&'d [u8]);

impl<'d> Iterator for Values<'d> {
    /// A tag and the contents.
    type Item = (u8, &'d [u8]);

    /// None at the end, and if the rest is malformed.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            // A certificate is shorter than four bytes can tell.
            if bytes.is_empty() || bytes.len() > 4 {
                return None;
            }
            (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }
}

fn inner(tag: u8, mut values: Values<'_>) -> Option<Values<'_>> {
    values.next().filter(|(found, _)| *found == tag).map(|(_, contents)| Values(contents))
}

/// The signed part.
fn signed(certificate: &[u8]) -> Option<Values<'_>> {
    inner(SEQUENCE, inner(SEQUENCE, Values(certificate))?)
}

/// The names of its extension subjectAltName, as text; none if it has no such extension.
pub(super) fn names(certificate: &[u8]) -> Vec<String> {
    let values = || {
        let (_, extensions) = signed(certificate)?.find(|(tag, _)| *tag == EXTENSIONS)?;
        let extension = inner(SEQUENCE, Values(extensions))?.find_map(|(_, extension)| {
            let mut parts = Values(extension);
            (parts.next()? == (OBJECT_ID, SUBJECT_ALT_NAME)).then_some(parts)
        })?;
        let (_, value) = { extension }.find(|(tag, _)| *tag == OCTETS)?;
        inner(SEQUENCE, Values(value))
    };
    values().into_iter().flatten().filter_map(|(tag, name)| name_text(tag, name)).collect()
}

fn name_text(tag: u8, name: &[u8]) -> Option<String> {
    match tag {
        EMAIL | DNS_NAME | URI => str::from_utf8(name).ok().map(str::to_owned),
        ADDRESS => {
            let address = match name.len() {
                4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(name).ok()?)),
                _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(name).ok()?)),
            };
            Some(address.to_canonical().to_string())
        }
        _ => None,
    }
}

/// When it ends, as digits from the year to the second, in UTC.
pub(super) fn end(certificate: &[u8]) -> Option<String> {
    let validity = signed(certificate)?.filter(|(tag, _)| *tag != VERSION).nth(3)?.1; // after number, signature, issuer
    let (tag, text) = Values(validity).nth(1)?;
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let is_old = text.get(..2).is_some_and(|year| year >= "50");
    let text = match tag {
        UTC_TIME => format!("{}{text}", if is_old { "19" } else { "20" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    (text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = contents.len();
        let head = if length < 0x80 {
            vec![tag, u8::try_from(length).unwrap()]
        } else {
            let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
            vec![tag, 0x82, high, low]
        };
        [head, contents.to_vec()].concat()
    }

    fn certificate(names: &[(u8, &[u8])], times: &[(u8, &str)]) -> Vec<u8> {
        let names: Vec<u8> = names.iter().flat_map(|(tag, name)| value(*tag, name)).collect();
        let critical = value(0x01, &[0xff]);
        let extension = |id: &[u8], contents: &[u8]| {
            value(SEQUENCE, &[value(OBJECT_ID, id), critical.clone(), value(OCTETS, contents)].concat())
        };
        let extensions =
            [extension(&[0x55, 0x1d, 0x0f], &names), extension(SUBJECT_ALT_NAME, &value(SEQUENCE, &names))];
        let validity: Vec<u8> = times.iter().flat_map(|(tag, time)| value(*tag, time.as_bytes())).collect();
        let parts = [
            value(VERSION, &value(0x02, &[2])),
            value(0x02, &[9]),
            value(SEQUENCE, &[]),
            value(SEQUENCE, &[]),
            value(SEQUENCE, &validity),
            value(SEQUENCE, &[]),
            value(SEQUENCE, &[]),
            value(EXTENSIONS, &value(SEQUENCE, &extensions.concat())),
        ];
        value(SEQUENCE, &[value(SEQUENCE, &parts.concat()), value(SEQUENCE, &[])].concat())
    }

    #[test]
    fn names_and_end_are_found() {
        let long = vec![b'a'; 300];
        let all: &[(u8, &[u8])] = &[
            (DNS_NAME, b"client.example"),
            (EMAIL, b"a@b"),
            (URI, b"spiffe://x/y"),
            (ADDRESS, &[192, 0, 2, 1]),
            (ADDRESS, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (ADDRESS, &[1, 2]),
            (0xa4, b"directory name"),
            (DNS_NAME, &long),
        ];
        let found = certificate(all, &[(UTC_TIME, "240101000000Z"), (UTC_TIME, "251231235959Z")]);
        let long = String::from_utf8(long).unwrap();
        assert_eq!(names(&found), ["client.example", "a@b", "spiffe://x/y", "192.0.2.1", "::1", &long]);
        assert_eq!(end(&found).as_deref(), Some("20251231235959"));
        let until = |tag, time| end(&certificate(&[], &[(UTC_TIME, "240101000000Z"), (tag, time)]));
        assert_eq!(until(UTC_TIME, "991231235959Z").as_deref(), Some("19991231235959"));
        assert_eq!(until(GENERALIZED_TIME, "20601231235959Z").as_deref(), Some("20601231235959"));
        assert_eq!(until(UTC_TIME, "x"), None);
        assert_eq!((names(b""), end(b"")), (vec![], None));
        for length in 0..found.len() {
            let part = &found[..length];
            assert!(names(part).is_empty() && end(part).is_none(), "{length} bytes of it");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let _ = (names(&bytes), end(&bytes));
            let mut damaged = certificate(&[(DNS_NAME, b"a")], &[(UTC_TIME, "240101000000Z"), (UTC_TIME, "250101000000Z")]);
            let index = at.index(damaged.len());
            damaged[index] = byte;
            let _ = (names(&damaged), end(&damaged));
        }
    }
}
