//! What an operator wants, validated, whatever way he said it. No mount is touched here: what is said of paths is
//! said of their text.

use crate::http::{HttpSettings, SocketChoice};
use crate::metrics::{MetricsSettings, textfile};
use crate::monitor::Settings;
use crate::report::ReportSettings;
use crate::report::escape::escape_os;
use platform::{Mount, MountTable};
use regex::bytes::{Regex, RegexBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The type that is not watched unless somebody wants it: an automount trigger stands for a mount, it is none.
pub const DEFAULT_FS_TYPES_EXCLUDE: &str = "^autofs$";

/// The shortest span that can be set: clocks and schedulers promise no better.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest: whoever writes more has mistaken the unit.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The daemon's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How mounts are watched.
    pub settings: Settings,
    /// Which mounts are watched.
    pub filter: Filter,
    /// Where messages go.
    pub report: ReportSettings,
    /// One run, then the end.
    pub once_only: bool,
    /// Dead mount points on standard output, one in each line.
    pub print_bad_mounts: bool,
    /// Where metrics go, besides whoever fetches them.
    pub metrics: MetricsSettings,
    /// Where questions are answered.
    pub http: HttpSettings,
    /// A file that names the mount namespace to watch, if not our own.
    pub mount_namespace: Option<PathBuf>,
}

impl Config {
    /// What is allowed but surely not meant, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let textfile = self.metrics.textfile.as_deref().and_then(textfile::warning);
        warnings(&self.settings).into_iter().chain(textfile).collect()
    }
}

/// What `check` is to do.
#[derive(Clone, Debug)]
pub struct CheckConfig {
    /// How mounts are asked.
    pub settings: Settings,
    /// Which mounts are asked.
    pub filter: Filter,
    /// The mount points that were named, as they were written; see [`select`].
    pub mountpoints: Vec<PathBuf>,
    /// How the answer looks.
    pub output: CheckOutput,
    /// A file that names the mount namespace to ask, if not our own.
    pub mount_namespace: Option<PathBuf>,
    /// The socket of the daemon that is asked first, if one may be: not when the question is more special than what
    /// the daemon watches for.
    pub socket: Option<PathBuf>,
}

/// What `status` and `watch` are to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskConfig {
    /// JSON instead of text.
    pub json: bool,
    /// The daemon's socket.
    pub socket: PathBuf,
}

impl CheckConfig {
    /// What is allowed but surely not meant, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        warnings(&self.settings)
    }
}

/// The form of `check`'s answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckOutput {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For monitoring systems.
    Nagios,
}

fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.slow_after > settings.timeout {
        warnings.push("--slow-after is longer than the timeout, so no mount will ever be slow".to_owned());
    }
    warnings
}

/// What is said when the [`Filter`] leaves nothing.
pub const NO_MOUNT_LEFT: &str = "the include and exclude options leave no mount";

/// Which mounts are watched at all: decided from the mount table, before a mount is ever touched.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// If set, only mount points that match.
    pub mount_points_include: Option<Regex>,
    /// If set, no mount points that match.
    pub mount_points_exclude: Option<Regex>,
    /// If set, only types that match.
    pub fs_types_include: Option<Regex>,
    /// If set, no types that match.
    pub fs_types_exclude: Option<Regex>,
}

impl Filter {
    /// Is this mount to be watched?
    #[must_use]
    pub fn admits(&self, mount: &Mount) -> bool {
        let (path, fstype) = (mount.mountpoint.as_os_str().as_bytes(), mount.fstype.as_bytes());
        let within =
            |include: &Option<Regex>, name| include.as_ref().is_none_or(|regex| regex.is_match(name));
        let without =
            |exclude: &Option<Regex>, name| !exclude.as_ref().is_some_and(|regex| regex.is_match(name));
        within(&self.mount_points_include, path)
            && without(&self.mount_points_exclude, path)
            && within(&self.fs_types_include, fstype)
            && without(&self.fs_types_exclude, fstype)
    }
}

/// A regular expression over names, which are bytes: `.` is any byte, and a match may lie anywhere unless `^` and `$`
/// say otherwise.
pub fn name_regex(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).unicode(false).dot_matches_new_line(true).build().map_err(|error| {
        // The crate's message is a drawing of several lines; its last line says what is wrong.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        format!("not a regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
    })
}

