//! The prose of the manual pages. Empty lines separate paragraphs. Lines that start with two spaces are not filled.

pub(super) const DESCRIPTION: &str = "\
Watches every mount of this machine, probes each with a timeout, and reports which are dead: hung, stale, disconnected \
or failing. Changes of the mount table are noticed at once, and a new mount is probed at once. Without a command it \
runs as a daemon in the foreground.

Storage may hang in ways that nothing can interrupt; the monitor may not. Child processes (\"probers\", \
msm-prober in process lists) make the calls that can hang. They are killed at the deadline of a probe; those that the \
kernel cannot end are replaced and counted as stranded. Autofs triggers are never triggered. On Linux the daemon runs \
from a copy in memory, so the storage of its program may hang too; two launchers (msm-launcher) start the other child \
processes.

Options can also be set in a file, see mount_status_monitor.toml(5). The command line overrides the file, and the last \
of several equal options counts. TIME is a number of seconds or has units: 500ms, 30s, 2m, 1h30m, 1d.";

pub(super) const MESSAGES: &str = "\
Messages on standard error and to syslog are one line each and have stable prefixes:

  Checked N mounts; N are dead                        info, each run
  Mount failed health-check: PATH (REASON: ...)       error
  Mount still failing: PATH (REASON for TIME; ...)    warning, backs off
  Mount recovered: PATH (after TIME)                  notice
  Mount is slow: PATH (TIME; ...)                     warning
  Mount is flapping: PATH (N changes in TIME; ...)    warning, once
  Mount is steady: PATH (...)                         notice
  Mount cannot be judged: PATH (...)                  warning, once
  Mount cannot be checked: PATH (ERRNO ...)           notice, once
  Mount has unexpected options: PATH (...)            warning, once
  Mount no longer has unexpected options: PATH (...)  notice
  Mount appeared: PATH (...)                          info
  Mount disappeared: PATH (...)                       info; notice if dead
  Mount moved: OLD -> NEW                             info
  Mount changed: PATH (rw -> ro; ...)                 notice; warning if ro
  Expected mount is missing: PATH (...)               error
  Expected mount is there: PATH (...)                 notice
  Drill: PATH (...)                                   error
  Remedy begins: PATH (STEPS; ...)                    notice
  Remedy would begin: PATH (dry-run, ...)             notice
  Remedy refused: PATH (GUARD: ...)                   warning
  Remedy waits: PATH (GUARD: ...)                     notice
  Remedy step: PATH (STEP: ...)                       notice
  Remedy step failed: PATH (STEP: ...)                warning
  Mount remedied: PATH (after TIME; ...)              notice
  Remedy failed: PATH (OUTCOME: ...)                  warning
  Remedy ended: PATH (not_mounted_again: ...)         warning
  Remedy gave up: PATH (OUTCOME: ...)                 error

Many changes or reminders within a second have one line together. REASON is hung (no response within the timeout), stale (ESTALE), disconnected (ENOTCONN, ECONNABORTED), io_error (EIO), \
unreachable (EHOSTDOWN, EHOSTUNREACH, ETIMEDOUT, ENODEV) or error (any other errno, named). The severity of a rule can \
lower the priority of messages. In names, control bytes, backslashes, characters that change the direction of text and \
bytes that are not UTF-8 are printed as \\ooo.";

pub(super) const METRICS: &str = "\
Metrics are served on /metrics of the listen address and the socket, pushed to a gateway, or written to a text file:";

pub(super) const SIGNALS: &str = "\
SIGTERM and SIGINT stop the daemon within a second, even while storage hangs. SIGHUP reads the configuration again, as a \
change of its files does. A configuration with mistakes is reported and changes nothing. Running probes keep their \
deadlines.";

pub(super) const FILES: &str = "\
/etc/mount_status_monitor/config.toml, /etc/mount_status_monitor/conf.d/*.toml: the optional configuration; see \
mount_status_monitor.toml(5).

/run/mount_status_monitor/socket: the socket on which the daemon serves check, status, watch, diagnose and drill.

/run/mount_status_monitor/state: what is known about mounts that are not ok, for the next start; SOCKET.state beside \
another socket.

/proc/self/mountinfo: the mount table.

/etc/fstab: read with --expect-fstab only.";

pub(super) const PRIVILEGES: &str = "\
It runs as any user. Root is needed to probe FUSE mounts of other users (as their owners) and mounts in directories that \
are closed to others; without root these are shown as denied, which is not dead. Root is also needed to create the \
default socket in /run. --mount-namespace needs root with CAP_SYS_ADMIN and CAP_SYS_CHROOT, and CAP_SYS_PTRACE for the \
namespace of a process.";

pub(super) const FILE_DESCRIPTION: &str = "\
The file is TOML. Each option of the daemon is a key with _ in place of -. All options are optional, and so is the file. \
The *.toml files in conf.d beside it are read after it, in the order of their names: the last value of an option counts, \
and rules are appended. The command line overrides the files. The size limit of a file is 1 MiB.

An unknown key or a wrong value is an error with the file and the line: the daemon does not start, or keeps its present \
configuration. mount_status_monitor --check-config shows the effective configuration.

The files and the programs of hooks, and the folders above them, must belong to root or to the user of the daemon, and \
must not be writable for every user, except in folders with the sticky bit and on read-only mounts: else they are refused.

The files are read again when they change and on SIGHUP. Changes take effect at once unless noted below.

TIME is a number of seconds or a text with units: 5, 0.5, \"500ms\", \"2m\", \"1h30m\".";

pub(super) const RULES: &str = "\
Exceptions for some mounts. A rule applies to the mounts that match all of its mountpoint, fstype and device; it needs \
at least one of them. Only the first rule that matches a mount applies to it. A rule that matches no mount is reported as \
a warning. The include and exclude options precede all rules.";

pub(super) const REMEDIES: &str = "\
What the daemon may do about these mounts when they are dead; nothing without it. When a mount has been dead for the time \
of the rule, it is probed once more, the facts are gathered and a plan is made; with mode act the plan is carried \
out, with dry-run it is only reported. --check-config --explain MOUNTPOINT shows the plan for each state; \
docs/remedies.md explains the steps and what forbids them.";

pub(super) const HOOKS: &str = "\
A command to start or a request to send for each event. Hooks that hang or fail do not affect the daemon: a run is \
stopped at its timeout, waiting events are queued up to a limit, and outcomes are counted. For each mount, events are \
handled one at a time and in order.";

pub(super) const ALERTMANAGER: &str = "\
Sends alerts for dead, slow and missing mounts to an Alertmanager, for sites without Prometheus. Alerts are sent again \
before they expire, and resolved when the mount recovers.";

pub(super) const FILE_EXAMPLE: &str = "  \
  poll_interval = 30
  timeout = \"5s\"

  [[rule]]                    # a tape library is slow
  mountpoint = \"/archive/**\"
  timeout = \"2m\"
  slow_after = \"1m\"

  [[rule]]
  mountpoint = [\"/home\", \"/srv/data\"]
  fstype = \"nfs*\"
  expected = true

  [[rule]]                    # no hooks for scratch space
  mountpoint = \"/scratch/*\"
  severity = \"info\"
  hook = []

  [[hook]]
  name = \"page\"
  command = [\"/usr/local/bin/page\", \"storage\"]";
