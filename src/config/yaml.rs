//! Reads the part of YAML that a web configuration file needs: maps, lists and texts, few levels deep. Anchors, aliases
//! and tags are mistakes there, and without them a small file cannot become large.

use std::collections::HashSet;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};

/// Maximum depth of maps and lists; a web configuration file has two.
const MAX_DEPTH: usize = 4;

/// Where a mistake is, from 1 on, and what it is.
pub(super) type Mistake = (usize, String);

#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// No value, or `null`.
    None,
    /// As written: numbers are texts, too.
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) node: Node,
}

/// The only document of a text.
pub(super) fn parse(text: &str) -> Result<Node, Mistake> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    let mut root = None;
    loop {
        let (event, mark) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(root.unwrap_or(Node { line: 1, value: Value::None })),
            Event::StreamStart | Event::Nothing | Event::DocumentEnd => {}
            Event::DocumentStart if root.is_none() => {
                let (event, mark) = reader.next()?;
                root = Some(reader.node(event, mark, 0)?);
            }
            _ => return Err((mark.line(), "there is a second document; write one".to_owned())),
        }
    }
}

struct Reader<'t> {
    parser: Parser<std::str::Chars<'t>>,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<(Event, Marker), Mistake> {
        self.parser
            .next_token()
            .map_err(|error: ScanError| (error.marker().line(), format!("not valid YAML: {}", error.info())))
    }

    fn node(&mut self, event: Event, mark: Marker, depth: usize) -> Result<Node, Mistake> {
        let line = mark.line();
        if depth > MAX_DEPTH {
            return Err((line, "too many levels".to_owned()));
        }
        let value = match event {
            Event::Scalar(text, style, 0, None) => {
                let is_null = style == TScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                if is_null { Value::None } else { Value::Text(text) }
            }
            Event::SequenceStart(0, None) => Value::List(self.list(depth)?),
            Event::MappingStart(0, None) => Value::Map(self.map(depth)?),
            _ => return Err((line, "anchors, aliases and tags are not supported".to_owned())),
        };
        Ok(Node { line, value })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Mistake> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, mark) => items.push(self.node(event, mark, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, Mistake> {
        let (mut entries, mut keys) = (Vec::new(), HashSet::new());
        loop {
            let (line, key) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(key, _, 0, None), mark) => (mark.line(), key),
                (_, mark) => return Err((mark.line(), "a key must be a text".to_owned())),
            };
            if !keys.insert(key.clone()) {
                return Err((line, format!("{key} is there twice")));
            }
            let (event, mark) = self.next()?;
            entries.push(Entry { line, key, node: self.node(event, mark, depth + 1)? });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mistake(text: &str) -> Mistake {
        parse(text).unwrap_err()
    }

    #[test]
    fn maps_lists_and_texts_are_read_with_their_lines() {
        let root = parse("# first\na:\n  b: 5\n  c: [x, 'y']\nd:\n").unwrap();
        let Value::Map(entries) = root.value else { panic!("a map") };
        assert_eq!(
            entries.iter().map(|entry| (entry.line, &*entry.key)).collect::<Vec<_>>(),
            [(2, "a"), (5, "d")]
        );
        assert!(matches!(entries[1].node.value, Value::None));
        let Value::Map(inner) = &entries[0].node.value else { panic!("a map") };
        assert!(matches!(&inner[0].node.value, Value::Text(text) if text == "5"));
        assert!(matches!(&inner[1].node.value, Value::List(items) if items.len() == 2 && items[1].line == 4));
        assert!(matches!(parse("").unwrap().value, Value::None));
    }

    #[test]
    fn mistakes_have_lines() {
        assert_eq!(mistake("a: 1\nb: 2\na: 3\n"), (3, "a is there twice".to_owned()));
        assert_eq!(mistake("a: 1\n---\nb: 2\n").0, 2);
        for text in ["a: &x 1\n", "a: !!str 1\n", "a: &x [1]\nb: *x\n"] {
            assert_eq!(
                mistake(text),
                (1, "anchors, aliases and tags are not supported".to_owned()),
                "{text}"
            );
        }
        assert!(mistake("a: 1\nb: [\n").1.starts_with("not valid YAML: "));
        assert!(mistake("a: 1\n\tb: 2\n").1.starts_with("not valid YAML: "));
        assert_eq!(mistake("[x]: 1\n"), (1, "a key must be a text".to_owned()));
    }

    #[test]
    fn deep_nesting_ends_early() {
        assert_eq!(mistake(&"- ".repeat(30_000)).1, "too many levels");
        assert!(parse(&"[".repeat(30_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-a: \\n\\t\\[\\]{}&*!|>'\"#,?%\u{e9}]{0,60}") {
            let _ = parse(&text);
        }
    }
}