/// A span as operators write it: `60` (seconds), `0.5`, `500ms`, `2m`, `1h30m`. Written here because a bare number and
/// fractions have to work as they did in 2.x, which the crates for this do not allow.
pub fn duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a number of seconds, or 500ms, 30s, 2m, 1h30m, 1d";
    let text = text.trim();
    if text.starts_with('-') && text[1..].parse::<f64>().is_ok() {
        return Err("it has to be more than zero".to_owned());
    }
    let mut seconds = 0.0;
    let (mut rest, mut last_unit) = (text, f64::INFINITY);
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let number: f64 = number.parse().map_err(|_| HELP)?;
        let unit = match unit {
            "" if number_end == text.len() => 1.0,
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(HELP.to_owned()),
        };
        if unit >= last_unit {
            return Err(HELP.to_owned()); // 30s2m, or 2m2m: most likely a slip
        }
        seconds += number * unit;
        (rest, last_unit) = (after, unit);
    }
    match Duration::try_from_secs_f64(seconds) {
        _ if text.is_empty() => Err(HELP.to_owned()),
        Ok(span) if span.is_zero() => Err("it has to be more than zero".to_owned()),
        Ok(span) if span < SHORTEST => Err("it has to be at least 1ms".to_owned()),
        Ok(span) if span <= LONGEST => Ok(span),
        _ => Err("it is longer than a year".to_owned()),
    }
}

/// An address to listen on: `127.0.0.1:9817`, `[::1]:9817`, `localhost:9817`, `:9817` for all addresses, or `off`.
/// Names are not looked up, for that may take as long as it likes.
pub fn listen_address(text: &str) -> Result<Option<SocketAddr>, String> {
    const HELP: &str = "write an address and a port such as 127.0.0.1:9817, [::]:9817 or :9817, or off";
    if text == "off" {
        return Ok(None);
    }
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    let (host, port) = text.rsplit_once(':').ok_or(HELP)?;
    let host: IpAddr = match host {
        "" => Ipv6Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => return Err(HELP.to_owned()),
    };
    Ok(Some(SocketAddr::new(host, port.parse().map_err(|_| HELP)?)))
}

/// A Unix socket: a path, or `off`.
pub fn socket_choice(text: &str) -> Result<SocketChoice, String> {
    match text {
        "off" => Ok(SocketChoice::Off),
        path if path.starts_with('/') => Ok(SocketChoice::At(path.into())),
        _ => Err("write a path that begins with /, or off".to_owned()),
    }
}

/// The path that this argument means, from its text alone: the file system is never asked, for it may hang. `..`
/// takes away the name before it, and symbolic links are not followed.
#[must_use]
pub fn resolve(current_directory: &Path, argument: &Path) -> PathBuf {
    let mut path = PathBuf::from("/");
    for component in current_directory.join(argument).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path
}

/// The mounts that are to be checked: those at these mount points (as [`resolve`] makes them), or all; of them what
/// the filter admits. An argument that leads to no mount is an error, one line each.
pub fn select(
    table: &MountTable,
    wanted: &[PathBuf],
    filter: &Filter,
) -> Result<Vec<Arc<Mount>>, Vec<String>> {
    let errors: Vec<String> = wanted.iter().filter_map(|path| why_not(table, path, filter)).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let named = |mount: &&Arc<Mount>| wanted.is_empty() || wanted.contains(&mount.mountpoint);
    Ok(table.iter().filter(named).filter(|mount| filter.admits(mount)).cloned().collect())
}

