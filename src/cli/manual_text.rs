//! The parts of the manual that are written by hand. Paragraphs are parted by an empty line; lines that begin with
//! two spaces stay as they are.

pub(super) const DESCRIPTION: &str = "\
Watches every mount of this machine, asks each for a sign of life with a timeout, and tells which are dead: hung, \
stale, disconnected or failing. Changes of the mount table are noticed at once, and a new mount is asked at once. \
Without a command it is the daemon, in the foreground.

Storage may hang in ways that nothing can interrupt; the monitor may not. What can hang is done in child processes \
(\"probers\", which appear under the same name) that are killed at the deadline of a probe; those that cannot be \
killed are left behind and counted. Autofs triggers are never triggered.

Options can also be written in a file, see mount_status_monitor.toml(5). The command line goes before the file, and the \
last of several equal options counts. TIME is a number of seconds or has units: 500ms, 30s, 2m, 1h30m, 1d.";

pub(super) const MESSAGES: &str = "\
On standard error and to syslog, one line each, with stable beginnings:

  Checked N mounts; N are dead                              info, after each run
  Mount failed health-check: PATH (REASON: ...)             error
  Mount still failing: PATH (REASON for TIME; ...)          warning, at growing intervals
  Mount recovered: PATH (after TIME)                        notice
  Mount is slow: PATH (TIME; ...)                           warning
  Mount cannot be checked: PATH (ERRNO ...)                 notice, once
  Mount appeared / disappeared / moved: ...                 notice
  Mount changed: PATH (rw -> ro; ...)                       notice; warning if it is read-only now
  Expected mount is missing: PATH (...)                     error
  Expected mount is there: PATH (...)                       notice

REASON is hung (no answer within the timeout), stale (ESTALE), disconnected (ENOTCONN, ECONNABORTED), io_error (EIO), \
unreachable (EHOSTDOWN, EHOSTUNREACH, ETIMEDOUT, ENODEV) or error (anything else, named). A rule's severity makes the \
lines about its mounts less pressing. In names, control bytes, backslashes and bytes that are not UTF-8 are printed as \
\\ooo.";

pub(super) const METRICS: &str = "\
Served on /metrics of the listen address and the socket, pushed to a gateway, or written to a text file:";

pub(super) const SIGNALS: &str = "\
SIGTERM and SIGINT stop the daemon within a second, whatever hangs. SIGHUP reads the configuration again; so does a \
change of its files. A configuration that is wrong is told and changes nothing. Probes that are under way keep the \
deadline that they began with. Other signals have their usual effect.";

pub(super) const EXIT_STATUS: &str = "\
The daemon: 0 stopped by a signal; 2 wrong usage or configuration, or it could not start; 3 the namespace of \
--mount-namespace has ended (with --once-only too).

With --once-only: 0 no mount is dead or missing; 1 some are; 2 as above, or some mounts could not be judged.

check: 0, 1 and 2 in the same way. With --nagios: 0 OK; 1 WARNING, some mounts are slow or could not be judged; 2 \
CRITICAL, some mounts are dead or missing; 3 UNKNOWN.

status: as check; 2 also if no daemon is running. watch: 0 stopped; 2 it could not watch. diagnose: 0 the mount \
answers; 1 it is dead; 2 nothing can be said of it.";

pub(super) const FILES: &str = "\
/etc/mount_status_monitor/config.toml, /etc/mount_status_monitor/conf.d/*.toml: the configuration, if there is one; see \
mount_status_monitor.toml(5).

/run/mount_status_monitor.sock: where check, status, watch and diagnose ask the daemon.

/proc/self/mountinfo: the mount table.

/etc/fstab: read with --expect-fstab only.";

pub(super) const PRIVILEGES: &str = "\
It runs as any user. Root is needed to ask FUSE mounts of other users (they are asked as their owners) and mounts in \
directories that are closed to others; without it these are shown as denied, which is not dead. Root is also needed to \
make the usual socket in /run. It needs no capability to read the mount table and to ask what everybody may ask. --mount-namespace takes root with \
CAP_SYS_ADMIN and CAP_SYS_CHROOT, and CAP_SYS_PTRACE for the namespace of a process.";

pub(super) const EXAMPLES: &str = "\
Watch everything, with a probe every 10 seconds:

  mount_status_monitor --poll-interval 10

Dead mount points for a script, exit status 1 if there are any:

  mount_status_monitor --once-only --print-bad-mounts --log-level error

Which rule is for a mount, and why:

  mount_status_monitor --check-config --explain /srv/data";

pub(super) const FILE_DESCRIPTION: &str = "\
The file is TOML. Every option of the daemon is a key of the same name with _ for -. All of it is optional, and so is \
the file. The *.toml files in conf.d beside it are read after it, in the order of their names: of equal options the last \
counts, and rules are added at the end. The command line goes before all of them. Each file may have 1 MiB.

An unknown key, a wrong type or a wrong value is an error that names the file, the line and the nearest known key: the \
daemon does not start, or goes on with the configuration that it has. mount_status_monitor --check-config shows what \
would be in force.

The files are read again when they change and on SIGHUP. Everything but once_only, print_bad_mounts and mount_namespace \
takes effect at once.

TIME is a number of seconds or a text with units: 5, 0.5, \"500ms\", \"2m\", \"1h30m\".";

pub(super) const RULES: &str = "\
What is special about some mounts. A rule is for the mounts that match all of its mountpoint, fstype and device, of \
which it needs at least one. The first rule that matches a mount is the only one that counts for it. A rule that matches \
no mount is told as a warning. The include and exclude options come before all rules.";

pub(super) const HOOKS: &str = "\
What is done when something happens: a command is started, or a request is sent. A hook may hang or fail as it likes: at \
its timeout it is ended, its events wait in a bounded queue, and its outcomes are counted. For one mount, one run of it \
is under way at a time, in the order of the events.";

pub(super) const ALERTMANAGER: &str = "\
Dead, slow and missing mounts are told to an Alertmanager directly, for a site without a Prometheus: firing, refreshed \
before the alert expires, and resolved.";

pub(super) const FILE_EXAMPLE: &str = "\
  poll_interval = 30
  timeout = \"5s\"

  [[rule]]                    # a tape library takes its time
  mountpoint = \"/archive/**\"
  timeout = \"2m\"
  slow_after = \"1m\"

  [[rule]]
  mountpoint = [\"/home\", \"/srv/data\"]
  fstype = \"nfs*\"
  expected = true

  [[rule]]                    # nobody is called for scratch space
  mountpoint = \"/scratch/*\"
  severity = \"info\"
  hook = []

  [[hook]]
  name = \"page\"
  command = [\"/usr/local/bin/page\", \"storage\"]";
