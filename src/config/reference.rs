//! What may be written in the tables of a configuration file, in words: the man page is made from it, and what is not
//! here is no key.

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What may stand behind it.
    pub value: &'static str,
    /// What it does, in a sentence or two.
    pub help: &'static str,
}

const fn key(name: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { name, value, help }
}

/// The keys of `[[rule]]`.
pub const RULE: &[Key] = &[
    key(
        "mountpoint",
        "GLOB or [GLOB, …]",
        "Mounts at these places. `*` and `?` stay within a directory, `**` does not; `[a-z]` and `{a,b}` work. Begins \
         with /.",
    ),
    key("fstype", "GLOB or [GLOB, …]", "Mounts of these types, such as \"nfs*\" or [\"cifs\", \"smb3\"]."),
    key(
        "device",
        "GLOB or [GLOB, …]",
        "Mounts of these devices, such as \"nas:/export/*\"; `*` matches `/`, too.",
    ),
    key(
        "poll_interval",
        "TIME",
        "From one probe of these mounts to the next, in place of poll_interval for all.",
    ),
    key("timeout", "TIME", "In place of timeout for all."),
    key("slow_after", "TIME", "In place of slow_after for all."),
    key("exclude", "true or false", "These mounts are not watched: never touched, never shown."),
    key(
        "expected",
        "true or false",
        "These mounts have to be there: each mountpoint, which has to be written out then, is told to be missing when \
         no mount (of that fstype and device) is there. An automount trigger counts as the mount.",
    ),
    key(
        "severity",
        "\"critical\", \"warning\" or \"info\"",
        "How bad it is when such a mount is dead or missing [default: critical]. Lines about it are at most errors, \
         warnings or notices; hooks and alerts carry it as `severity`.",
    ),
    key(
        "hook",
        "NAME or [NAME, …]",
        "Only these hooks are told about such mounts; [] for none. Without this key all are.",
    ),
];

/// The keys of `[[hook]]`.
pub const HOOK: &[Key] = &[
    key("name", "TEXT", "Its name in rules, messages and metrics."),
    key(
        "events",
        "[NAME, …]",
        "The events that it is told: mounted unmounted remounted moved failed still_failing recovered slow missing \
         found denied run [default: failed recovered missing found].",
    ),
    key(
        "command",
        "[PROGRAM, ARGUMENT, …]",
        "A program, by its absolute path, and its arguments. No shell reads them. It gets the event as JSON on standard \
         input and as MSM_… variables.",
    ),
    key("url", "URL", "In place of a command: the event is sent there as JSON by POST."),
    key("user_file", "FILE", "A file with USER:PASSWORD for the url, read before each use."),
    key("token_file", "FILE", "A file with a bearer token for the url, read before each use."),
    key(
        "ca_file",
        "FILE",
        "Trust the certificates in this PEM file, and not those of the system, for the url.",
    ),
    key("timeout", "TIME", "How long one run may take [default: 10s]; then it is ended."),
];

/// The keys of `[alertmanager]`.
pub const ALERTMANAGER: &[Key] = &[
    key("url", "URL", "The base of an Alertmanager, such as \"http://localhost:9093\"."),
    key(
        "labels",
        "{ NAME = TEXT, … }",
        "Added to the labels of each alert; instance and job can be replaced.",
    ),
    key("refresh", "TIME", "How often it is told that an alert still fires [default: 1m]."),
    key("user_file", "FILE", "As in [[hook]]."),
    key("token_file", "FILE", "As in [[hook]]."),
    key("ca_file", "FILE", "As in [[hook]]."),
];

/// The names of some keys.
#[must_use]
pub fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}
