//! The words of a line of bash as far as quotes determine them. What needs an expansion has no known value.

use crate::render::escape::is_unsafe;
use std::fmt::Write as _;

/// The quotes that the cursor is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Quoting {
    None,
    Single,
    Double,
    /// `$'…'`
    Ansi,
}

/// A line up to the cursor.
#[derive(Debug)]
pub(super) struct Line {
    /// The words before that at the cursor, without quotes.
    pub(super) words: Vec<Vec<u8>>,
    /// The word at the cursor, without quotes.
    pub(super) word: Vec<u8>,
    /// How much of that word is before the part that bash replaces.
    pub(super) kept: usize,
    /// The quotes around the start of that part.
    pub(super) quoting: Quoting,
}

impl Line {
    /// `None` if the word has no known value, or `replaced` is not the end of the line.
    pub(super) fn parse(line: &[u8], replaced: &[u8]) -> Option<Line> {
        let mut start = line.strip_suffix(replaced)?.len();
        // bash keeps a quote that opens the word, and the caller of the bash function may not know that.
        start += match &line[start..] {
            [b'$', b'\'', ..] => 2,
            [b'\'' | b'"', ..] => 1,
            _ => 0,
        };
        let mut parser =
            Parser { line, at: 0, start, quoting: Quoting::None, word: None, mark: None, words: Vec::new() };
        while parser.at < line.len() {
            parser.step()?;
        }
        parser.mark_start();
        let (kept, quoting) = parser.mark.unwrap_or((0, Quoting::None));
        Some(Line { words: parser.words, word: parser.word.unwrap_or_default(), kept, quoting })
    }
}

struct Parser<'a> {
    line: &'a [u8],
    at: usize,
    /// Where the replaced part starts.
    start: usize,
    quoting: Quoting,
    word: Option<Vec<u8>>,
    words: Vec<Vec<u8>>,
    mark: Option<(usize, Quoting)>,
}

impl Parser<'_> {
    fn mark_start(&mut self) {
        if self.at >= self.start && self.mark.is_none() {
            self.mark = Some((self.word.as_ref().map_or(0, Vec::len), self.quoting));
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.word.get_or_insert_default().extend_from_slice(bytes);
    }

    /// Reads a character, with what belongs to it. `None` if its value is not known.
    fn step(&mut self) -> Option<()> {
        self.mark_start();
        let rest = &self.line[self.at..];
        let length = match (self.quoting, rest) {
            (Quoting::None, [b' ' | b'\t' | b'\n', ..]) => {
                if self.mark.is_some() {
                    return None; // the replaced part is in one word
                }
                self.words.extend(self.word.take());
                1
            }
            (Quoting::None, [b'$', b'\'', ..]) => self.quote(Quoting::Ansi, 2),
            (Quoting::None, [b'\'', ..]) => self.quote(Quoting::Single, 1),
            (Quoting::None, [b'"', ..]) => self.quote(Quoting::Double, 1),
            (Quoting::Single | Quoting::Ansi, [b'\'', ..]) | (Quoting::Double, [b'"', ..]) => {
                self.quote(Quoting::None, 1)
            }
            (Quoting::None | Quoting::Double, [b'$' | b'`', ..]) => return None,
            (Quoting::Ansi, [b'\\', escape @ ..]) => {
                let (bytes, length) = ansi_escape(escape)?;
                self.push(bytes.as_slice());
                1 + length
            }
            (Quoting::None | Quoting::Double, [b'\\']) => 1, // the cursor is after it
            (Quoting::None, [b'\\', next, ..]) => {
                self.push(&[*next]);
                2
            }
            (Quoting::Double, [b'\\', next @ (b'$' | b'`' | b'"' | b'\\'), ..]) => {
                self.push(&[*next]);
                2
            }
            (_, [byte, ..]) => {
                self.push(&[*byte]);
                1
            }
            (_, []) => 0,
        };
        self.at += length;
        Some(())
    }

    fn quote(&mut self, quoting: Quoting, length: usize) -> usize {
        self.quoting = quoting;
        self.push(b""); // '' is a word
        length
    }
}

