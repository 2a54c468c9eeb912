//! The files: `config.toml`, and what lies in `conf.d` beside it.

use super::diagnostic::{Diagnostic, Location};
use super::hooks::Hooks;
use super::rules::{Rule, Rules};
use super::toml_table::{OptionValue, TomlDocument};
use crate::output::alertmanager::{ALERTMANAGER, AlertmanagerSettings};
use crate::output::hooks::HookSettings;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file that is read if none is named.
pub const DEFAULT_CONFIG: &str = platform::DEFAULT_CONFIG;
/// The directory beside it whose `*.toml` are read after it, in the order of their names.
const DROP_IN_DIRECTORY: &str = "conf.d";
/// The tables at the outermost level.
const TABLES: &[&str] = &["rule", "hook", "alertmanager"];
/// A file larger than this is something else by mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// More files than this are something else, too.
const MAX_DROP_INS: usize = 100;

/// What the files say.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Options of the command line. The last of the same name counts.
    pub options: Vec<FileOption>,
    /// Rules of all files, in their order.
    pub rules: Rules,
    /// Hooks of all files.
    pub hooks: HookSettings,
    /// The Alertmanager, if there is one.
    pub alertmanager: Option<AlertmanagerSettings>,
    /// What was read.
    pub paths: Vec<PathBuf>,
}

/// An option that is written in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileOption {
    /// With `_`.
    pub key: String,
    /// Its value.
    pub word: OptionValue,
    /// Where it is written.
    pub place: Location,
}

/// What is wrong with the value of an option, if anything is.
pub type Validator<'a> = &'a dyn Fn(&FileOption) -> Option<String>;

/// Reads `path`, which may be missing unless it `must` be there, and its drop-ins. `options` are the keys that are
/// options of the command line, and `complaint` knows their values.
///
/// # Errors
/// Everything that is wrong, as far as it can be told at once.
pub fn read(
    path: &Path,
    must: bool,
    options: &[&str],
    complaint: Validator<'_>,
) -> Result<Files, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut files = Files::default();
    let mut rules: Vec<Rule> = Vec::new();
    let mut hooks = Hooks::default();
    let known: Vec<&str> = options.iter().chain(TABLES).copied().collect();
    for (path, must) in paths(path, must, &mut problems) {
        let text = match contents(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !must => continue,
            Err(error) => {
                problems.push(unreadable(&path, &error));
                continue;
            }
        };
        let mut document = TomlDocument::new(&path, &text);
        if let Some(mut table) = document.parse() {
            for key in options {
                let Some(value) = table.value(&document, key) else { continue };
                let place = document.place(value.line);
                let option = value.word().map(|word| FileOption { key: (*key).to_owned(), word, place });
                match option.and_then(|option| complaint(&option).map_or(Ok(option), Err)) {
                    Ok(option) => files.options.push(option),
                    Err(text) => document.complain(value.line, format!("{key}: {text}")),
                }
            }
            Rules::read(&mut table, &mut document, options, &mut rules);
            hooks.read(&mut table, &mut document, options);
            table.finish(&mut document, &known, &[]);
        }
        document.problems.sort_by_key(|problem| problem.place.line);
        problems.append(&mut document.problems);
        files.paths.push(path);
    }
    files.rules = rules.into();
    match hooks.settings() {
        Ok((hooks, alertmanager)) => (files.hooks, files.alertmanager) = (hooks, alertmanager),
        Err(text) if problems.is_empty() => {
            problems.push(Diagnostic { place: Location { file: path.to_path_buf(), line: None }, text });
        }
        Err(_) => {}
    }
    problems.extend(files.rules.iter().filter_map(|rule| unknown_hook(rule, &files)));
    if problems.is_empty() { Ok(files) } else { Err(problems) }
}

