//! The keys of `[[rule]]`, `[[hook]]` and `[alertmanager]`, for the manual page and for finding unknown keys.

#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub value: &'static str,
    pub help: &'static str,
}

const fn key(name: &'static str, value: &'static str) -> Key {
    Key { name, value, help: "" }
}

impl Key {
    const fn help(self, help: &'static str) -> Key {
        Key { help, ..self }
    }
}

pub const RULE: &[Key] = &[
    key("mountpoint", "GLOB or [GLOB, …]").help(
        "Mounts at these mount points. `*` and `?` do not match `/`, `**` does; `[a-z]` and `{a,b}` work. It starts \
         with `/`.",
    ),
    key("fstype", "GLOB or [GLOB, …]")
        .help("Mounts of these types, such as \"nfs*\" or [\"cifs\", \"smb3\"]."),
    key("device", "GLOB or [GLOB, …]")
        .help("Mounts of these devices, such as \"nas:/export/*\". Here `*` matches `/`, too."),
    key("poll_interval", "TIME").help("In place of the option poll_interval."),
    key("timeout", "TIME").help("In place of the option timeout."),
    key("slow_after", "TIME").help("In place of the option slow_after."),
    key("flap_changes", "NUMBER").help("In place of the option flap_changes."),
    key("flap_window", "TIME").help("In place of the option flap_window."),
    key("exclude", "true or false").help("Do not watch these mounts: they are neither touched nor shown."),
    key("expected", "true or false").help(
        "Report a mount point as missing if there is no mount (of this fstype and device). It needs mount points \
         without special characters. An automount trigger counts as the mount.",
    ),
    key("severity", "\"critical\", \"warning\" or \"info\"").help(
        "Severity of events of these mounts [default: critical]. Their messages are at most errors, warnings or \
         notices; hooks and alerts have it as `severity`.",
    ),
    key("hook", "NAME or [NAME, …]").help(
        "Only these hooks get events of these mounts; [] for none. Without this key all hooks get them. The name \
         alertmanager stands for the Alertmanager.",
    ),
];

pub const HOOK: &[Key] = &[
    key("name", "TEXT").help("Name in rules, messages and metrics."),
    key("events", "[NAME, …]").help(
        "The events that run the hook: mounted unmounted remounted moved failed still_failing recovered slow \
         flapping steady unknown missing found denied run [default: failed recovered flapping steady missing found].",
    ),
    key("command", "[PROGRAM, ARGUMENT, …]").help(
        "Absolute path of a program, and its arguments. No shell is used. The program gets the event as JSON on \
         standard input and as MSM_… variables.",
    ),
    key("url", "URL").help("In place of a command: send the event there as JSON by POST."),
    key("user_file", "FILE").help("File with USER:PASSWORD for the url, read before each use."),
    key("token_file", "FILE").help("File with a bearer token for the url, read before each use."),
    key("ca_file", "FILE")
        .help("PEM file with the certificates to trust for the url, instead of those of the system."),
    key("timeout", "TIME").help("Time limit of one run [default: 10s]."),
];

pub const ALERTMANAGER: &[Key] = &[
    key("url", "URL").help("Base URL of an Alertmanager, such as \"http://localhost:9093\"."),
    key("labels", "{ NAME = TEXT, … }")
        .help("Labels to add to each alert; instance and job can be replaced."),
    key("refresh", "TIME").help("Interval at which firing alerts are sent again [default: 1m]."),
    key("user_file", "FILE").help("As in [[hook]]."),
    key("token_file", "FILE").help("As in [[hook]]."),
    key("ca_file", "FILE").help("As in [[hook]]."),
];

pub fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}
