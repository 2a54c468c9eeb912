//! `[[rule]]`: what is special about some mounts. The first rule that matches a mount is the one that counts.

use super::diagnostic::Location;
use super::in_toml;
use super::reference;
use super::toml_table::{TomlDocument, TomlTable, Value};
use crate::monitor::{Event, ProbeSettings};
use crate::render::HumanDuration;
use crate::render::Severity;
use globset::GlobBuilder;
use platform::{Mount, MountTable};
use regex::bytes::{Regex, RegexBuilder};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Rules in all: each new mount is held against all of them, and a storm of mounts must not cost seconds.
const MAX_RULES: usize = 1000;
/// Globs in all rules, for the same reason, and because each that is no plain name takes some 20 KiB.
const MAX_GLOBS: usize = 4000;
/// No name of a mount is longer than a path, so no glob needs to be.
const MAX_GLOB: usize = 4096;
/// Memory of one compiled glob, of which plain ones take a few KiB: `{a,b}` over and over would take any amount.
const MAX_COMPILED_GLOB: usize = 1 << 20;

/// One `[[rule]]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// Where it is written.
    pub place: Location,
    /// Which mounts it is for: all of these have to match.
    pub mountpoint: Option<Globs>,
    /// Glob over the type.
    pub fstype: Option<Globs>,
    /// Glob over the device.
    pub device: Option<Globs>,
    /// In place of `--poll-interval`.
    pub poll_interval: Option<Duration>,
    /// In place of `--timeout`.
    pub timeout: Option<Duration>,
    /// In place of `--slow-after`.
    pub slow_after: Option<Duration>,
    /// Not watched.
    pub exclude: bool,
    /// Has to be there.
    pub expected: bool,
    /// How bad it is if it is dead.
    pub severity: Severity,
    /// The hooks that are told, if not all.
    pub hooks: Option<Vec<String>>,
}

impl Rule {
    /// Is it for this mount?
    #[must_use]
    pub fn matches(&self, mount: &Mount) -> bool {
        self.is_for_path(&mount.mountpoint) && self.fits_but_for_path(mount)
    }

    fn globs(&self) -> usize {
        [&self.mountpoint, &self.fstype, &self.device].into_iter().flatten().map(|globs| globs.0.len()).sum()
    }

    fn is_for_path(&self, path: &Path) -> bool {
        self.mountpoint.as_ref().is_none_or(|globs| globs.matches(path.as_os_str()))
    }

    /// Is it for such a mount, wherever that is mounted?
    #[must_use]
    pub fn fits_but_for_path(&self, mount: &Mount) -> bool {
        let fits =
            |globs: &Option<Globs>, name: &OsStr| globs.as_ref().is_none_or(|globs| globs.matches(name));
        fits(&self.fstype, &mount.fstype) && fits(&self.device, &mount.device)
    }