/// What is wrong with this argument, if anything is.
fn why_not(table: &MountTable, path: &Path, filter: &Filter) -> Option<String> {
    let mut here = table.iter().filter(|mount| mount.mountpoint == path).peekable();
    if here.peek().is_some() {
        return (!here.any(|mount| filter.admits(mount)))
            .then(|| format!("{} is excluded by the include and exclude options", escape_os(path)));
    }
    let around = table.iter().map(|mount| &mount.mountpoint).filter(|mount| path.starts_with(mount));
    let advice = match around.max_by_key(|mount| mount.as_os_str().len()) {
        Some(mount) => format!("it lies in the mount {}, check that one", escape_os(mount)),
        None => "no mount contains it".to_owned(),
    };
    Some(format!("{} is no mount point (links are not followed); {advice}", escape_os(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::{DeviceNumber, MountKey};
    use proptest::prelude::*;
    use std::ffi::OsStr;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("60", 60_000),
            ("0.5", 500),
            (".5", 500),
            ("500ms", 500),
            ("1.5s", 1500),
            ("2m", 120_000),
            ("2min", 120_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("366d", 366 * 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, complaint) in [
            ("0", "more than zero"),
            ("0s", "more than zero"),
            ("-5", "more than zero"),
            ("0.0001", "at least 1ms"),
            ("367d", "longer than a year"),
            ("99999999999999999999999999", "longer than a year"),
            ("", "write a number"),
            ("soon", "write a number"),
            ("5 minutes", "write a number"),
            ("30s2m", "write a number"),
            ("1h30", "write a number"),
            ("1.2.3", "write a number"),
            ("--once-only", "write a number"),
            ("inf", "write a number"),
            ("1e3", "write a number"),
        ] {
            assert!(duration(text).unwrap_err().contains(complaint), "{text}: {:?}", duration(text));
        }
    }

    #[test]
    fn listen_addresses() {
        for (text, address) in [
            ("127.0.0.1:9817", "127.0.0.1:9817"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:1", "127.0.0.1:1"),
            (":9817", "[::]:9817"),
        ] {
            assert_eq!(listen_address(text), Ok(Some(address.parse().unwrap())));
        }
        assert_eq!(listen_address("off"), Ok(None));
        for wrong in ["", "9817", "host:9817", "127.0.0.1", "127.0.0.1:x", ":99999"] {
            assert!(listen_address(wrong).unwrap_err().starts_with("write an address"), "{wrong}");
        }
        assert_eq!(socket_choice("off"), Ok(SocketChoice::Off));
        assert_eq!(socket_choice("/run/x"), Ok(SocketChoice::At("/run/x".into())));
        assert!(socket_choice("x").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_duration_or_an_error(text: String) {
            if let Ok(span) = duration(&text) {
                prop_assert!(span >= SHORTEST && span <= LONGEST);
            }
        }

        #[test]
        fn resolving_gives_a_clean_absolute_path(argument: Vec<u8>) {
            let path = resolve(Path::new("/a/b"), Path::new(OsStr::from_bytes(&argument)));
            prop_assert!(path.is_absolute());
            prop_assert!(path.components().skip(1).all(|c| matches!(c, Component::Normal(_))));
            prop_assert_eq!(resolve(Path::new("/"), &path), path);
        }
    }

    #[test]
    fn arguments_are_resolved_by_their_text() {
        for (argument, path) in [
            ("/mnt/x", "/mnt/x"),
            ("/mnt//x/", "/mnt/x"),
            ("/mnt/./y/../x", "/mnt/x"),
            ("x", "/cwd/x"),
            (".", "/cwd"),
            ("../x/", "/x"),
            ("../../..", "/"),
            ("/", "/"),
        ] {
            assert_eq!(resolve(Path::new("/cwd"), Path::new(argument)), Path::new(path), "{argument}");
        }
    }

    #[test]
    fn selecting() {
        let table = MountTable::new(vec![
            mount(1, "/", "ext4"),
            mount(2, "/mnt/x", "autofs"),
            mount(3, "/mnt/x", "nfs4"),
            mount(4, "/proc", "proc"),
        ]);
        let filter =
            Filter { fs_types_exclude: Some(name_regex("^(autofs|proc)$").unwrap()), ..Filter::default() };
        let keys = |wanted: &[&str]| {
            let wanted: Vec<PathBuf> = wanted.iter().map(PathBuf::from).collect();
            select(&table, &wanted, &filter).map(|mounts| mounts.iter().map(|m| m.key.0).collect::<Vec<_>>())
        };
        assert_eq!(keys(&[]), Ok(vec![1, 3]));
        assert_eq!(keys(&["/mnt/x"]), Ok(vec![3]));
        assert_eq!(keys(&["/mnt/x", "/"]), Ok(vec![1, 3]));
        assert_eq!(
            keys(&["/mnt/x/deep/er", "/mnt/xy", "/proc"]),
            Err(vec![
                "/mnt/x/deep/er is no mount point (links are not followed); it lies in the mount /mnt/x, check that one".to_owned(),
                "/mnt/xy is no mount point (links are not followed); it lies in the mount /, check that one".to_owned(),
                "/proc is excluded by the include and exclude options".to_owned(),
            ])
        );
    }

    #[test]
    fn filters_match_bytes() {
        let odd = mount(1, "/mnt/\u{e9}", "nfs4");
        let latin = Mount { mountpoint: OsStr::from_bytes(b"/mnt/\xe9\n").into(), ..(*odd).clone() };
        for (pattern, utf8, bytes) in [
            ("^/mnt/.+$", true, true),
            ("nt", true, true),
            ("é", true, false),
            (r"\xe9", false, true),
            ("^/x", false, false),
        ] {
            let include =
                Filter { mount_points_include: Some(name_regex(pattern).unwrap()), ..Filter::default() };
            assert_eq!((include.admits(&odd), include.admits(&latin)), (utf8, bytes), "{pattern}");
            let exclude = Filter { mount_points_exclude: include.mount_points_include, ..Filter::default() };
            assert_eq!((exclude.admits(&odd), exclude.admits(&latin)), (!utf8, !bytes), "{pattern}");
        }
        let types = Filter { fs_types_include: Some(name_regex("^nfs").unwrap()), ..Filter::default() };
        assert!(types.admits(&odd) && !types.admits(&mount(1, "/", "ext4")));
        assert_eq!(name_regex("(").unwrap_err(), "not a regular expression: unclosed group");
    }

    fn mount(key: u64, path: &str, fstype: &str) -> Arc<Mount> {
        Arc::new(Mount {
            key: MountKey(key),
            id: 1,
            parent: 0,
            device_number: DeviceNumber { major: 0, minor: 1 },
            root: "/".into(),
            mountpoint: path.into(),
            fstype: fstype.into(),
            device: "d".into(),
            options: "rw".into(),
            super_options: "rw".into(),
        })
    }
}