/// A rule that names a hook that does not exist: nobody would be told.
fn unknown_hook(rule: &Rule, files: &Files) -> Option<Diagnostic> {
    let is_known = |name: &String| {
        files.hooks.hooks.iter().any(|hook| hook.name == *name)
            || (name == ALERTMANAGER && files.alertmanager.is_some())
    };
    let name = rule.hooks.iter().flatten().find(|name| !is_known(name))?;
    Some(Diagnostic { place: rule.place.clone(), text: format!("[[rule]] hook: there is no hook {name}") })
}

/// Where changes have to be looked for: files that are there or may come, and the directories that they lie in.
#[must_use]
pub fn watched_paths(path: &Path) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let drop_ins = directory.join(DROP_IN_DIRECTORY);
    let mut all = vec![directory.to_path_buf(), drop_ins];
    // A directory that does not exist yet is announced by the one that it will lie in.
    all.extend(directory.parent().filter(|_| !directory.exists()).map(Path::to_path_buf));
    // A file that is a link changes elsewhere.
    all.extend(paths(path, false, &mut Vec::new()).into_iter().map(|(path, _)| path));
    all
}

/// A file, and what it looks like from outside if it can be seen. A drop-in that cannot, as a link to nowhere, is an
/// error, and so has to be told from one that is not there.
pub type FileFingerprint = (PathBuf, Option<Stamp>);

/// Something that changes whenever a file of these does.
#[must_use]
pub fn fingerprints(path: &Path) -> Vec<FileFingerprint> {
    paths(path, false, &mut Vec::new()).iter().map(|(path, _)| fingerprint(path)).collect()
}

/// One file.
#[must_use]
pub fn fingerprint(path: &Path) -> FileFingerprint {
    (path.to_path_buf(), stamp(path))
}

/// What a file looks like from outside: device, inode, size, and its last changes in nanoseconds.
pub type Stamp = (u64, u64, u64, i64, i64);

/// The stamp of one file, if it is there.
#[allow(clippy::disallowed_methods)] // our own file, in a thread that may hang
fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    let nanoseconds = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
    let modified = nanoseconds(file.mtime(), file.mtime_nsec());
    Some((file.dev(), file.ino(), file.size(), modified, nanoseconds(file.ctime(), file.ctime_nsec())))
}

/// The files in the order in which they are read, each with whether it must be there.
fn paths(path: &Path, must: bool, problems: &mut Vec<Diagnostic>) -> Vec<(PathBuf, bool)> {
    let mut all = vec![(path.to_path_buf(), must)];
    let directory = path.parent().unwrap_or(Path::new("/")).join(DROP_IN_DIRECTORY);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) => {
            if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
                problems.push(unreadable(&directory, &error));
            }
            return all;
        }
    };
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
    let mut drop_ins: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml") && !is_hidden(path))
        .take(MAX_DROP_INS + 1)
        .collect();
    if drop_ins.len() > MAX_DROP_INS {
        let text = format!("more than {MAX_DROP_INS} files end in .toml");
        problems.push(Diagnostic { place: Location { file: directory, line: None }, text });
        drop_ins.clear();
    }
    drop_ins.sort_unstable();
    all.extend(drop_ins.into_iter().map(|path| (path, true)));
    all
}

/// The text of a file, in UTF-8.
fn contents(path: &Path) -> io::Result<String> {
    String::from_utf8(bytes(path)?).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        invalid(format!("line {line} is not UTF-8"))
    })
}

