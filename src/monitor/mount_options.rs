//! Mounts whose options are other than a rule expects: read-only in place of read-write, another version of a protocol.
//! It is reported once when it begins, again when a further option differs, and once when it ends.

use super::{Event, Monitor, Time};
use platform::{Mount, MountKey};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The options that a mount must have, if a rule names some.
pub type OptionsPolicy = Box<dyn Fn(&Mount) -> Option<ExpectedOptions> + Send>;

/// Maximum number of options of a rule. Each is compared with all options of a mount.
const MAX_OPTIONS: usize = 32;

/// Options that a mount or its superblock must have: `rw`, `ro`, a name, or `name=value`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpectedOptions(Arc<[String]>);

/// An expected option that a mount does not have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OptionDifference {
    pub expected: String,
    /// What it has in its place; `None` if nothing of that name.
    pub found: Option<OsString>,
}

impl ExpectedOptions {
    pub fn new(options: Vec<String>) -> Result<ExpectedOptions, String> {
        if options.is_empty() || options.len() > MAX_OPTIONS {
            return Err(format!("name 1 to {MAX_OPTIONS} options"));
        }
        let is_valid = |c: char| c.is_ascii_graphic() && c != ',';
        if let Some(option) = options.iter().find(|option| {
            !option.chars().all(is_valid) || option.split('=').next().is_none_or(str::is_empty)
        }) {
            return Err(format!(
                "{option:?} is not one option as /proc/self/mountinfo shows it, such as \"rw\" or \"vers=4.2\""
            ));
        }
        let names = |name: &str| options.iter().any(|option| option == name);
        if names("rw") && names("ro") {
            return Err("a mount cannot be both rw and ro".to_owned());
        }
        Ok(ExpectedOptions(options.into()))
    }

    pub fn contain(&self, option: &str) -> bool {
        self.0.iter().any(|it| it == option)
    }

    /// What differs. Of a mount whose options are not known in full, only what is certain.
    pub fn differences(&self, mount: &Mount) -> Vec<OptionDifference> {
        let is_unknown = mount.shortened.super_options;
        let difference = |expected: &String| {
            let found = match expected.as_str() {
                "rw" if mount.read_only() => Some("ro".into()),
                "ro" if !mount.read_only() && !is_unknown => Some("rw".into()),
                "rw" | "ro" => return None,
                expected => {
                    let found = find(mount, expected.as_bytes());
                    if is_unknown || found.is_some_and(|found| is_met(expected.as_bytes(), found)) {
                        return None;
                    }
                    found.map(|found| OsStr::from_bytes(found).to_owned())
                }
            };
            Some(OptionDifference { expected: expected.clone(), found })
        };
        self.0.iter().filter_map(difference).collect()
    }
}

/// The option that meets the expected one, else one of the same name.
fn find<'m>(mount: &'m Mount, expected: &[u8]) -> Option<&'m [u8]> {
    let lists = [mount.options.as_bytes(), mount.super_options.as_bytes()];
    let options = || lists.into_iter().flat_map(|list| list.split(|&byte| byte == b','));
    options()
        .find(|option| is_met(expected, option))
        .or_else(|| options().find(|option| name(option) == name(expected)))
}

/// A name is met by any value.
fn is_met(expected: &[u8], option: &[u8]) -> bool {
    option == expected || name(option) == expected
}

fn name(option: &[u8]) -> &[u8] {
    option.split(|&byte| byte == b'=').next().unwrap_or(option)
}

/// A mount whose options are other than expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnexpectedOptions {
    pub mount: Arc<Mount>,
    /// What differed when it was checked last.
    pub differences: Vec<OptionDifference>,
    pub since: Time,
}

/// The watched mounts of rules that expect options.
#[derive(Default)]
pub(super) struct MountOptions {
    policy: Option<OptionsPolicy>,
    as_expected: FxHashSet<MountKey>,
    /// The others, in the order of the mount table.
    unexpected: BTreeMap<MountKey, Arc<UnexpectedOptions>>,
}

impl MountOptions {
    pub(super) fn new(policy: Option<OptionsPolicy>) -> MountOptions {
        MountOptions { policy, ..MountOptions::default() }
    }

    pub(super) fn replace_policy(&mut self, policy: Option<OptionsPolicy>) {
        self.policy = policy;
    }

    /// Whether no mount can be of interest: then no mount need be looked at.
    fn is_idle(&self) -> bool {
        self.policy.is_none() && self.as_expected.is_empty() && self.unexpected.is_empty()
    }

    /// Whether its options are other than expected; `None` without a rule that expects some.
    pub(super) fn are_unexpected(&self, key: MountKey) -> Option<bool> {
        let is_unexpected = self.unexpected.contains_key(&key);
        (is_unexpected || self.as_expected.contains(&key)).then_some(is_unexpected)
    }

    pub(super) fn unexpected(&self) -> impl Iterator<Item = &Arc<UnexpectedOptions>> {
        self.unexpected.values()
    }