/// The value of an escape of `$'…'` after its backslash, and its length. One that the cursor is in has no value yet.
fn ansi_escape(escape: &[u8]) -> Option<(Vec<u8>, usize)> {
    let digits = |from: usize, max: usize, radix: u32| {
        let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
        escape[from..].iter().take(max).take_while(is_digit).count()
    };
    let number = |from: usize, count: usize, radix| {
        let text = std::str::from_utf8(&escape[from..from + count]).ok()?;
        u32::from_str_radix(text, radix).ok()
    };
    let byte = match escape.first() {
        None => return Some((Vec::new(), 0)),
        Some(b'0'..=b'7') => {
            let count = digits(0, 3, 8);
            if count == escape.len() && count < 3 {
                return Some((Vec::new(), count));
            }
            return Some((vec![(number(0, count, 8)? & 0xff) as u8], count));
        }
        Some(b'x') => {
            let count = digits(1, 2, 16);
            if count + 1 == escape.len() && count < 2 {
                return Some((Vec::new(), count + 1));
            }
            return Some((vec![u8::try_from(number(1, count, 16)?).ok()?], count + 1));
        }
        Some(b'u' | b'U' | b'c') => return None,
        Some(b'n') => b'\n',
        Some(b't') => b'\t',
        Some(b'r') => b'\r',
        Some(b'a') => 7,
        Some(b'b') => 8,
        Some(b'v') => 11,
        Some(b'f') => 12,
        Some(b'e' | b'E') => 27,
        Some(other) => *other,
    };
    Some((vec![byte], 1))
}

/// How bash must be told to write a text within these quotes, which it closes. But it takes a quote at the start for
/// the one before it, and one at the end for the last: such a quote is written twice.
pub(super) fn quote(bytes: &[u8], quoting: Quoting) -> String {
    let mut text = quote_within(bytes, quoting);
    let quote = match quoting {
        Quoting::None => return text,
        Quoting::Single | Quoting::Ansi => '\'',
        Quoting::Double => '"',
    };
    if text.starts_with(quote) {
        text.insert(0, quote);
    }
    if text.ends_with(quote) {
        text.push(quote);
    }
    text
}

fn quote_within(bytes: &[u8], quoting: Quoting) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_unsafe(c) {
                push_octal(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes(), quoting);
            } else {
                push_quoted(&mut out, c, quoting);
            }
        }
        push_octal(&mut out, chunk.invalid(), quoting);
    }
    out
}

fn push_quoted(out: &mut String, c: char, quoting: Quoting) {
    match (quoting, c) {
        (Quoting::Single, '\'') => out.push_str(r"'\''"),
        (Quoting::Double, '!') => out.push_str(r#""\!""#), // a backslash within the quotes would stay
        (Quoting::Double, '$' | '`' | '"' | '\\') | (Quoting::Ansi, '\'' | '\\') => out.extend(['\\', c]),
        (Quoting::None, c) if c.is_ascii() && !c.is_ascii_alphanumeric() && !"/._-+,:@%=".contains(c) => {
            out.extend(['\\', c]);
        }
        _ => out.push(c),
    }
}

fn push_octal(out: &mut String, bytes: &[u8], quoting: Quoting) {
    if bytes.is_empty() {
        return;
    }
    let (before, after) = match quoting {
        Quoting::None => ("$'", "'"),
        Quoting::Single => ("'$'", "''"),
        Quoting::Double => ("\"$'", "'\""),
        Quoting::Ansi => ("", ""),
    };
    out.push_str(before);
    for byte in bytes {
        write!(out, "\\{byte:03o}").expect("writing to a String does not fail");
    }
    out.push_str(after);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quoted_text_has_the_same_value(bytes: Vec<u8>) {
            for (quoting, open) in
                [(Quoting::None, ""), (Quoting::Single, "'"), (Quoting::Double, "\""), (Quoting::Ansi, "$'")]
            {
                let text = quote_within(&bytes, quoting);
                prop_assert!(!text.contains(is_unsafe), "{text:?}");
                let line = Line::parse(format!("x {open}{text}").as_bytes(), text.as_bytes()).unwrap();
                prop_assert_eq!((&line.words, &line.word), (&vec![b"x".to_vec()], &bytes));
            }
        }

        #[test]
        fn any_line_is_parsed_or_refused(line: Vec<u8>, length: usize) {
            let start = line.len() - length % (line.len() + 1);
            if let Some(parsed) = Line::parse(&line, &line[start..]) {
                prop_assert!(parsed.kept <= parsed.word.len());
            }
        }
    }
}
