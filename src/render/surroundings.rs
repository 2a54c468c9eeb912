//! What a dead mount has to do with: other mounts, other mount namespaces, what is stacked on it, and how it is mounted
//! again. `diagnose` adds it to a diagnosis.

use super::diagnosis::{NEXT_STEPS, paragraph};
use super::escape::{escape, escape_os};
use super::json;
use super::next_steps::{NextStep, shell_quoted};
use platform::evidence::{Holder, Holders, Observation};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Maximum number of names in one line of text; JSON has all.
const MAX_NAMES: usize = 10;

/// Maximum number of mount namespaces that are named; the others are only counted.
const MAX_NAMESPACES: usize = 10;

/// Maximum number of lines about what is stacked on it; JSON has all.
const MAX_STACKED: usize = 20;

/// All names are escaped.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Surroundings {
    /// Mount points of the same superblock.
    same_file_system: Vec<String>,
    /// As the mount names it; null if it has none.
    server: Option<String>,
    /// Mount points of other file systems of this server.
    same_server: Vec<String>,
    namespaces: Option<Namespaces>,
    stacked: Vec<Stacked>,
    mount_again: Vec<NextStep>,
    /// What could not be read, and why.
    not_known: Vec<String>,
}

/// Other mount namespaces in which it is mounted.
#[derive(Clone, Debug, Serialize)]
struct Namespaces {
    count: usize,
    complete: bool,
    named: Vec<Namespace>,
}

#[derive(Clone, Debug, Serialize)]
struct Namespace {
    /// The inode number.
    namespace: u64,
    pid: u32,
    name: String,
    processes: usize,
    mountpoint: String,
}

/// Something that uses a file on the mount.
#[derive(Clone, Debug, Serialize)]
struct Stacked {
    what: String,
    file: String,
    /// Mount points of what is stacked.
    mountpoints: Vec<String>,
}

impl Surroundings {
    pub fn set_same_file_system(&mut self, mountpoints: impl Iterator<Item = PathBuf>) {
        self.same_file_system = paths(mountpoints);
    }

    pub fn set_same_server(&mut self, server: &[u8], mountpoints: impl Iterator<Item = PathBuf>) {
        self.server = Some(escape(server).into_owned());
        self.same_server = paths(mountpoints);
    }

    pub fn set_holders(&mut self, holders: &Observation<Holders>) {
        let refused = "mount namespaces of other users: requires root";
        match holders {
            Observation::Found(holders) => {
                if holders.of_user_only {
                    self.not_known.push(refused.to_owned());
                }
                let named = holders.namespaces.iter().take(MAX_NAMESPACES).map(Namespace::new).collect();
                let (count, complete) = (holders.namespaces.len(), holders.complete);
                self.namespaces = Some(Namespaces { count, complete, named });
            }
            Observation::NeedsRoot => self.not_known.push(refused.to_owned()),
            Observation::Unknown => {}
        }
    }

    /// `what` is text, with names that are already escaped.
    pub fn add_stacked(&mut self, what: String, file: &Path, mountpoints: impl Iterator<Item = PathBuf>) {
        let file = escape_os(file).into_owned();
        self.stacked.push(Stacked { what, file, mountpoints: paths(mountpoints) });
    }

    /// `mount PATH`, or another verb.
    pub fn add_mount_command(&mut self, verb: &str, object: &Path, effect: String) {
        let command = Some(format!("{verb} {}", shell_quoted(object)));
        self.mount_again.push(NextStep { command, effect });
    }

    pub fn add_mount_advice(&mut self, effect: String) {
        self.mount_again.push(NextStep { command: None, effect });
    }

    pub fn add_not_known(&mut self, what: String) {
        self.not_known.push(what);
    }

    /// The diagnosis with these sections.
    #[must_use]
    pub fn in_text(&self, diagnosis: &str) -> String {
        let mut also = String::new();
        for line in self.lines() {
            also += &paragraph("  * ", "    ", &line);
        }
        if !also.is_empty() {
            also = format!("\nAlso affected\n{also}");
        }
        let (start, end) = diagnosis.split_at(diagnosis.find(NEXT_STEPS).unwrap_or(diagnosis.len()));
        let mut text = format!("{start}{also}{end}");
        if !self.mount_again.is_empty() {
            text += "\nMount it again, once it is unmounted\n";
        }
        for NextStep { command, effect } in &self.mount_again {
            match command {
                // Commands are copied, so they are not wrapped.
                Some(command) => text += &format!("  * {command}\n{}", paragraph("      ", "      ", effect)),
                None => text += &paragraph("  * ", "    ", effect),
            }
        }
        text
    }

    /// The JSON of a diagnosis with the field `surroundings`.
    #[must_use]
    pub fn in_json(&self, diagnosis: &str) -> String {
        match diagnosis.trim_end().strip_suffix('}') {
            Some(start) => format!("{start},\"surroundings\":{}}}", json::to_line(self)),
            None => diagnosis.to_owned(),
        }
    }

