//! The parts of `--help` around the options. The manual page of the program also shows them.

pub(super) const ABOUT: &str = "Watches every mount, probes each with a timeout, and reports which are dead";

pub(super) const LONG_ABOUT: &str = "Watches every mount of this machine, probes each with a timeout, and reports \
which are dead: hung, stale, disconnected or failing.\n\nWithout a command it runs as a daemon in the foreground. It \
needs no configuration and no root rights, but without root it cannot probe mounts that this user may not reach. \
Changes of the mount table are noticed at once. Storage that hangs does not make the daemon hang.";

pub(super) const DAEMON_EXAMPLES: &str = "  \
  mount_status_monitor                      watch all mounts
  mount_status_monitor --timeout 5s --syslog udp://loghost:514
  mount_status_monitor --fs-types-include '^(nfs|cifs|fuse)'
  mount_status_monitor --once-only --print-bad-mounts     for scripts
  mount_status_monitor check                a table of all mounts, now
  mount_status_monitor watch                events as they happen
  mount_status_monitor diagnose /srv/data   why it is dead, what waits for it, what can be done
  mount_status_monitor --check-config --explain /srv/data   which rule applies, and why
  mount_status_monitor --mount-namespace /proc/1/ns/mnt     from a container: the mounts of the host";

pub(super) const DAEMON_EXIT_STATUS: &str = "  \
  0  stopped by a signal; or with --once-only: no mount is dead
  1  with --once-only: some mounts are dead or missing
  2  wrong usage or configuration, or it could not start
     with --once-only also: some mounts could not be judged
  3  the namespace of --mount-namespace has ended";

pub(super) const CHECK: &str = "\
Examples:
  mount_status_monitor check                       a table of all mounts
  mount_status_monitor check /home /srv/data       only these
  mount_status_monitor check --json | jq '.mounts[] | select(.state == \"hung\")'
  mount_status_monitor check --nagios --timeout 5  a monitoring plugin

A running daemon responds if there is one. It probes named mounts first, and on a terminal all mounts; else the output
says how old the daemon's knowledge is.

Exit status:
  0  no mount is dead
  1  some mounts are dead or missing
  2  wrong usage, or it could not check, or some mounts could not be judged
With --nagios:
  0  OK
  1  WARNING: some mounts are slow
  2  CRITICAL: some mounts are dead or missing
  3  UNKNOWN: some mounts could not be judged, or no mount can be checked, or wrong usage";

pub(super) const STATUS: &str = "\
Exit status:
  0  no mount is dead
  1  some mounts are dead or missing
  2  wrong usage, no daemon is running or it does not respond, or some mounts could not be judged";

pub(super) const DIAGNOSE: &str = "\
The running daemon knows most, and probes the mount first. Without a daemon, or for a mount that it does not watch, this command probes and
inspects the mount in child processes, which may hang in its place. Run it as root to see all processes.

Exit status:
  0  the mount responds
  1  it is dead
  2  wrong usage, it is not a mount point, or it could not be judged";

pub(super) const WATCH: &str = "\
The events come from the running daemon. Without a daemon, this command watches the mounts itself with the daemon's
configuration.

Exit status:
  0  stopped by a signal
  2  wrong usage, or it could not watch";
