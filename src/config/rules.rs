//! `[[rule]]`: exceptions for some mounts. Only the first rule that matches a mount applies to it.

use super::data_path_reader::DataPathRule;
use super::globs::Globs;
use super::location::Location;
use super::remedy_reader::RemedyRule;
use crate::monitor::{DataPath, Event, ExpectedOptions, FlapSettings, ProbeSettings, Severity};
use crate::render::escape::escape_os;
use crate::render::timestamp;
use platform::{DataKind, Mount, MountTable};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rule {
    pub location: Location,
    pub source: Vec<String>,
    /// All globs that are set must match.
    pub mountpoint: Option<Globs>,
    pub fstype: Option<Globs>,
    pub device: Option<Globs>,
    pub poll_interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub slow_after: Option<Duration>,
    pub flap_changes: Option<u32>,
    pub flap_window: Option<Duration>,
    pub exclude: bool,
    pub expected: bool,
    pub expected_options: Option<ExpectedOptions>,
    pub severity: Severity,
    /// When it ends by itself.
    pub until: Option<SystemTime>,
    /// The hooks that get events of these mounts, if not all.
    pub hooks: Option<Vec<String>>,
    pub remedy: Option<RemedyRule>,
    pub data_path: DataPathRule,
}

impl Rule {
    pub fn matches(&self, mount: &Mount) -> bool {
        self.matches_path(&mount.mountpoint) && self.matches_ignoring_path(mount)
    }

    fn matches_path(&self, path: &Path) -> bool {
        self.mountpoint.as_ref().is_none_or(|globs| globs.matches(path.as_os_str()))
    }

    pub(super) fn matches_ignoring_path(&self, mount: &Mount) -> bool {
        let matches =
            |globs: &Option<Globs>, name: &OsStr| globs.as_ref().is_none_or(|globs| globs.matches(name));
        matches(&self.fstype, &mount.fstype) && matches(&self.device, &mount.device)
    }

    /// What is read or written on its mounts. `defaults` are the settings for mounts without a rule.
    pub fn data_path(&self, defaults: ProbeSettings) -> Option<DataPath> {
        self.data_path.data_path(&self.settings(defaults))
    }