    /// What it says beside the place where it is written, a line for each key, as in a file.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let globs = |key: &str, globs: &Option<Globs>| Some(format!("{key} = {}", globs.as_ref()?.in_toml()));
        let span = |key: &str, span: Option<Duration>| {
            Some(format!("{key} = {}", in_toml(&HumanDuration(span?).to_string())))
        };
        let flag = |key: &str, flag: bool| flag.then(|| format!("{key} = true"));
        let severity = (self.severity != Severity::default())
            .then(|| format!("severity = \"{}\"", self.severity.as_str()));
        [
            globs("mountpoint", &self.mountpoint),
            globs("fstype", &self.fstype),
            globs("device", &self.device),
            span("poll_interval", self.poll_interval),
            span("timeout", self.timeout),
            span("slow_after", self.slow_after),
            flag("exclude", self.exclude),
            flag("expected", self.expected),
            severity,
            self.hooks.as_ref().map(|hooks| format!("hook = {}", list(hooks.iter().map(String::as_str)))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What it makes of the settings for all mounts.
    #[must_use]
    pub fn settings(&self, all: ProbeSettings) -> ProbeSettings {
        let timeout = self.timeout.unwrap_or(all.timeout);
        ProbeSettings {
            poll_interval: self.poll_interval.unwrap_or(all.poll_interval),
            timeout,
            slow_after: self.slow_after.unwrap_or(all.slow_after.min(timeout)),
        }
    }

    /// The mount points that are meant, if they are written out.
    pub fn literal_mountpoints(&self) -> impl Iterator<Item = &Path> {
        self.mountpoint.iter().flat_map(|globs| globs.0.iter().map(|glob| Path::new(&glob.text)))
    }

    /// Reads one. The lifetimes of section and document are one, so it is not a method of either.
    fn read<'d>(mut section: TomlTable<'d>, document: &mut TomlDocument<'d>, outer: &[&str]) -> Rule {
        let place = document.place(section.line);
        let line = section.line;
        let paths = |value: &Value<'d>| Globs::new(&value.texts()?, true);
        let names = |value: &Value<'d>| Globs::new(&value.texts()?, false);
        let rule = Rule {
            place,
            mountpoint: section.take(document, "mountpoint", paths),
            fstype: section.take(document, "fstype", names),
            device: section.take(document, "device", names),
            poll_interval: section.take(document, "poll_interval", Value::duration),
            timeout: section.take(document, "timeout", Value::duration),
            slow_after: section.take(document, "slow_after", Value::duration),
            exclude: section.take(document, "exclude", Value::flag).unwrap_or(false),
            expected: section.take(document, "expected", Value::flag).unwrap_or(false),
            severity: section.take(document, "severity", |value| value.text()?.parse()).unwrap_or_default(),
            hooks: section.take(document, "hook", Value::texts),
        };
        let before = document.problems.len();
        section.finish(document, &reference::names(reference::RULE), outer);
        if document.problems.len() > before {
            return rule; // the wrong key may be the one that is missing
        }
        let has_matcher = rule.mountpoint.is_some() || rule.fstype.is_some() || rule.device.is_some();
        if !has_matcher && document.problems.is_empty() {
            document.complain(line, "[[rule]] matches by nothing: give it a mountpoint, fstype or device");
        }
        if rule.expected && rule.exclude {
            document.complain(line, "[[rule]] a mount cannot be expected and excluded");
        }
        let literal = rule.mountpoint.as_ref().is_some_and(Globs::are_literal);
        if rule.expected && !literal && document.problems.is_empty() {
            let text = "[[rule]] expected: write the mountpoint out, without * ? [ {";
            document.complain(line, text);
        }
        rule
    }
}

/// All rules, in the order in which they are asked.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rules(Arc<[Rule]>);

impl Rules {
    /// Reads every `[[rule]]` of a document onto `rules`.
    pub(super) fn read<'d>(
        table: &mut TomlTable<'d>,
        document: &mut TomlDocument<'d>,
        outer: &[&str],
        rules: &mut Vec<Rule>,
    ) {
        for section in table.sections(document, "rule") {
            if rules.len() == MAX_RULES {
                document.complain(section.line, format!("more than {MAX_RULES} rules"));
                return;
            }
            let (line, rule) = (section.line, Rule::read(section, document, outer));
            if rules.iter().map(Rule::globs).sum::<usize>() + rule.globs() > MAX_GLOBS {
                document.complain(line, format!("[[rule]] more than {MAX_GLOBS} globs in all rules"));
                return;
            }
            rules.push(rule);
        }
    }

    /// The rule for this mount.
    #[must_use]
    pub fn of(&self, mount: &Mount) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.matches(mount))
    }

    /// The rule for a mount that is missing from this path: what it would be is not known.
    #[must_use]
    pub fn of_missing(&self, path: &Path) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.mountpoint.is_some() && rule.is_for_path(path))
    }

    /// How bad this is, and which hooks are told, if not all: by the rule for its mount.
    #[must_use]
    pub fn on(&self, event: &Event) -> (Severity, Option<&[String]>) {
        let rule = match (event, event.mount()) {
            // Whoever was told that it is missing is told that it is there.
            (Event::Missing { expected, .. } | Event::Found { expected, .. }, _) => {
                self.of_missing(&expected.mountpoint)
            }
            (_, Some(mount)) => self.of(mount),
            (_, None) => None,
        };
        rule.map_or((Severity::default(), None), |rule| (rule.severity, rule.hooks.as_deref()))
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.0.iter()
    }

    /// What is surely not meant, with these mounts and these settings for all, one line each.
    #[must_use]
    pub fn warnings(&self, table: &MountTable, all: ProbeSettings) -> Vec<String> {
        let mut used = vec![false; self.0.len()];
        // The rule that took a mount away from each of the later ones.
        let mut beaten_by: Vec<Option<usize>> = vec![None; self.0.len()];
        for mount in table.iter() {
            let mut first = None;
            for (number, _) in self.0.iter().enumerate().filter(|(_, rule)| rule.matches(mount)) {
                match first {
                    None => {
                        used[number] = true;
                        first = Some(number);
                    }
                    Some(_) if used[number] => {}
                    Some(_) => beaten_by[number] = first,
                }
            }
        }
        let mut warnings = Vec::new();
        for (number, rule) in self.0.iter().enumerate() {
            let settings = rule.settings(all);
            if settings.slow_after > settings.timeout {
                let text = "slow_after is longer than the timeout, so these mounts will never be slow";
                warnings.push(format!("{}: [[rule]] {text}", rule.place));
            }
            // An expected mount that is not there is told anyway.
            match beaten_by[number] {
                _ if used[number] => {}
                Some(first) => warnings.push(format!(
                    "{}: [[rule]] is of no use now: the rule at {} comes first for all its mounts",
                    rule.place, self.0[first].place
                )),
                None if rule.expected => {}
                None => warnings.push(format!("{}: [[rule]] matches no mount now", rule.place)),
            }
        }
        warnings
    }
}

