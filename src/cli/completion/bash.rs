//! Completion in bash, which replaces a part of a word as written on the line by candidates as they are: which words
//! are mount points, what they mean without their quotes, and how the missing part is written.

use super::super::definition::{MOUNT_POINT_HINT, visible_command};
use super::bash_word::{Line, quote};
use clap::{Arg, Command, ValueHint};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// What bash passes: the part of the line that it replaces, and the line up to the cursor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BashWord {
    pub(crate) replaced: OsString,
    pub(crate) line: OsString,
}

/// What the word is.
#[derive(PartialEq, Eq, Debug)]
pub enum BashAnswer {
    /// The mount points that fit, as they are written there; each ends with a line end.
    MountPoints(Vec<String>),
    Files,
    /// An option, a command, a value that is no file, or not known.
    Other,
}

impl BashWord {
    /// Completes the word, with these mount points.
    pub fn complete<'a>(&self, mount_points: impl Iterator<Item = &'a [u8]>) -> BashAnswer {
        let Some(line) = Line::parse(self.line.as_bytes(), self.replaced.as_bytes()) else {
            return BashAnswer::Other;
        };
        let before: Vec<&OsStr> = line.words.iter().map(|word| OsStr::from_bytes(word)).collect();
        let command = visible_command();
        let (argument, prefix) = argument(&command, &before, &line.word);
        match argument.map(Arg::get_value_hint) {
            Some(MOUNT_POINT_HINT) => {}
            Some(ValueHint::FilePath) => return BashAnswer::Files,
            _ => return BashAnswer::Other,
        }
        let candidates = mount_points.filter_map(|path| {
            let whole = [prefix, path].concat();
            whole.starts_with(&line.word).then(|| quote(&whole[line.kept..], line.quoting) + "\n")
        });
        BashAnswer::MountPoints(candidates.collect())
    }
}

/// The argument that a word is a value of, and what is before the value in the word.
fn argument<'c, 'w>(root: &'c Command, before: &[&OsStr], word: &'w [u8]) -> (Option<&'c Arg>, &'w [u8]) {
    let (mut command, mut positional, mut options_ended) = (root, 0, false);
    let mut words = before.iter().skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--") if !options_ended => options_ended = true,
            Some(word) if !options_ended && word.len() > 1 && word.starts_with('-') => {
                if let Some((option, None)) = option(command, word)
                    && words.next().is_none()
                {
                    return (Some(option), b"");
                }
            }
            name => match name.and_then(|name| command.find_subcommand(name)) {
                Some(subcommand) if positional == 0 && !options_ended => command = subcommand,
                _ => positional += 1,
            },
        }
    }
    if !options_ended && word.starts_with(b"-") {
        let text = std::str::from_utf8(word)
            .unwrap_or_else(|error| std::str::from_utf8(&word[..error.valid_up_to()]).unwrap_or_default());
        return match option(command, text) {
            Some((option, Some(start))) => (Some(option), &word[..start]),
            _ => (None, b""),
        };
    }
    let repeats = |argument: &&Arg| argument.get_num_args().is_some_and(|number| number.max_values() > 1);
    let argument = command.get_positionals().nth(positional);
    (argument.or_else(|| command.get_positionals().last().filter(repeats)), b"")
}

/// The option with a value in this word, and where the value starts; `None` if it is the next word.
fn option<'c>(command: &'c Command, word: &str) -> Option<(&'c Arg, Option<usize>)> {
    let takes_value = |argument: &&Arg| argument.get_action().takes_values();
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) =
            long.split_once('=').map_or((long, None), |(name, _)| (name, Some(name.len() + 3)));
        let found = command.get_arguments().find(|argument| argument.get_long() == Some(name))?;
        return Some((found, value)).filter(|(found, value)| {
            takes_value(found) && (value.is_some() || !found.is_require_equals_set())
        });
    }
    let find = |short| {
        command.get_arguments().find(|argument| argument.get_short() == Some(short)).filter(takes_value)
    };
    let (index, letter, found) =
        word.char_indices().skip(1).find_map(|(index, letter)| Some((index, letter, find(letter)?)))?;
    let start = index + letter.len_utf8();
    Some((found, (start < word.len()).then_some(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The candidates for this line, of which bash replaces what follows `|`.
    fn complete(line: &str, mount_points: &[&str]) -> BashAnswer {
        let (before, replaced) = line.split_once('|').unwrap();
        let word = BashWord { replaced: replaced.into(), line: format!("{before}{replaced}").into() };
        word.complete(mount_points.iter().map(|path| path.as_bytes()))
    }

    fn candidates(line: &str, mount_points: &[&str]) -> Vec<String> {
        match complete(line, mount_points) {
            BashAnswer::MountPoints(candidates) => {
                candidates.iter().map(|line| line.strip_suffix('\n').unwrap().to_owned()).collect()
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn words_are_told_apart() {
        let mounts = &["/", "/m"];
        for line in [
            "msm check |/",
            "msm check --json /x -- |/",
            "msm check --timeout 3 |/",
            "msm check --timeout=3 /a /b |/",
            "msm diagnose |/",
            "msm diagnose --socket '/a b' |/",
            "msm --explain |/",
            "msm --explain=|/",
            "msm --check-config -1 --explain |/",
        ] {
            assert_eq!(candidates(line, mounts), ["/", "/m"], "{line}");
        }
        for line in ["msm --config |/", "msm check --socket |", "msm check --config=|/e", "msm --textfile |x"]
        {
            assert_eq!(complete(line, mounts), BashAnswer::Files, "{line}");
        }
        for line in [
            "msm |",
            "msm ch|",
            "msm check -|",
            "msm check --js|",
            "msm check --timeout |/",
            "msm status |/",
            "msm diagnose /a |/",
            "msm man |",
            "msm --poll-interval |",
            "msm check $HOME|", // its value is not known
        ] {
            assert_eq!(complete(line, mounts), BashAnswer::Other, "{line}");
        }
    }

    #[test]
    fn candidates_replace_what_bash_replaces() {
        for (line, mount, candidate) in [
            ("msm check |/a", "/a b", r"/a\ b"),
            (r"msm check |/a\ ", "/a b", r"/a\ b"),
            ("msm check '|/a", "/a b'c", r"/a b'\''c"),
            ("msm check \"|/a", "/a b\"c$d!", r#"/a b\"c\$d"\!"""#),
            ("msm check $'|/a", "/a\nb'", r"/a\012b\''"),
            ("msm check |/a", "/a\nb", r"/a$'\012'b"),
            ("msm check /a$'|\\01", "/a\nb", r"\012b"),
            ("msm check /a:|b", "/a:b:c", "b:c"),
            ("msm --explain=|/a", "/a=b", r"/a=b"),
            ("msm |--explain=/a", "/a", "--explain=/a"),
            ("msm check /a' '|b", "/a bc", "bc"),
            ("msm check \"|/a", "/a!", r#"/a"\!"""#),
            ("msm check /a'|", "/a'b", r"''\''b"),
            ("msm check $'|/a", "/a'", r"/a\''"),
        ] {
            assert_eq!(candidates(line, &[mount, "/other"]), [candidate], "{line}");
        }
    }
}