/// What is in a file: a regular one (a FIFO would wait for its writer) of a sensible size.
#[allow(clippy::disallowed_methods)] // our own file, at the start or in a thread that may hang
pub(super) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(invalid("it is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid(format!("it is larger than {} KiB", MAX_FILE_BYTES >> 10)));
    }
    Ok(bytes)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    // The number of an error helps nobody who reads its name.
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    let place = Location { file: path.to_path_buf(), line: None };
    Diagnostic { place, text: format!("cannot read this file: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPTIONS: &[&str] = &["timeout", "syslog"];

    fn read_text(text: &[u8]) -> Result<Files, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, text).unwrap();
        let prefix = format!("{}:", path.display());
        let shorten = |problem: &Diagnostic| problem.to_string().replace(&prefix, "");
        read(&path, true, OPTIONS, &|_| None).map_err(|problems| problems.iter().map(shorten).collect())
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_line() {
        let problems = read_text(
            b"timout = 1\n\
              timeout = { a = 1 }\n\
              syslog = 2020-01-01\n\
              [[rule]]\n\
              mountpoint = [\"/a\", 5]\n\
              timeout = true\n\
              severity = \"bad\"\n\
              syslog = \"off\"\n\
              [[rule]]\n\
              exclude = true\n\
              expected = true\n\
              fstype = \"x\"\n\
              [[hook]]\n\
              name = \"h\"\n\
              command = [\"/bin/true\"]\n\
              url = \"http://h\"\n\
              [rule2]\n",
        )
        .unwrap_err();
        let wanted = [
            "1: unknown key timout; did you mean timeout?",
            "2: timeout: has to be a text, a number, or true or false, not a table",
            "3: syslog: has to be a text, a number, or true or false, not a datetime",
            "5: [[rule]] mountpoint: has to be a list of texts in quotes",
            "6: [[rule]] timeout: has to be a number of seconds or a text such as \"30s\", not a boolean",
            "7: [[rule]] severity: use critical, warning or info",
            "8: [[rule]] syslog is an option of the daemon: write it above the first [ ]",
            "9: [[rule]] a mount cannot be expected and excluded",
            "13: [[hook]] h: has a command and a url; give it one of them",
            "17: unknown key rule2; did you mean rule?",
        ];
        assert_eq!(problems, wanted);
    }

    #[test]
    fn what_is_no_text_and_what_is_too_much() {
        for (text, complaint) in [
            (&b"a = 1\n\xff"[..], "cannot read this file: line 2 is not UTF-8"),
            (&[b'#'; MAX_FILE_BYTES as usize + 1], "cannot read this file: it is larger than 1024 KiB"),
            (b"timeout = 1\ntimeout = 2\n", "2: this is no TOML: "),
            (b"[[rule]]\nmountpoint = \"a\\u0000b\"\n", "2: [[rule]] mountpoint: "),
        ] {
            let problems = read_text(text).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains(complaint), "{problems:?}");
        }
        let hook = b"[[hook]]\nname = \"h\"\ncommand = \"/bin/page storage\"\n";
        assert_eq!(
            read_text(hook).unwrap_err(),
            ["3: [[hook]] command: there is no shell: write [\"PROGRAM\", \"ARGUMENT\", ...]"]
        );
        let long = format!("{} = 1\n", "k".repeat(100_000));
        assert_eq!(read_text(long.as_bytes()).unwrap_err(), [format!("1: unknown key {}", "k".repeat(64))]);
        let many = "[[rule]]\nfstype = \"x\"\n".repeat(1001);
        assert_eq!(read_text(many.as_bytes()).unwrap_err(), ["2001: more than 1000 rules"]);
    }

    #[test]
    fn lines_and_characters_that_break_a_message_do_not() {
        let problems = read_text(b"\"a\\n\\u001b[31m\" = 1\n").unwrap_err();
        assert!(problems.iter().all(|problem| !problem.contains(['\n', '\u{1b}'])), "{problems:?}");
    }

    proptest! {
        #[test]
        fn no_text_is_more_than_an_error(text: Vec<u8>) {
            let _ = read_text(&text);
        }

        #[test]
        fn nor_is_a_configuration_with_something_in_it(at in 0..400_usize, what: String) {
            let mut text = "timeout = 5\n[[rule]]\nmountpoint = [\"/a/*\", \"/b\"]\nfstype = \"nfs*\"\ntimeout = \"1m\"\n\
                            [[hook]]\nname = \"h\"\ncommand = [\"/bin/x\"]\n[alertmanager]\nurl = \"http://h\"\nlabels = { a = \"b\" }\n"
                .to_owned();
            let at = (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            text.insert_str(at, &what);
            let _ = read_text(text.as_bytes());
        }
    }
}
