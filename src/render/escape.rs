//! Escapes paths, types and devices, which are arbitrary bytes, to text that stays on one line and can be decoded to
//! the same bytes.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// Keeps printable UTF-8; writes the bytes of backslashes, of invalid UTF-8 and of characters that break or reorder a
/// line as `\ooo`.
#[must_use]
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    escape_where(bytes, |c| c == '\\' || is_unsafe(c))
}

/// [`escape`] for paths and other OS strings.
pub fn escape_os<S: AsRef<OsStr> + ?Sized>(name: &S) -> Cow<'_, str> {
    escape(name.as_ref().as_bytes())
}

/// For composed text whose names are already escaped: keeps backslashes.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape_where(text.as_bytes(), is_unsafe)
}

fn escape_where(bytes: &[u8], is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(&is_escaped)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_escaped(c) {
                push_octal(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(c);
            }
        }
        push_octal(&mut text, chunk.invalid());
    }
    Cow::Owned(text)
}

fn push_octal(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\{byte:03o}").expect("writing to a String does not fail");
    }
}

/// Characters that break a line or change how it looks: controls (C0, DEL, C1), line and paragraph separators,
/// bidirectional marks and overrides, annotations, the byte order mark. Joiners are kept: several scripts need them.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn special_bytes_are_escaped() {
        for (bytes, text) in [
            (&b"/mnt/a b"[..], "/mnt/a b"),
            ("/mnt/Grüße/日本".as_bytes(), "/mnt/Grüße/日本"),
            (b"a\nb\t\x1b[31m\x7f", r"a\012b\011\033[31m\177"),
            (br"back\slash", r"back\134slash"),
            (b"latin1 \xe9", r"latin1 \351"),
            ("next\u{85}line\u{2028}\u{2029}".as_bytes(), r"next\302\205line\342\200\250\342\200\251"),
            ("\u{202e}gpj.exe\u{2066}".as_bytes(), r"\342\200\256gpj.exe\342\201\246"),
            ("\u{feff}".as_bytes(), r"\357\273\277"),
            (b"cut \xe6\x97", r"cut \346\227"),
        ] {
            assert_eq!(escape(bytes), text);
        }
    }

    #[test]
    fn composed_text_keeps_its_backslashes() {
        assert_eq!(one_line("/a\\012b\nand more"), "/a\\012b\\012and more");
    }

    proptest! {
        #[test]
        fn escaped_bytes_are_one_line_and_reversible(bytes: Vec<u8>) {
            let text = escape(&bytes);
            prop_assert!(!text.chars().any(is_unsafe));
            prop_assert_eq!(unescape(&text), bytes);
        }

        #[test]
        fn escaped_text_is_one_line_and_reversible(name: String) {
            let text = escape(name.as_bytes());
            prop_assert!(!text.chars().any(is_unsafe));
            prop_assert_eq!(unescape(&text), name.as_bytes());
        }
    }

    fn unescape(text: &str) -> Vec<u8> {
        let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
        while let [first, others @ ..] = rest {
            if *first == b'\\' {
                let digits = std::str::from_utf8(&others[..3]).unwrap();
                bytes.push(u8::from_str_radix(digits, 8).unwrap());
                rest = &others[3..];
            } else {
                bytes.push(*first);
                rest = others;
            }
        }
        bytes
    }
}