    /// The settings for mounts of this rule. `defaults` are the settings for mounts without a rule.
    pub fn settings(&self, defaults: ProbeSettings) -> ProbeSettings {
        let timeout = self.timeout.unwrap_or(defaults.timeout);
        ProbeSettings {
            poll_interval: self.poll_interval.unwrap_or(defaults.poll_interval),
            timeout,
            slow_after: self.slow_after.unwrap_or(defaults.slow_after.min(timeout)),
            flap: FlapSettings {
                changes: self.flap_changes.unwrap_or(defaults.flap.changes),
                window: self.flap_window.unwrap_or(defaults.flap.window),
            },
            severity: self.severity,
        }
    }
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rules(Arc<[Rule]>);

impl Rules {
    pub fn rule_for(&self, mount: &Mount) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.matches(mount))
    }

    /// The rule that applies to a missing mount. Only its mount point is known.
    fn rule_for_missing(&self, mountpoint: &Path) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.mountpoint.is_some() && rule.matches_path(mountpoint))
    }

    pub(super) fn severity_of_missing(&self, mountpoint: &Path) -> Severity {
        self.rule_for_missing(mountpoint).map_or(Severity::default(), |rule| rule.severity)
    }

    /// The severity of an event, and the hooks that get it, if not all.
    pub fn route(&self, event: &Event) -> (Severity, Option<&[String]>) {
        let rule = match (event, event.mount()) {
            // `Found` is routed like `Missing`.
            (Event::Missing { expected, .. } | Event::Found { expected, .. }, _) => {
                self.rule_for_missing(&expected.mountpoint)
            }
            (_, Some(mount)) => self.rule_for(mount),
            (_, None) => None,
        };
        rule.map_or((Severity::default(), None), |rule| (rule.severity, rule.hooks.as_deref()))
    }

    /// When the next rule or remedy ends.
    pub(super) fn next_end(&self) -> Option<SystemTime> {
        let remedies = self.0.iter().filter_map(|rule| rule.remedy.as_ref()?.until);
        self.0.iter().filter_map(|rule| rule.until).chain(remedies).min()
    }

    /// Removes the remedies that have ended, and names their rules.
    pub(super) fn end_remedies(&mut self, now: SystemTime) -> Vec<Location> {
        let has_ended =
            |rule: &Rule| rule.remedy.as_ref().is_some_and(|it| it.until.is_some_and(|until| until <= now));
        let ended: Vec<Location> =
            self.0.iter().filter(|rule| has_ended(rule)).map(|rule| rule.location.clone()).collect();
        if !ended.is_empty() {
            let without = |rule: &Rule| {
                let remedy = rule.remedy.clone().filter(|_| !has_ended(rule));
                Rule { remedy, ..rule.clone() }
            };
            self.0 = self.0.iter().map(without).collect();
        }
        ended
    }

    /// The rules that are still in force, and those that have ended.
    pub(super) fn split_ended(&self, now: SystemTime) -> (Rules, Vec<Rule>) {
        let (ended, in_force) =
            self.0.iter().cloned().partition(|rule| rule.until.is_some_and(|until| until <= now));
        (Rules::from(in_force), ended)
    }

    /// A line about each rule that ends by itself, for `status`.
    pub fn temporary(&self) -> Vec<String> {
        let line = |rule: &Rule| {
            let keys = rule.source.iter().filter(|line| !line.starts_with("until ")).cloned();
            let (until, keys) = (timestamp::clock(rule.until?), keys.collect::<Vec<_>>().join(", "));
            Some(format!("Until {until} the rule at {} applies: {keys}", rule.location))
        };
        self.0.iter().filter_map(line).collect()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.0.iter()
    }

    /// Rules that would write to mounts that are read-only on purpose: present ones, and those of an fstab, each with its
    /// line. One line each.
    pub fn futile_probes(&self, table: &MountTable, of_fstab: &[(PathBuf, String)]) -> Vec<String> {
        let problem = |rule: &Rule, path: &Path, how: &str| {
            rule.location.problem(&format!("[[rule]] probe = \"write\": {} is {how}", escape_os(path)))
        };
        let present = table.iter().filter_map(|mount| {
            let rule = self.rule_for(mount).filter(|rule| rule.data_path.is_futile_on(mount))?;
            Some(problem(rule, &mount.mountpoint, "mounted read-only"))
        });
        let absent = of_fstab.iter().filter(|(path, _)| table.iter().all(|mount| mount.mountpoint != *path));
        let absent = absent.filter_map(|(path, line)| {
            let rule = self.rule_for_missing(path)?;
            let writes = rule.data_path.kind == Some(DataKind::Write);
            writes.then(|| problem(rule, path, &format!("read-only by {line}")))
        });
        present.chain(absent).collect()
    }

    /// Rules that are probably mistakes, given the mounts of `table`; one line each.
    pub fn warnings(&self, table: &MountTable, defaults: ProbeSettings) -> Vec<String> {
        let mut is_used = vec![false; self.0.len()];
        // For each rule an earlier rule that matches a mount of it.
        let mut shadowed_by: Vec<Option<usize>> = vec![None; self.0.len()];
        for mount in table.iter() {
            let mut matching = (0..self.0.len()).filter(|&number| self.0[number].matches(mount));
            let Some(first) = matching.next() else { continue };
            is_used[first] = true;
            matching.for_each(|later| shadowed_by[later] = Some(first));
        }
        let mut warnings = Vec::new();
        for (number, rule) in self.0.iter().enumerate() {
            let ProbeSettings { poll_interval, timeout, slow_after, .. } = rule.settings(defaults);
            let mut warn = |text: String| warnings.push(format!("{}: [[rule]] {text}", rule.location));
            if slow_after > timeout {
                warn("slow_after is longer than the timeout, so these mounts are never slow".to_owned());
            }
            if let Some(data_path) = rule.data_path(defaults)
                && data_path.interval < poll_interval
            {
                warn("probe_interval is shorter than poll_interval, which is used instead".to_owned());
            }
            match shadowed_by[number] {
                _ if is_used[number] => {}
                Some(first) => {
                    let first = &self.0[first].location;
                    warn(format!("has no effect now: the rule at {first} comes first for all its mounts"));
                }
                None if rule.expected => {} // reported as missing
                None => warn("matches no mount now".to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::mount;
    use crate::monitor::Expected;

    fn globs(texts: &[&str], are_paths: bool) -> Option<Globs> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        Some(Globs::new(&texts, are_paths).unwrap())
    }

    fn rule(line: usize) -> Rule {
        Rule { location: Location { file: "/etc/c.toml".into(), line: Some(line) }, ..Rule::default() }
    }

    #[test]
    fn found_is_routed_like_missing() {
        let rules = Rules::from(vec![
            Rule { fstype: globs(&["tmpfs"], false), hooks: Some(Vec::new()), ..rule(1) },
            Rule { mountpoint: globs(&["/a"], true), severity: Severity::Warning, ..rule(2) },
        ]);
        let expected = Arc::new(Expected::new("/a".into(), String::new(), String::new(), |_| true));
        let missing = Event::Missing { expected: Arc::clone(&expected), containing_mount: None };
        let found = Event::Found { expected, mount: mount(1, "/a", "tmpfs"), lasted: Duration::ZERO };
        assert_eq!(rules.route(&missing), (Severity::Warning, None));
        assert_eq!(rules.route(&found), (Severity::Warning, None));
    }

    #[test]
    fn first_matching_rule_applies() {
        let rules = Rules::from(vec![
            Rule { fstype: globs(&["nfs*"], false), mountpoint: globs(&["/a"], true), ..rule(1) },
            Rule { mountpoint: globs(&["/a", "/b"], true), ..rule(2) },
            Rule { fstype: globs(&["nfs4"], false), timeout: Some(Duration::from_millis(500)), ..rule(3) },
        ]);
        let line = |path: &str, fstype: &str| {
            rules.rule_for(&mount(1, path, fstype)).and_then(|rule| rule.location.line)
        };
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
            "/etc/c.toml:2: [[rule]] has no effect now: the rule at /etc/c.toml:1 comes first for all its mounts",
            "/etc/c.toml:3: [[rule]] has no effect now: the rule at /etc/c.toml:1 comes first for all its mounts",
        ];
        assert_eq!(warnings, wanted);
    }
}
