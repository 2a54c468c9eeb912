//! The parts of `--help` around the options. The manual page of the program also shows them.

/// The text with each paragraph as one line, which clap breaks at the width of the terminal. Lines that start with two
/// spaces stay as they are.
pub(super) fn filled(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().collect();
        let blocks = lines.chunk_by(|one, other| one.starts_with("  ") == other.starts_with("  "));
        let blocks = blocks.map(|block| block.join(if block[0].starts_with("  ") { "\n" } else { " " }));
        blocks.collect::<Vec<_>>().join("\n")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

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
  mount_status_monitor watch --last 20      the last 20 before, too
  mount_status_monitor diagnose /srv/data   why it is dead, what to do
  mount_status_monitor --check-config --explain /srv/data    its rule
  mount_status_monitor --mount-namespace /proc/1/ns/mnt
                                            from a container: the host";

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
  mount_status_monitor check --json | jq '.mounts[].state'
  mount_status_monitor check --wait 60 /srv/data   until it responds
  mount_status_monitor check --nagios              a monitoring plugin
  mount_status_monitor check --nagios -w 0.5 -c 2  limits for latencies

A running daemon responds if there is one, on its socket or, if this user may not use that, on its TCP address. On the
socket it probes named mounts first, and on a terminal all mounts; else the output says how old its knowledge is.

With --wait, no daemon is asked: the mounts are probed every second by child processes of this command, with the rights
and in the mount namespace of the caller. An automounter's trigger is no mount, and is not triggered.

Exit status:
  0  no mount is dead
  1  some mounts are dead or missing
     with --wait: some were not there or did not respond in time
  2  wrong usage, or it could not check, or some mounts could not be judged
With --nagios:
  0  OK
  1  WARNING: some mounts are slow, or have a latency that --warning
     does not allow
  2  CRITICAL: some mounts are dead or missing, or have a latency that
     --critical does not allow
  3  UNKNOWN: some mounts could not be judged; this user can check no
     mount, or not every named one; no result in time; or wrong usage

RANGE is that of the Monitoring Plugins, in seconds: 2 (0 to 2 is well), 0.5:2, 0.5:, ~:2, or @2:5 (2 to 5 is not well).
If the daemon refuses this user, all mounts count as named. The line has at most 4 KiB: it names at most ten mounts of a
state, and has the performance data that fits.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  mount_status_monitor completions bash >/etc/bash_completion.d/mount_status_monitor
  mount_status_monitor completions zsh >/usr/local/share/zsh/site-functions/_mount_status_monitor
  mount_status_monitor completions fish >/etc/fish/completions/mount_status_monitor.fish

In bash, zsh and fish, mount points are completed from the mount table, without touching them: a dead mount does not
block the shell. Other words are completed as files only after an option that names a file.";

pub(super) const STATUS: &str = "\
Exit status:
  0  no mount is dead
  1  some mounts are dead or missing
  2  wrong usage, no daemon is running or it does not respond, or some
     mounts could not be judged";

pub(super) const DIAGNOSE: &str = "\
The running daemon knows most, and probes the mount first. Without a daemon, or for a mount that it does not watch, this
command probes and inspects the mount in child processes, which may hang in its place. Run it as root to see all
processes.

For a mount that does not respond it adds what else is affected: mounts of the same file system and server, other mount
namespaces that have it, loop devices, swap files, overlays and NFS exports on it; and how it is mounted again.

Any path in a mount stands for the mount. Symbolic links are followed, except on network and FUSE mounts, in a child
process for at most 2 seconds.

Exit status:
  0  the mount responds
  1  it is dead
  2  wrong usage, it is not mounted, or it could not be judged";

pub(super) const REMEDY: &str = "\
Without --act, nothing is changed: the plan says for each step which call is made and what it breaks, what forbids it, how
the mount would be mounted again, and what could not be known. docs/remedies.md explains it.

The mount is probed in child processes, and no step needs a daemon. The rule of the configuration for this mount says
which steps are permitted (default: abort, unmount, detach); its waiting time and numbers of attempts are for the daemon.

With --act, which needs root, the mount is probed once more, and each step is made in a child process that can be killed.
What a step has done is read from the mount table. The attempt counts for the daemon, which repeats none of its steps.

With --reset, which needs root, earlier attempts on the mount point count no more, for a daemon that gave up on it. If an
unmount has hit another mount than the one that was meant, remedies are permitted on this machine again. A running daemon
gets SIGHUP, and plans now what is permitted.

Examples:
  mount_status_monitor remedy /data        the plan
  mount_status_monitor remedy /data --act  carry it out
  mount_status_monitor remedy /data --act --steps unmount

Exit status:
  0  it is repaired, or there is nothing to do
  1  it is still dead
  2  nothing may be done, or wrong usage";

pub(super) const DRILL: &str = "\
A drill goes through the daemon like the death of a mount, to everything that is configured, whatever rules and hooks
select: standard error or the journal, syslog, each hook, push gateway, text file, Alertmanager, HTTP events. Everything
is marked: the line begins with \"Drill:\", and hooks get the event drill and MSM_DRILL=1. A hook that acts on mounts must
then do nothing. A drill counts neither in metrics nor in the history. The series in the push gateway is deleted at
once, and the text file is written as it is. The alert has the name MountDead, so that it is routed like one, and the
label drill=\"true\"; it ends by itself after a minute.

Each output makes one attempt. The result is one of:

  accepted          the receiver confirmed it: a response 2xx,
                    exit status 0, the file is written
  sent              handed over; datagrams and streams confirm nothing
  nobody listening  no client follows the events; no local syslog
  FAILED            with the reason
  TIMED OUT         no result in 9 s

It needs the socket of the daemon. A drill can begin 10 s after the last.

Examples:
  mount_status_monitor drill
  mount_status_monitor drill --mountpoint /srv/data --json

Exit status:
  0  no output failed
  1  some outputs failed or timed out
  2  wrong usage, no daemon is running, or no drill was made";

pub(super) const WATCH: &str = "\
Examples:
  mount_status_monitor watch              each event from now on
  mount_status_monitor watch --last 20    what happened before, too

The events come from the running daemon. Without a daemon, this command watches the mounts itself with the daemon's
configuration.

Exit status:
  0  stopped by a signal
  2  wrong usage, or it could not watch";