impl From<Vec<Rule>> for Rules {
    fn from(rules: Vec<Rule>) -> Rules {
        Rules(rules.into())
    }
}

/// What is more than itself in a glob.
const SPECIAL: [char; 5] = ['*', '?', '[', '{', '\\'];

/// Globs of which one has to match. Over paths `*` stays within a directory, and `**` does not.
#[derive(Clone, PartialEq)]
pub struct Globs(Vec<NamedGlob>);

#[derive(Clone)]
struct NamedGlob {
    text: String,
    /// How its names begin, which tells most of them apart at once.
    beginning: usize,
    /// None where the text is the only name.
    matcher: Option<Regex>,
}

impl NamedGlob {
    fn matches(&self, name: &[u8]) -> bool {
        match &self.matcher {
            None => name == self.text.as_bytes(),
            Some(matcher) => {
                name.starts_with(&self.text.as_bytes()[..self.beginning]) && matcher.is_match(name)
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
    fn new(texts: &[String], paths: bool) -> Result<Globs, String> {
        if texts.is_empty() {
            return Err("the list is empty".to_owned());
        }
        if texts.len() > MAX_GLOBS {
            return Err(format!("the list is longer than {MAX_GLOBS}"));
        }
        let glob = |text: &String| {
            let mut text = text.clone();
            if paths {
                if !text.starts_with(['/', '*', '{', '[', '?']) {
                    return Err(format!("{text} is no absolute path: begin it with /"));
                }
                text.truncate(text.trim_end_matches('/').len().max(1));
            }
            if paths && is_never_a_mount_point(&text) {
                return Err(format!("{text} is no path of a mount: leave out //, /./ and /../"));
            }
            if text.len() > MAX_GLOB {
                return Err(format!("a glob is longer than {MAX_GLOB} bytes"));
            }
            let glob = GlobBuilder::new(&text)
                .literal_separator(paths)
                .build()
                .map_err(|error| format!("{text} is no glob: {}", error.kind()))?;
            let beginning = text.find(SPECIAL).unwrap_or(text.len());
            if beginning == text.len() {
                return Ok(NamedGlob { text, beginning, matcher: None });
            }
            // Not the crate's own matcher: it panics where a glob is too large or too deep for a regular expression.
            let matcher = RegexBuilder::new(glob.regex())
                .dot_matches_new_line(true)
                .size_limit(MAX_COMPILED_GLOB)
                .build()
                .map_err(|_| "a glob is too large or too deeply nested".to_owned())?;
            Ok(NamedGlob { text, beginning, matcher: Some(matcher) })
        };
        texts.iter().map(glob).collect::<Result<_, _>>().map(Globs)
    }

    fn matches(&self, name: &OsStr) -> bool {
        self.0.iter().any(|glob| glob.matches(name.as_bytes()))
    }

    fn in_toml(&self) -> String {
        match self.0.as_slice() {
            [only] => in_toml(&only.text),
            all => list(all.iter().map(|glob| glob.text.as_str())),
        }
    }

    fn are_literal(&self) -> bool {
        self.0.iter().all(|glob| glob.text.starts_with('/') && glob.matcher.is_none())
    }
}

/// The kernel knows mount points without these.
fn is_never_a_mount_point(text: &str) -> bool {
    text.starts_with('/')
        && text.split('/').skip(1).any(|name| matches!(name, "" | "." | ".."))
        && text != "/"
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", "))
}

impl fmt::Display for Globs {
    /// For people: the globs themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|glob| glob.text.as_str()).collect();
        f.write_str(&texts.join(" or "))
    }
}