    /// What is stacked on it, one text each.
    pub fn stacked(&self) -> impl Iterator<Item = String> {
        self.stacked.iter().map(|Stacked { what, file, mountpoints }| {
            let mounted = if mountpoints.is_empty() { "" } else { ", mounted at " };
            format!("{what}: {file}{mounted}{}", some_of(mountpoints))
        })
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.same_file_system.is_empty() {
            lines.push(format!("same file system: {}", some_of(&self.same_file_system)));
        }
        if let Some(server) = self.server.as_ref().filter(|_| !self.same_server.is_empty()) {
            lines.push(format!("same server {server}: {}", some_of(&self.same_server)));
        }
        if let Some(namespaces) = &self.namespaces {
            lines.extend(namespaces.named.iter().map(Namespace::line));
            if let Some(more @ 1..) = namespaces.count.checked_sub(namespaces.named.len()) {
                lines.push(format!("mounted in {more} more mount namespaces"));
            }
            if !namespaces.complete {
                lines.push("not all processes and mount namespaces were looked at".to_owned());
            }
        }
        lines.extend(self.stacked().take(MAX_STACKED));
        if let Some(more @ 1..) = self.stacked.len().checked_sub(MAX_STACKED) {
            lines.push(format!("{more} more are stacked on it"));
        }
        lines.extend(self.not_known.iter().map(|what| format!("not known: {what}")));
        lines
    }
}

impl Namespace {
    fn new(holder: &Holder) -> Namespace {
        Namespace {
            namespace: holder.namespace,
            pid: holder.pid,
            name: escape(&holder.name).into_owned(),
            processes: holder.processes,
            mountpoint: escape(holder.mounts.first().map_or(&[], |mount| &mount.mountpoint)).into_owned(),
        }
    }

    fn line(&self) -> String {
        let Namespace { namespace, pid, name, processes, mountpoint } = self;
        let others = match processes {
            0 | 1 => String::new(),
            2 => " and 1 more process".to_owned(),
            _ => format!(" and {} more processes", processes - 1),
        };
        format!("mounted in the mount namespace mnt:[{namespace}] of {name}[{pid}]{others}, at {mountpoint}")
    }
}

fn paths(mountpoints: impl Iterator<Item = PathBuf>) -> Vec<String> {
    mountpoints.map(|path| escape_os(&path).into_owned()).collect()
}

fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::evidence::HeldMount;

    fn all() -> Surroundings {
        let mut all = Surroundings::default();
        all.set_same_file_system((0..12).map(|n| format!("/m/{n}").into()));
        all.set_same_server(b"na\ns", ["/other".into()].into_iter());
        let mount = HeldMount { mountpoint: b"/a\x1b".into(), is_propagated: false, has_mounts_below: false };
        let (name, mounts) = (b"sh".into(), vec![mount]);
        let holder = Holder { namespace: 7, pid: 5, name, processes: 3, in_container: false, mounts };
        let namespaces = vec![holder; MAX_NAMESPACES + 3];
        let holders = Holders { namespaces, peer_group: None, complete: false, of_user_only: true };
        all.set_holders(&Observation::Found(holders));
        all.add_stacked("loop device loop0".into(), "/m/image".as_ref(), ["/loop".into()].into_iter());
        all.add_mount_command("mount", "/m/a b".as_ref(), "/etc/fstab:3: nfs4 from nas:/x".into());
        all.add_mount_advice("autofs does it".into());
        all
    }

    #[test]
    fn text_has_them_around_the_next_steps() {
        let diagnosis = format!("/m is dead\n{NEXT_STEPS}  1. wait\n");
        let namespaces =
            "  * mounted in the mount namespace mnt:[7] of sh[5] and 2 more processes, at /a\\033\n"
                .repeat(MAX_NAMESPACES);
        let expected = format!(
            "/m is dead

Also affected
  * same file system: /m/0, /m/1, /m/2, /m/3, /m/4, /m/5, /m/6, /m/7, /m/8, /m/9 and 2 more
  * same server na\\012s: /other
{namespaces}  * mounted in 3 more mount namespaces
  * not all processes and mount namespaces were looked at
  * loop device loop0: /m/image, mounted at /loop
  * not known: mount namespaces of other users: requires root
{NEXT_STEPS}  1. wait

Mount it again, once it is unmounted
  * mount '/m/a b'
      /etc/fstab:3: nfs4 from nas:/x
  * autofs does it
"
        );
        assert_eq!(all().in_text(&diagnosis), expected);
        assert_eq!(Surroundings::default().in_text(&diagnosis), diagnosis);
        assert!(all().in_text("/m is unknown\n").contains("\nAlso affected\n"));
    }

    #[test]
    fn lines_about_what_is_stacked_are_limited() {
        let mut many = Surroundings::default();
        for n in 0..MAX_STACKED + 5 {
            many.add_stacked(format!("loop device loop{n}"), "/m/image".as_ref(), std::iter::empty());
        }
        let text = many.in_text("");
        assert_eq!(text.matches("loop device").count(), MAX_STACKED);
        assert!(text.ends_with("\n  * 5 more are stacked on it\n"), "{text}");
    }

    #[test]
    fn json_has_another_field() {
        let text = all().in_json("{\"next_steps\":[]}");
        let parsed: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(parsed["next_steps"], serde_json::json!([]));
        let found = &parsed["surroundings"];
        assert_eq!(found["same_file_system"].as_array().map(Vec::len), Some(12));
        assert_eq!(found["namespaces"]["named"][0]["pid"], 5);
        assert_eq!(found["stacked"][0]["mountpoints"][0], "/loop");
        assert_eq!(found["mount_again"][0]["command"], "mount '/m/a b'");
    }
}
