//! The keys of `[[rule]]` and its `remedy`, `[[hook]]` and `[alertmanager]`, for the manual page and for finding unknown keys.

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
    key("expected_options", "OPTION or [OPTION, …]").help(
        "Warn of mounts with other options than these, such as [\"rw\", \"vers=4.2\"]. Each is compared with the options \
         in `/proc/self/mountinfo`, those of the mount and those of its file system; a name alone must only be there.",
    ),
    key("remedy", "{ mode = MODE, … }").help(
        "The plan for these mounts when they are dead; see below. `--check-config --explain` shows it for each state.",
    ),
    key("probe", "\"stat\", \"read\" or \"write\"").help(
        "\"read\" and \"write\" also read a file or write one, because storage may answer about files that it no longer \
         delivers (only Linux) [default: stat].",
    ),
    key("probe_path", "PATH").help(
        "Below the mount point: the file to read, of which at most 4 KiB are read, or the directory for a small file \
         `.mount_status_monitor-…`, which is written, read, compared and removed. It must not lead over symbolic links or \
         other mounts.",
    ),
    key("probe_interval", "TIME")
        .help("How often that is done, rounded to probes of the mount [default: 10 times poll_interval]."),
    key("probe_uid", "NUMBER").help("Access the file as this user, without capabilities [default: as the daemon]."),
    key("probe_gid", "NUMBER").help("And this group [default: the number of probe_uid]."),
    key("severity", "\"critical\", \"warning\" or \"info\"").help(
        "Severity of events of these mounts [default: critical]. Their messages are at most errors, warnings or \
         notices; hooks, alerts and metrics have it, and the monitoring plugin is WARNING or OK.",
    ),
    key("until", "DATE-TIME").help(
        "The rule ends at this time, such as 2026-12-01T18:00:00Z, for a planned outage. `status` shows it until then.",
    ),
    key("hook", "NAME or [NAME, …]").help(
        "Only these hooks get events of these mounts; [] for none. Without this key all hooks get them. The name \
         alertmanager stands for the Alertmanager.",
    ),
];

/// The keys of `remedy` in a `[[rule]]`.
pub const REMEDY: &[Key] = &[
    key("mode", "\"off\", \"dry-run\" or \"act\"").help(
        "What is wanted. \"act\" needs a rule with mountpoint and with fstype or device. A rule whose mountpoint matches / \
         has no remedy.",
    ),
    key("after", "TIME").help("A mount must have been dead for so long [default: 5m]."),
    key("steps", "[STEP, …]").help(
        "The steps that may be made: resume (continue a stopped FUSE server), abort (a FUSE connection), unmount, detach, \
         force, shutdown (of an NFS client) [default: abort, unmount, detach].",
    ),
    key("allow", "[NAME, …]").help(
        "What else may be done: silent_server (go on although the server does not answer), not_mounted_again (remove what \
         cannot be mounted again), copies (also in containers and with mounts below), units (stop active units that are \
         bound to the mount), evicted (replace the mount of an evicted CephFS client) [default: none].",
    ),
    key("remount", "\"auto\", \"no\" or UNIT").help(
        "How it is mounted again: as fstab, its unit or autofs do it, not at all, or by starting this service [default: \
         auto].",
    ),
    key("max_attempts", "NUMBER").help("So many attempts within window, 1 to 10 [default: 3]."),
    key("window", "TIME").help("The time in which attempts are counted [default: 1d]."),
    key("until", "DATE-TIME").help("The remedy ends at this time; the rest of the rule stays."),
];

pub const HOOK: &[Key] = &[
    key("name", "TEXT").help("Name in rules, messages and metrics."),
    key("events", "[NAME, …]").help(
        "The events that run the hook: mounted unmounted remounted moved failed still_failing recovered slow \
         flapping steady unknown unexpected_options expected_options missing found denied remedy_planned remedy_refused \
         remedy_step remedied remedy_failed run [default: failed recovered flapping steady missing found remedied \
         remedy_failed]. A drill runs every hook.",
    ),
    key("command", "[PROGRAM, ARGUMENT, …]").help(
        "Absolute path of a program, and its arguments. No shell is used. The program gets the event as JSON on \
         standard input and as variables: MSM_VERSION (1), MSM_EVENT, MSM_MOUNTPOINT, MSM_REASON and more \
         (docs/operations.md).",
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
