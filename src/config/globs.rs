//! Globs over the mount points, types and devices of mounts.

use globset::GlobBuilder;
use regex::bytes::{Regex, RegexBuilder};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Maximum number of globs in all rules. Each new mount is compared with all of them, and a compiled glob takes about
/// 20 KiB.
pub(super) const MAX_GLOBS: usize = 4000;
/// Maximum length of a glob in bytes: names of mounts are no longer than a path.
const MAX_GLOB: usize = 4096;
/// Maximum memory of one compiled glob. Ordinary globs take a few KiB; repeated `{a,b}` could take any amount.
const MAX_COMPILED_GLOB: usize = 1 << 20;
const SPECIAL: [char; 5] = ['*', '?', '[', '{', '\\'];

/// A list of globs that matches if any of them does. In paths `*` does not match `/`; `**` does.
#[derive(Clone, PartialEq, Debug)]
pub struct Globs(Vec<NamedGlob>);

#[derive(Clone, Debug)]
struct NamedGlob {
    text: String,
    /// Length of the part before the first special character. Comparing it first rejects most names quickly.
    literal_prefix: usize,
    /// None if the glob matches only its own text.
    matcher: Option<Regex>,
}

impl NamedGlob {
    fn new(text: &str, is_path: bool) -> Result<NamedGlob, String> {
        let text = if is_path { mount_point(text)? } else { text }.to_owned();
        if text.len() > MAX_GLOB {
            return Err(format!("a glob is longer than {MAX_GLOB} bytes"));
        }
        let glob = GlobBuilder::new(&text)
            .literal_separator(is_path)
            .build()
            .map_err(|error| format!("{text} is not a glob: {}", error.kind()))?;
        let literal_prefix = text.find(SPECIAL).unwrap_or(text.len());
        if literal_prefix == text.len() {
            return Ok(NamedGlob { text, literal_prefix, matcher: None });
        }
        // Not globset's own matcher: it panics if a glob is too large or too deep for a regular expression.
        let matcher = RegexBuilder::new(glob.regex())
            .dot_matches_new_line(true)
            .size_limit(MAX_COMPILED_GLOB)
            .build()
            .map_err(|_| "a glob is too large or too deeply nested".to_owned())?;
        Ok(NamedGlob { text, literal_prefix, matcher: Some(matcher) })
    }

    fn matches(&self, name: &[u8]) -> bool {
        match &self.matcher {
            None => name == self.text.as_bytes(),
            Some(matcher) => {
                name.starts_with(&self.text.as_bytes()[..self.literal_prefix]) && matcher.is_match(name)
            }
        }
    }
}

impl PartialEq for NamedGlob {
    fn eq(&self, other: &NamedGlob) -> bool {
        self.text == other.text
    }
}

impl Globs {
    /// Compiles globs over paths or over other names.
    pub(super) fn new(texts: &[String], are_paths: bool) -> Result<Globs, String> {
        match texts.len() {
            0 => Err("the list is empty".to_owned()),
            1..=MAX_GLOBS => {
                texts.iter().map(|text| NamedGlob::new(text, are_paths)).collect::<Result<_, _>>().map(Globs)
            }
            _ => Err(format!("the list is longer than {MAX_GLOBS}")),
        }
    }

    pub(super) fn matches(&self, name: &OsStr) -> bool {
        self.0.iter().any(|glob| glob.matches(name.as_bytes()))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Every glob is an absolute path without special characters.
    pub(super) fn are_literal_paths(&self) -> bool {
        self.0.iter().all(|glob| glob.text.starts_with('/') && glob.matcher.is_none())
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|glob| Path::new(&glob.text))
    }
}

impl fmt::Display for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|glob| glob.text.as_str()).collect();
        f.write_str(&texts.join(" or "))
    }
}

/// A glob over mount points without trailing slashes, or an error if it cannot match a mount point.
fn mount_point(text: &str) -> Result<&str, String> {
    if let Some(path) = text.strip_prefix('^') {
        let meant = path.trim_end_matches('$').replace(".*", "**");
        return Err(format!("{text} is a regular expression, and this is a glob; did you mean {meant}?"));
    }
    if !text.starts_with(['/', '*', '{', '[', '?']) {
        return Err(format!("{text} is not an absolute path: start it with /"));
    }
    let text = &text[..text.trim_end_matches('/').len().max(1)];
    let is_odd = |name: &str| matches!(name, "" | "." | "..");
    if text != "/" && text.starts_with('/') && text.split('/').skip(1).any(is_odd) {
        return Err(format!("{text} is not a mount point: remove //, /./ and /../"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stops_at_a_slash_in_paths_but_not_in_names() {
        for (glob, are_paths, matching, others) in [
            ("/mnt/*", true, &["/mnt/a"][..], &["/mnt/a/b", "/mnt"][..]),
            ("/mnt/**", true, &["/mnt/a/b"], &[]),
            ("/mnt/a/", true, &["/mnt/a"], &[]),
            ("/", true, &["/"], &[]),
            ("**", true, &["/", "/a/b"], &[]),
            ("/{home,srv}/[a-c]?", true, &["/srv/bx"], &[]),
            ("nfs*", false, &["nfs4"], &[]),
            ("nfs", false, &[], &["nfs4"]),
            ("nas:*", false, &["nas:/a/b"], &[]),
            ("/a/**/b", true, &["/a/b"], &["/ab"]),
            (r"/a\*", true, &["/a*"], &["/ab"]),
            ("/mnt/\u{e9}*", true, &["/mnt/\u{e9}t\u{e9}"], &[]),
        ] {
            let globs = Globs::new(&[glob.to_owned()], are_paths).unwrap();
            let matches = |name: &&str| globs.matches(OsStr::new(name));
            assert!(matching.iter().all(matches) && !others.iter().any(matches), "{glob}");
        }
        let globs = Globs::new(&["/mnt/?".to_owned()], true).unwrap();
        assert!(globs.matches(OsStr::from_bytes(b"/mnt/\xff")), "? matches any byte");
    }

    #[test]
    fn globs_that_are_too_large_or_cannot_match_are_errors() {
        let new = |text: &str| Globs::new(&[text.to_owned()], true).map(|_| ());
        let nested = format!("/{}{}", "{a,".repeat(300), "}".repeat(300));
        let error = new(&nested).unwrap_err();
        assert!(error.contains("nested"), "{error}");
        let error = new(&format!("/{}", "{a,b}".repeat(2000))).unwrap_err();
        assert!(error.contains("4096 bytes"), "{error}");
        for never in ["/a//b", "/a/./b", "/a/../b", "//a", "/.", "/a/.."] {
            let error = new(never).unwrap_err();
            assert!(error.contains("not a mount point"), "{never}: {error}");
        }
        for fine in ["/", "/a/", "/a/...", "/a/.b", "/a.", "/*/..a"] {
            new(fine).unwrap();
        }
    }
}
