//! What a rule says about remedies.

use super::step::StepKind;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::time::Duration;

/// The remedy of a rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RemedySettings {
    pub mode: Mode,
    /// A mount must have been dead for so long.
    pub after: Duration,
    /// The steps that may be made.
    pub steps: Vec<StepKind>,
    pub allow: Vec<Consent>,
    pub remount: Remount,
    /// So many attempts within `window`; then it gives up.
    pub max_attempts: u32,
    pub window: Duration,
}

impl RemedySettings {
    /// Longer than most failovers and restarts of servers.
    pub const AFTER: Duration = Duration::from_secs(300);
    /// Those that harm nobody but the users of the dead mount.
    pub const STEPS: [StepKind; 3] = [StepKind::Abort, StepKind::Unmount, StepKind::Detach];
    pub const ATTEMPTS: u32 = 3;
    pub const WINDOW: Duration = Duration::from_secs(86_400);

    pub fn new(mode: Mode) -> RemedySettings {
        RemedySettings {
            mode,
            after: Self::AFTER,
            steps: Self::STEPS.to_vec(),
            allow: Vec::new(),
            remount: Remount::Auto,
            max_attempts: Self::ATTEMPTS,
            window: Self::WINDOW,
        }
    }

    pub(super) fn allows(&self, consent: Consent) -> bool {
        self.allow.contains(&consent)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mode {
    Off,
    /// Everything is decided and reported, and nothing is done.
    DryRun,
    Act,
}

/// What is done only if the rule says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Consent {
    /// Go on although the server is silent, and waiting would lose nothing.
    SilentServer,
    /// Remove what cannot be mounted again; a read-only, empty directory takes its place.
    NotMountedAgain,
    /// Remove copies in containers, and those with mounts below.
    Copies,
    /// Stop active units that are bound to the mount.
    Units,
    /// Replace the mount of an evicted CephFS client.
    Evicted,
}

/// How the mount is made again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Remount {
    /// As it was made: by fstab, its unit, or autofs.
    Auto,
    No,
    /// By starting this service.
    Unit(String),
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::DryRun => "dry-run",
            Mode::Act => "act",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Mode, String> {
        let found = [Mode::Off, Mode::DryRun, Mode::Act].into_iter().find(|mode| mode.as_str() == name);
        found.ok_or_else(|| "use off, dry-run or act".to_owned())
    }
}

impl Consent {
    pub const ALL: [Consent; 5] =
        [Consent::SilentServer, Consent::NotMountedAgain, Consent::Copies, Consent::Units, Consent::Evicted];

    pub const fn as_str(self) -> &'static str {
        match self {
            Consent::SilentServer => "silent_server",
            Consent::NotMountedAgain => "not_mounted_again",
            Consent::Copies => "copies",
            Consent::Units => "units",
            Consent::Evicted => "evicted",
        }
    }
}

impl FromStr for Consent {
    type Err = String;

    fn from_str(name: &str) -> Result<Consent, String> {
        Consent::ALL.into_iter().find(|consent| consent.as_str() == name).ok_or_else(|| {
            let names: Vec<&str> = Consent::ALL.iter().map(|consent| consent.as_str()).collect();
            format!("use {}", names.join(", "))
        })
    }
}

impl Remount {
    pub fn as_str(&self) -> &str {
        match self {
            Remount::Auto => "auto",
            Remount::No => "no",
            Remount::Unit(name) => name,
        }
    }
}

impl FromStr for Remount {
    type Err = String;

    fn from_str(name: &str) -> Result<Remount, String> {
        // The characters of systemd.unit(5): no blank and no slash, and so no other command or path.
        let is_unit_character = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let is_unit = || {
            let stem = name.strip_suffix(".service");
            let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '\\');
            begins_well && stem.is_some_and(|stem| !stem.is_empty()) && name.chars().all(is_unit_character)
        };
        match name {
            "auto" => Ok(Remount::Auto),
            "no" => Ok(Remount::No),
            name if is_unit() => Ok(Remount::Unit(name.to_owned())),
            _ => Err("use auto, no, or the name of a unit that ends in .service".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_names_and_nothing_else() {
        for unit in ["sshfs-home@a.service", "srv-data\\x2d1.service"] {
            assert_eq!(unit.parse(), Ok(Remount::Unit(unit.to_owned())));
        }
        for wrong in [
            "",
            "yes",
            ".service",
            "-x.service",
            "a b.service",
            "a/../b.service",
            "a;b.service",
            "a.timer",
            "srv.mount",
        ] {
            assert!(wrong.parse::<Remount>().is_err(), "{wrong}");
        }
    }
}