impl fmt::Debug for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::mount;
    use crate::monitor::Expected;
    use std::os::unix::ffi::OsStrExt;

    fn globs(texts: &[&str], paths: bool) -> Option<Globs> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        Some(Globs::new(&texts, paths).unwrap())
    }

    fn rule(line: usize) -> Rule {
        Rule {
            place: Location { file: "/etc/c.toml".into(), line: Some(line) },
            mountpoint: None,
            fstype: None,
            device: None,
            poll_interval: None,
            timeout: None,
            slow_after: None,
            exclude: false,
            expected: false,
            severity: Severity::Critical,
            hooks: None,
        }
    }

    #[test]
    fn globs_of_paths_and_of_names() {
        for (glob, name, paths, fits) in [
            ("/mnt/*", "/mnt/a", true, true),
            ("/mnt/*", "/mnt/a/b", true, false),
            ("/mnt/*", "/mnt", true, false),
            ("/mnt/**", "/mnt/a/b", true, true),
            ("/mnt/a/", "/mnt/a", true, true),
            ("/", "/", true, true),
            ("**", "/", true, true),
            ("**", "/a/b", true, true),
            ("/{home,srv}/[a-c]?", "/srv/bx", true, true),
            ("nfs*", "nfs4", false, true),
            ("nfs", "nfs4", false, false),
            ("nas:*", "nas:/a/b", false, true),
            ("/a/**/b", "/a/b", true, true),
            ("/a/**/b", "/ab", true, false),
            (r"/a\*", "/a*", true, true),
            (r"/a\*", "/ab", true, false),
            ("/mnt/\u{e9}*", "/mnt/\u{e9}t\u{e9}", true, true),
        ] {
            let found = globs(&[glob], paths).unwrap().matches(OsStr::new(name));
            assert_eq!(found, fits, "{glob} {name}");
        }
        let odd = globs(&["/mnt/?"], true).unwrap();
        assert!(odd.matches(OsStr::from_bytes(b"/mnt/\xff")), "a byte that is no character is one, too");
    }

    #[test]
    fn globs_that_are_too_much_or_match_nothing_ever_are_errors() {
        let new = |text: &str| Globs::new(&[text.to_owned()], true).map(|_| ());
        let nested = format!("/{}{}", "{a,".repeat(300), "}".repeat(300));
        let error = new(&nested).unwrap_err();
        assert!(error.contains("nested"), "{error}");
        let error = new(&format!("/{}", "{a,b}".repeat(2000))).unwrap_err();
        assert!(error.contains("4096 bytes"), "{error}");
        for never in ["/a//b", "/a/./b", "/a/../b", "//a", "/.", "/a/.."] {
            let error = new(never).unwrap_err();
            assert!(error.contains("no path of a mount"), "{never}: {error}");
        }
        for fine in ["/", "/a/", "/a/...", "/a/.b", "/a.", "/*/..a"] {
            new(fine).unwrap();
        }
    }

    #[test]
    fn who_is_told_that_a_mount_is_missing_is_told_that_it_is_there() {
        let rules = Rules::from(vec![
            Rule { fstype: globs(&["tmpfs"], false), hooks: Some(Vec::new()), ..rule(1) },
            Rule { mountpoint: globs(&["/a"], true), severity: Severity::Warning, ..rule(2) },
        ]);
        let expected = Arc::new(Expected::new("/a".into(), String::new(), String::new(), |_| true));
        let missing = Event::Missing { expected: Arc::clone(&expected), containing_mount: None };
        let found = Event::Found { expected, mount: mount(1, "/a", "tmpfs"), lasted: Duration::ZERO };
        assert_eq!(rules.on(&missing), (Severity::Warning, None));
        assert_eq!(rules.on(&found), (Severity::Warning, None));
    }

    #[test]
    fn the_first_that_matches_counts() {
        let rules = Rules::from(vec![
            Rule { fstype: globs(&["nfs*"], false), mountpoint: globs(&["/a"], true), ..rule(1) },
            Rule { mountpoint: globs(&["/a", "/b"], true), ..rule(2) },
            Rule { fstype: globs(&["nfs4"], false), timeout: Some(Duration::from_millis(500)), ..rule(3) },
        ]);
        let line =
            |path: &str, fstype: &str| rules.of(&mount(1, path, fstype)).and_then(|rule| rule.place.line);
        assert_eq!(line("/a", "nfs4"), Some(1));
        assert_eq!(line("/a", "ext4"), Some(2));
        assert_eq!(line("/c", "nfs4"), Some(3));
        assert_eq!(line("/c", "nfs3"), None);
        let settings = rules.0[2].settings(ProbeSettings::default());
        assert_eq!(
            (settings.timeout, settings.slow_after),
            (Duration::from_millis(500), Duration::from_millis(500))
        );
        let table = MountTable::new(vec![mount(1, "/a", "nfs4"), mount(2, "/c", "ext4")]);
        let warnings = rules.warnings(&table, ProbeSettings::default());
        let wanted = [
            "/etc/c.toml:2: [[rule]] is of no use now: the rule at /etc/c.toml:1 comes first for all its mounts",
            "/etc/c.toml:3: [[rule]] is of no use now: the rule at /etc/c.toml:1 comes first for all its mounts",
        ];
        assert_eq!(warnings, wanted);
    }
}
