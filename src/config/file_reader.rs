//! Reads options, `[[rule]]`, `[[hook]]` and `[alertmanager]` from the configuration files.

use super::builder::ConfigBuilder;
use super::hooks::HookReader;
use super::location::Origin;
use super::options::options;
use super::problems::{problem, text_or_report};
use super::toml_table::{TomlDocument, TomlTable, option_value};
use super::{Config, Rule, rule_reader};
use crate::children::files::ConfigFiles;
use crate::output::alertmanager::ALERTMANAGER;
use std::path::Path;
use std::string::FromUtf8Error;

const TABLES: [&str; 3] = ["rule", "hook", "alertmanager"];

impl ConfigBuilder {
    /// Reads the main file and the drop-ins beside it.
    pub(super) fn read_files(&mut self, path: &Path, files: ConfigFiles) {
        let (mut rules, mut hooks) = (Vec::new(), HookReader::default());
        self.config.fingerprints = files.fingerprints;
        for item in files.items {
            let text = text_or_report(item, &mut self.problems, &mut self.config.file_warnings);
            let Some((path, bytes)) = text else { continue };
            let text = match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => {
                    self.problems.push(problem(&path, &not_utf8(&error)));
                    continue;
                }
            };
            let document = TomlDocument::new(&path, &text);
            if let Some(table) = document.parse() {
                self.read_document(table, &mut rules, &mut hooks);
            }
            self.problems.extend(document.into_problems());
            self.config.files.push(path);
        }
        self.config.rules = rules.into();
        match hooks.into_settings() {
            Ok((hooks, alertmanager)) => {
                (self.config.hooks, self.config.alertmanager) = (hooks, alertmanager);
            }
            Err(text) => self.problems.push(problem(path, &text)),
        }
        self.check_hooks_of_rules();
    }

    fn read_document(&mut self, mut table: TomlTable<'_>, rules: &mut Vec<Rule>, hooks: &mut HookReader) {
        for option in options() {
            if let Some(location) = table.location_of(option.key) {
                let origin = Origin::File(location);
                table.take(option.key, |value| self.set(option, &option_value(value)?, origin));
            }
        }
        rule_reader::read(&mut table, rules);
        hooks.read(&mut table);
        let known: Vec<&str> = options().map(|option| option.key).chain(TABLES).collect();
        table.report_unknown_keys(&known);
    }

    /// Reports rules with an unknown hook name: their mounts would have no hook.
    fn check_hooks_of_rules(&mut self) {
        let Config { hooks, alertmanager, rules, .. } = &self.config;
        let is_known = |name: &String| {
            hooks.iter().any(|hook| hook.name == *name) || (name == ALERTMANAGER && alertmanager.is_some())
        };
        for rule in rules.iter() {
            if let Some(name) = rule.hooks.iter().flatten().find(|name| !is_known(name)) {
                let text = format!("[[rule]] hook: there is no hook {name}");
                self.problems.push(rule.location.problem(&text));
            }
        }
    }
}