    /// A mount had these options when an earlier daemon stopped, and that was reported.
    pub(super) fn restore(&mut self, unexpected: UnexpectedOptions) {
        self.unexpected.insert(unexpected.mount.key, Arc::new(unexpected));
    }

    pub(super) fn forget(&mut self, key: MountKey) {
        self.as_expected.remove(&key);
        self.unexpected.remove(&key);
    }

    fn check(&mut self, now: Time, mount: &Arc<Mount>) -> Option<Event> {
        let (key, mount) = (mount.key, Arc::clone(mount));
        let expected = self.policy.as_ref().and_then(|policy| policy(&mount));
        let differences = expected.as_ref().map_or_else(Vec::new, |expected| expected.differences(&mount));
        let before = self.unexpected.remove(&key);
        self.as_expected.remove(&key);
        if differences.is_empty() {
            if expected.is_some() {
                self.as_expected.insert(key);
            }
            return before.map(|before| Event::ExpectedOptions { mount, lasted: now - before.since });
        }
        let is_known =
            |difference| before.as_ref().is_some_and(|known| known.differences.contains(difference));
        let is_worse = !differences.iter().all(is_known);
        let since = before.as_ref().map_or(now, |before| before.since);
        let unexpected =
            UnexpectedOptions { mount: Arc::clone(&mount), differences: differences.clone(), since };
        self.unexpected.insert(key, Arc::new(unexpected));
        is_worse.then_some(Event::UnexpectedOptions { mount, differences })
    }
}

impl Monitor {
    /// Compares the options of a watched mount with those that a rule expects. Nothing is said about hidden mounts.
    pub(super) fn check_options(&mut self, now: Time, key: MountKey) {
        if self.options.is_idle() {
            return;
        }
        let Some(entry) = self.registry.get(key).filter(|entry| !entry.is_hidden) else { return };
        let before = self.options.are_unexpected(key);
        let event = self.options.check(now, &entry.mount);
        if self.options.are_unexpected(key) != before {
            self.registry.mark_changed(key);
        }
        self.report_all(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing;
    use platform::ShortenedNames;

    fn differences(expected: &[&str], options: &str, super_options: &str) -> String {
        let mount =
            Mount { options: options.into(), super_options: super_options.into(), ..testing::mount(1, "/a") };
        texts(expected, &mount)
    }

    fn texts(expected: &[&str], mount: &Mount) -> String {
        let expected = ExpectedOptions::new(expected.iter().map(ToString::to_string).collect()).unwrap();
        let text = |OptionDifference { expected, found }: OptionDifference| match found {
            Some(found) => format!("{expected}:{}", found.display()),
            None => expected,
        };
        expected.differences(mount).into_iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_of_the_mount_and_of_the_superblock_count() {
        for (expected, options, super_options, wanted) in [
            (&["rw"][..], "rw,relatime", "rw", ""),
            (&["rw"], "ro", "rw", "rw:ro"),
            (&["rw"], "rw", "ro", "rw:ro"),
            (&["ro"], "rw", "ro", ""),
            (&["ro"], "rw", "rw", "ro:rw"),
            (&["rw", "vers=4.2"], "ro", "rw,vers=4.1,hard", "rw:ro vers=4.2:vers=4.1"),
            (&["vers=4.2"], "rw", "rw,vers=4.2", ""),
            (&["vers=4"], "rw", "rw,vers=4.2", "vers=4:vers=4.2"),
            (&["vers=4.2"], "rw", "rw,nfsvers=4.2", "vers=4.2"),
            (&["nosuid", "hard"], "rw,nosuid", "rw,hard", ""),
            (&["nosuid"], "rw,nosuidx", "rw", "nosuid"),
            (&["sec"], "rw", "rw,sec=krb5p", ""),
            (&["sec=krb5p"], "rw", "rw,sec", "sec=krb5p:sec"),
            (&["lowerdir+=/b"], "rw", "rw,lowerdir+=/a,lowerdir+=/b", ""),
        ] {
            let found = differences(expected, options, super_options);
            assert_eq!(found, wanted, "{expected:?} {options} {super_options}");
        }
    }

    #[test]
    fn what_is_not_known_does_not_differ() {
        let shortened = ShortenedNames { super_options: true, ..ShortenedNames::default() };
        let mount = Mount { shortened, super_options: "[9999 bytes]".into(), ..testing::mount(1, "/a") };
        assert_eq!(texts(&["ro", "vers=4.2", "hard"], &mount), "");
        assert_eq!(texts(&["rw", "hard"], &Mount { options: "ro".into(), ..mount }), "rw:ro");
    }

    #[test]
    fn mistakes_are_refused() {
        let new = |options: &[&str]| ExpectedOptions::new(options.iter().map(ToString::to_string).collect());
        for options in [&[][..], &["rw,noatime"], &["=4.2"], &[""], &["a b"], &["rw", "ro"], &["a"; 33]] {
            assert!(new(options).is_err(), "{options:?}");
        }
        assert!(new(&["rw,noatime"]).unwrap_err().contains("is not one option"));
        assert!(new(&["rw", "vers=4.2", "upperdir=/a\\040b"]).is_ok());
    }
}