fn not_utf8(error: &FromUtf8Error) -> String {
    let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    format!("cannot read this file: line {line} is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::children::files::FileWorker;
    use proptest::prelude::*;
    use std::fs;
    use std::time::{Duration, SystemTime};

    fn files(path: &Path) -> ConfigFiles {
        FileWorker::new().begin(Duration::from_secs(60)).unwrap().read_config(path, true, false).unwrap()
    }

    /// The errors do not include the path of the file.
    fn read(text: impl AsRef<[u8]>) -> Result<Config, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, text).unwrap();
        let mut builder = ConfigBuilder::new(path.clone(), folder.path().into());
        builder.read_files(&path, files(&path));
        let prefix = format!("{}:", path.display());
        let shorten = |problem: &String| problem.replace(&prefix, "");
        builder.build().map_err(|problems| problems.iter().map(shorten).collect())
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let problems = read(
            "timout = 1\n\
             timeout = { a = 1 }\n\
             syslog = 2020-01-01\n\
             once_only = \"yes\"\n\
             socket = true\n\
             slow_after = \"soon\"\n\
             push_user_file = \"/u\"\n\
             [[rule]]\n\
             mountpoint = [\"/a\", 5]\n\
             timeout = true\n\
             severity = \"bad\"\n\
             syslog = \"off\"\n\
             [[rule]]\n\
             exclude = true\n\
             expected = true\n\
             fstype = \"x\"\n\
             [[rule]]\n\
             timeout = 3\n\
             [[rule]]\n\
             mountpoint = \"/a/*\"\n\
             expected = true\n\
             [[rule]]\n\
             fstype = \"x\"\n\
             expected_options = \"rw,hard\"\n\
             [[rule]]\n\
             fstype = \"x\"\n\
             expected_options = [\"rw\", \"vers=4.2\"]\n\
             exclude = true\n\
             [[hook]]\n\
             name = \"h\"\n\
             command = [\"/bin/true\"]\n\
             url = \"http://h\"\n\
             [rule2]\n",
        )
        .unwrap_err();
        let expected = [
            "1: unknown key timout; did you mean timeout?",
            "2: timeout: must be a text, a number, or true or false, not a table",
            "3: syslog: must be a text, a number, or true or false, not a datetime",
            "4: once_only: must be true or false, not \"yes\"",
            "5: socket: must be a text or a number, not true or false",
            "6: slow_after: write a number of seconds, or 500ms, 30s, 2m, 1h30m, 1d, not \"soon\"",
            "9: [[rule]] mountpoint: must be a list of texts in quotes",
            "10: [[rule]] timeout: must be a number of seconds or a text such as \"30s\", not a boolean",
            "11: [[rule]] severity: use critical, warning or info, not \"bad\"",
            "12: [[rule]] syslog is an option of the daemon: write it above the first [table]",
            "13: [[rule]] a mount cannot be both expected and excluded",
            "17: [[rule]] needs a mountpoint, fstype or device to match",
            "19: [[rule]] expected needs a mountpoint without * ? [ {",
            "24: [[rule]] expected_options: \"rw,hard\" is not one option as /proc/self/mountinfo shows it, such as \
             \"rw\" or \"vers=4.2\"",
            "25: [[rule]] an excluded mount has no expected_options",
            "29: [[hook]] h: has a command and a url; remove one of them",
            "33: unknown key rule2; did you mean rule?",
            "7: push_user_file needs prometheus_push_gateway",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn a_rule_ends_by_itself() {
        let mut config = read(
            "[[rule]]\nfstype = \"a\"\nuntil = 2000-01-01T00:00:00Z\n\
             [[rule]]\nfstype = \"b\"\nexclude = true\nuntil = 2100-01-01T00:00:00+02:00\n\
             [[rule]]\nfstype = \"c\"\nuntil = \"2100-01-01T00:00:00Z\"\n",
        )
        .unwrap();
        config.end_rules(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        let lines = config.rules.temporary();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("Until 2099-12-31 22:00:00 UTC the rule at "), "{lines:?}");
        assert!(lines[0].ends_with(" applies: fstype = \"b\", exclude = true"), "{lines:?}");
        assert!(config.file_warnings[0].ends_with(":1: [[rule]] has ended; remove it"));
        for wrong in ["2026-12-01T18:00:00", "2026-12-01", "5", "\"tomorrow\"", "true"] {
            let problems = read(format!("[[rule]]\nfstype = \"a\"\nuntil = {wrong}\n")).unwrap_err();
            assert!(problems[0].starts_with("3: [[rule]] until: "), "{problems:?}");
        }
    }

    #[test]
    fn remedies_are_read_with_their_defaults() {
        use crate::monitor::remedy::{Consent, Mode, RemedySettings, Remount, StepKind};
        let rule = "[[rule]]\nmountpoint = \"/home/*\"\nfstype = \"fuse.sshfs\"\n";
        let remedy = |text: &str| {
            let config = read(format!("{rule}{text}")).unwrap();
            let rule = config.rules.iter().next().unwrap().clone();
            (rule.remedy.unwrap(), rule.source.join("; "))
        };
        let (dry_run, source) = remedy("remedy = { mode = \"dry-run\" }\n");
        assert_eq!((dry_run.settings, dry_run.until), (RemedySettings::new(Mode::DryRun), None));
        let keys = "mountpoint = \"/home/*\"; fstype = \"fuse.sshfs\"";
        assert_eq!(source, format!("{keys}; remedy.mode = \"dry-run\""));
        let all = "mode = \"act\"\nafter = \"90s\"\nsteps = [\"resume\", \"force\"]\nallow = \"silent_server\"\n\
                   remount = \"a.service\"\nmax_attempts = 2\nwindow = 3600\nuntil = 2099-01-01T00:00:00Z\n";
        let (act, source) = remedy(&format!("[rule.remedy]\n{all}"));
        let expected = RemedySettings {
            mode: Mode::Act,
            after: Duration::from_secs(90),
            steps: vec![StepKind::Resume, StepKind::Force],
            allow: vec![Consent::SilentServer],
            remount: Remount::Unit("a.service".to_owned()),
            max_attempts: 2,
            window: Duration::from_secs(3600),
        };
        assert_eq!(act.settings, expected);
        assert!(act.until.is_some());
        // What `--explain` shows is TOML again.
        let written_again = source.replace(keys, "").replace("; ", "\n");
        assert_eq!(remedy(&written_again).0, act, "{source}");
    }

    #[test]
    fn remedy_that_could_unmount_the_root_or_anything_is_refused() {
        let refused = |keys: &str, mode: &str| {
            read(format!("[[rule]]\n{keys}\nremedy = {{ mode = \"{mode}\" }}\n")).err()
        };
        let root = "1: [[rule]] remedy: this mountpoint also matches /, which must never be unmounted";
        for glob in ["\"/\"", "\"**\"", "\"/**\"", "[\"/a\", \"{/,/b}\"]"] {
            for mode in ["act", "dry-run"] {
                let keys = format!("mountpoint = {glob}\nfstype = \"nfs4\"");
                assert_eq!(refused(&keys, mode), Some(vec![root.to_owned()]), "{glob} {mode}");
                assert_eq!(refused(&keys, "off"), None);
            }
        }
        let broad = "1: [[rule]] remedy: mode = \"act\" needs a mountpoint, and a device or fstype";
        for keys in ["mountpoint = \"/a\"", "fstype = \"nfs4\"\ndevice = \"nas:*\""] {
            assert_eq!(refused(keys, "act"), Some(vec![broad.to_owned()]), "{keys}");
            assert_eq!(refused(keys, "dry-run"), None);
        }
        for keys in ["fstype = \"nfs4\"", "device = \"nas:*\""] {
            assert_eq!(refused(&format!("mountpoint = \"/home/**\"\n{keys}"), "act"), None);
        }
        let excluded = "mountpoint = \"/a\"\nfstype = \"x\"\nexclude = true";
        assert_eq!(refused(excluded, "act").unwrap()[0], "1: [[rule]] an excluded mount has no remedy");
    }

    #[test]
    fn mistakes_in_a_remedy_are_one_line_each() {
        for (remedy, problem) in [
            ("{}", "remedy needs a mode: \"off\", \"dry-run\" or \"act\""),
            ("\"act\"", "remedy must be a table, not a string"),
            ("{ mode = \"on\" }", "remedy mode: use off, dry-run or act, not \"on\""),
            (
                "{ mode = \"off\", steps = [\"verify\"] }",
                "remedy steps: \"verify\" is not a step of a remedy: use ",
            ),
            ("{ mode = \"off\", allow = \"all\" }", "remedy allow: use silent_server, "),
            (
                "{ mode = \"off\", remount = \"x; reboot\" }",
                "remedy remount: use auto, no, or the name of a unit",
            ),
            ("{ mode = \"off\", max_attempts = 0 }", "remedy max_attempts: must be a number from 1 to 10"),
            ("{ mode = \"off\", atfer = 5 }", "remedy unknown key atfer; did you mean after?"),
            ("{ mode = \"off\", until = \"soon\" }", "remedy until: write a date and time with a time zone"),
        ] {
            let problems = read(format!("[[rule]]\nmountpoint = \"/a\"\nremedy = {remedy}\n")).unwrap_err();
            let expected = format!("3: [[rule]] {problem}");
            assert!(problems.len() == 1 && problems[0].starts_with(&expected), "{problems:?} {expected}");
        }
    }

    #[test]
    fn a_remedy_ends_by_itself_and_its_rule_stays() {
        let until = |year: u32| {
            format!(
                "[[rule]]\nmountpoint = \"/a\"\nfstype = \"x\"\n\
                 remedy = {{ mode = \"act\", until = {year}-01-01T00:00:00Z }}\n"
            )
        };
        let mut config = read(until(2000) + &until(2100)).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert!(config.rules.next_end().is_some_and(|end| end < now));
        config.end_rules(now);
        let has_remedy: Vec<bool> = config.rules.iter().map(|rule| rule.remedy.is_some()).collect();
        assert_eq!(has_remedy, [false, true]);
        assert!(config.file_warnings[0].ends_with(":1: [[rule]] remedy has ended; remove it"));
        assert!(config.rules.next_end().is_some_and(|end| end > now));
    }

    #[test]
    fn invalid_text_and_excess_are_one_mistake() {
        let many_rules = "[[rule]]\nfstype = \"x\"\n".repeat(1001);
        let hook = |name: &str| format!("[[hook]]\nname = \"{name}\"\ncommand = [\"/bin/x\"]\n");
        let same_hooks = hook("h").repeat(2).into_bytes();
        let many_hooks: String = (0..17).map(|n| hook(&n.to_string())).collect();
        let long_key = format!("{} = 1\n", "k".repeat(100_000));
        let long_key_problem = format!("1: unknown key {}", "k".repeat(64));
        for (text, problem) in [
            (&b"a = 1\n\xff"[..], "cannot read this file: line 2 is not UTF-8"),
            (&[b'#'; (1 << 20) + 1], "cannot read this file: larger than 1024 KiB"),
            (b"timeout = 1\ntimeout = 2\n", "2: not valid TOML: "),
            (b"[[rule]]\nmountpoint = \"a\\u0000b\"\n", "2: [[rule]] mountpoint: "),
            (b"rule = 5\n", "1: [rule] must be a table, not an integer"),
            (
                b"[[hook]]\nname = \"h\"\ncommand = \"/bin/page storage\"\n",
                "3: [[hook]] command: no shell is used: write [\"PROGRAM\", \"ARGUMENT\", ...]",
            ),
            (
                b"[alertmanager]\nurl = \"http://h\"\nlabels = { a = 1 }\n",
                "3: [alertmanager] labels: a must be a text in quotes, not an integer",
            ),
            (b"[[rule]]\nfstype = \"nfs\"\nhook = \"page\"\n", "1: [[rule]] hook: there is no hook page"),
            (&same_hooks, "4: [[hook]] name: the hook at 1 also has the name h"),
            (many_hooks.as_bytes(), "17 hooks exceed the limit of 16"),
            (many_rules.as_bytes(), "2001: [[rule]] more than 1000 rules"),
            (long_key.as_bytes(), &long_key_problem),
            (b"\"a\\n\\u001b[31m\" = 1\n", "1: unknown key a"),
        ] {
            let problems = read(text).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains(problem), "{problems:?}");
            assert!(!problems[0].contains(['\n', '\u{1b}']), "{problems:?}");
        }
    }

    #[test]
    fn later_file_overrides_an_earlier_one_and_false_unsets_a_flag() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "timeout = 5\nonce_only = true\nexpect_fstab = true\n").unwrap();
        fs::create_dir(folder.path().join("conf.d")).unwrap();
        let drop_in = folder.path().join("conf.d/10-site.toml");
        fs::write(&drop_in, "timeout = 0.5\nonce_only = false\nexpect_fstab = false\n").unwrap();
        let mut builder = ConfigBuilder::new(path.clone(), folder.path().into());
        builder.read_files(&path, files(&path));
        let config = builder.build().unwrap();
        assert_eq!((config.settings.timeout.as_millis(), config.once_only, config.fstab), (500, false, None));
        assert_eq!(config.settings.slow_after, config.settings.timeout, "the default is at most the timeout");
        assert_eq!(config.files, [path, drop_in]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_reported(text: Vec<u8>) {
            let _ = read(text);
        }

        #[test]
        fn inserted_text_is_read_or_reported(at in 0..500_usize, inserted: String) {
            let mut text = "timeout = 5\n[[rule]]\nmountpoint = [\"/a/*\", \"/b\"]\nfstype = \"nfs*\"\ntimeout = \"1m\"\n\
                            remedy = { mode = \"act\", after = 5, steps = [\"detach\"], allow = \"units\", remount = \"no\" }\n\
                            [[hook]]\nname = \"h\"\ncommand = [\"/bin/x\"]\n[alertmanager]\nurl = \"http://h\"\nlabels = { a = \"b\" }\n"
                .to_owned();
            let at = (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            text.insert_str(at, &inserted);
            let _ = read(text);
        }
    }
}
