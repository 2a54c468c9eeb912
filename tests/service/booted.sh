# shellcheck shell=bash disable=SC2016,SC2154 # run has the variables; `soon` evaluates later
# Sourced by run: the unit under a real systemd. The tests build on each other: the machine is booted once.

# shellcheck disable=SC2034 # for run
BOOTED_TESTS="systemd_boots started_means_ready the_status_line_counts its_mounts_are_those_of_process_1
    it_is_reloaded a_refused_reload_is_over_too signs_of_life_come wrong_options_are_not_tried_again
    a_killed_daemon_is_started_again a_stopped_loop_is_killed_and_started_again
    a_stop_takes_a_second_with_100_unkillable_probes it_starts_at_once_beside_what_was_left_behind
    it_is_restarted_at_once it_goes_on_while_systemd_hangs the_hardened_unit_misses_nothing"

SERVICE=mount_status_monitor
# Stopped within this, whatever hangs.
STOP_LIMIT_MS=1000
root=$scratch/root
booted=$scratch/booted

# Runs a command in the machine. What hangs there hangs no test.
there() {
    timeout -k 1 30 nsenter -t "$(cat "$root.pid")" -m -p -u -i -n -C -- "$@"
}

shown() {
    there systemctl show -P "$1" $SERVICE
}

journal() {
    # Not by -u: for a second journald takes a young process for a part of the unit that forked it.
    there journalctl --no-pager -o cat -t $SERVICE "$@"
}

# Changes the unit for one test.
drop_in() {
    there sh -c "mkdir -p /run/systemd/system/$SERVICE.service.d &&
        cat >/run/systemd/system/$SERVICE.service.d/test.conf && systemctl daemon-reload"
}

is_active() {
    [ "$(shown ActiveState)" = active ] && [ "$(shown MainPID)" -gt 1 ]
}

says() {
    # shellcheck disable=SC2053 # a pattern
    [[ $(shown StatusText) == $1 ]]
}

# What process 1 itself has logged.
logged() {
    there journalctl --no-pager -o cat _PID=1 | grep -E "$1"
}

power_off() {
    [ -s "$scratch/outer" ] || return 0
    # It tidies up when process 1 is gone, which takes with it all that hangs.
    kill "$(cat "$scratch/outer")" 2>/dev/null
    while kill -0 "$(cat "$scratch/outer")" 2>/dev/null; do sleep 0.05; done
}

needs_machine() {
    [ -e "$booted" ] || skip "systemd does not run: see systemd_boots"
}

possible() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    [ -x /lib/systemd/systemd ] || skip "needs systemd"
    [ -w /dev/fuse ] || skip "needs /dev/fuse"
    grep -qw cgroup2 /proc/filesystems || skip "needs control groups, version 2"
    unshare --mount --pid --fork --uts --ipc --net --cgroup true 2>/dev/null || skip "needs the right to make namespaces"
    # In a container, groups may be read-only.
    unshare --mount --propagation private sh -c 'mkdir "$1" && mount -t cgroup2 cgroup2 "$1" && mkdir "$1/$2" &&
        rmdir "$1/$2"' sh "$scratch/try" "${scratch##*/}" || skip "needs the right to make control groups"
}

systemd_boots() {
    possible
    mkdir "$root" "$scratch/programs"
    cp "$programs/mount_status_monitor" "$programs/examples/faultfs" "$scratch/programs/"
    mkdir "$scratch/units"
    cp "contrib/systemd/$SERVICE.service" "$scratch/units/"
    : >"$scratch/console"
    tests/service/container.sh "$root" "$scratch/programs" "$scratch/units" "$scratch/console" $$ \
        >"$scratch/container" 2>&1 &
    echo $! >"$scratch/outer"
    if ! (soon 10 "there is a process 1" test -s "$root.pid" && soon 60 "systemd runs" running); then
        cat "$scratch/container" "$scratch/console"
        exit 1
    fi
    touch "$booted"
}

running() {
    [ "$(there systemctl is-system-running)" = running ]
}

# The unit is Type=notify: systemctl returns when READY=1 has come, and not before.
started_means_ready() {
    needs_machine
    there systemctl log-level debug
    there systemctl start $SERVICE
    is_active
    logged 'Got notification message from PID [0-9]+ \(READY=1\)'
    there systemctl log-level info
    soon 5 "the first run is told" eval 'journal | grep -q "^Checked [0-9]* mounts; 0 are dead"'
    # Its socket shows it a little later.
    soon 5 "it answers" eval 'there mount_status_monitor status | grep -q "^ok .* /usr/local$"'
}

the_status_line_counts() {
    needs_machine
    soon 5 "0 are dead" says 'Watching [1-9]* mounts; 0 are dead'
    echo "# $(shown StatusText)"
}

its_mounts_are_those_of_process_1() {
    needs_machine
    local pid
    pid=$(shown MainPID)
        there sh -c '[ "$(readlink /proc/1/ns/mnt)" = "$(readlink "/proc/$1/ns/mnt")" ]' sh "$pid"
    # And so a mount that is made now is seen.
    there sh -c 'mkdir -p /mnt/later && mount -t tmpfs later /mnt/later'
    soon 5 "a new mount is told" eval 'journal | grep -q "^Mount appeared: /mnt/later"'
    there umount /mnt/later
}

it_is_reloaded() {
    needs_machine
    local pid
    pid=$(shown MainPID)
    there systemctl log-level debug
    there systemctl reload $SERVICE
    soon 5 "RELOADING with the time" logged "Got notification message from PID $pid \(RELOADING=1, MONOTONIC_USEC="
    soon 5 "it runs again" eval 'is_active && [ "$(shown SubState)" = running ]'
    there systemctl log-level info
    [ "$(shown MainPID)" = "$pid" ]
}

# Else it would be reloading for ever, and systemd would refuse the next one.
a_refused_reload_is_over_too() {
    needs_machine
    local pid
    pid=$(shown MainPID)
    there sh -c 'mkdir -p /etc/mount_status_monitor && echo "no_such_key = 1" >/etc/mount_status_monitor/config.toml'
    there systemctl reload $SERVICE
    soon 5 "the mistake is told" eval 'journal | grep -q "^Configuration not reloaded, .*no_such_key"'
    soon 5 "it runs again" eval 'is_active && [ "$(shown SubState)" = running ]'
    there rm -r /etc/mount_status_monitor
    there systemctl reload $SERVICE
    soon 5 "it is reloaded" eval 'journal | grep -q "^Configuration reloaded"'
    soon 5 "it runs again" eval 'is_active && [ "$(shown SubState)" = running ]'
    [ "$(shown MainPID)" = "$pid" ]
}

signs_of_life_come() {
    needs_machine
    drop_in <<<$'[Service]\nWatchdogSec=2s'
    there systemctl restart $SERVICE
    local pid
    pid=$(shown MainPID)
    there systemctl log-level debug
    # Four of them are twice the patience of the watchdog.
    soon 10 "signs of life" eval '[ "$(logged "from PID '"$pid"' \(.*WATCHDOG=1" | wc -l)" -ge 4 ]'
    there systemctl log-level info
    [ "$(shown MainPID):$(shown NRestarts)" = "$pid:0" ]
}

wrong_options_are_not_tried_again() {
    needs_machine
    drop_in <<<$'[Service]\nEnvironment=OPTIONS=--no-such-option'
    there systemctl stop $SERVICE
    if there systemctl start $SERVICE; then fail "it starts"; fi
    [ "$(shown ExecMainStatus):$(shown ActiveState):$(shown NRestarts)" = 2:failed:0 ]
    there systemctl reset-failed $SERVICE
}

a_killed_daemon_is_started_again() {
    needs_machine
    drop_in <<<'[Service]'
    there systemctl start $SERVICE
    there kill -KILL "$(shown MainPID)"
    soon 5 "it is started again" eval '[ "$(shown NRestarts)" = 1 ] && is_active'
}

# A loop that does not turn, as far as systemd can see.
a_stopped_loop_is_killed_and_started_again() {
    needs_machine
    drop_in <<<$'[Service]\nWatchdogSec=2s'
    there systemctl restart $SERVICE
    local pid start
    pid=$(shown MainPID)
    start=$(now_ms)
    there kill -STOP "$pid"
    soon 10 "it is started again" eval 'is_active && [ "$(shown MainPID)" != '"$pid"' ]'
    echo "# started again $(($(now_ms) - start)) ms after it was stopped, with a watchdog of 2 s"
    logged "$SERVICE.service: Watchdog timeout"
    drop_in <<<'[Service]'
}

# The server of the mounts: its stdin is a pipe that stays open as long as the machine is there.
serve() {
    mkfifo "$scratch/orders"
    : >"$scratch/answers"
    nsenter -t "$(cat "$root.pid")" -m -p -u -i -n -C -- faultfs <"$scratch/orders" >"$scratch/answers" 2>&1 &
    # Somebody has to hold the other end, and to end with the machine.
    nsenter -t "$(cat "$root.pid")" -p -m -- sleep infinity >"$scratch/orders" &
}

order() {
    local before
    before=$(wc -l <"$scratch/answers")
    echo "$*" >"$scratch/orders"
    soon 10 "an answer to: $*" eval '[ "$(wc -l <"$scratch/answers")" -gt '"$before"' ]'
    [ "$(tail -n 1 "$scratch/answers")" = ok ] || fail "$(tail -n 1 "$scratch/answers")"
}

# Threads in the unit's control group that even SIGKILL does not end.
unkillable() {
        there sh -c 'cat $(sed "s,.*,/proc/&/task/*/stat," "/sys/fs/cgroup/system.slice/$1.service/cgroup.procs") 2>/dev/null |
        grep -c "(msm-[^)]*) D "' sh $SERVICE || true
}

a_stop_takes_a_second_with_100_unkillable_probes() {
    needs_machine
    drop_in <<<$'[Service]\nEnvironment="OPTIONS=--syslog=off --timeout 1 --mount-points-include ^/mnt/"'
    there systemctl restart $SERVICE
    serve
    order mount /mnt/0..100 allow_other
    soon 5 "they are watched" says 'Watching 100 mounts; 0 are dead'
    order mute all
    there systemctl restart $SERVICE
    soon 10 "all are dead" says 'Watching 100 mounts; 100 are dead: /mnt/*, and 90 more'
    soon 10 "its prober is left behind" eval 'journal | grep -q "is stranded: it is stranded: it cannot be killed while 100 of its probes"'
    stop_in_time
    [ "$(shown ActiveState):$(shown Result)" = inactive:success ] || fail "$(shown ActiveState):$(shown Result)"
    [ "$(unkillable)" -ge 100 ] || fail "only $(unkillable) threads are left: nothing was tested"
}

stop_in_time() {
    local start took
    start=$(now_ms)
    there systemctl stop $SERVICE
    took=$(($(now_ms) - start))
    echo "# stopped in $took ms"
    [ $took -le $((STOP_LIMIT_MS + slack)) ]
}

it_starts_at_once_beside_what_was_left_behind() {
    needs_machine
    local start took
    start=$(now_ms)
    there systemctl start $SERVICE
    took=$(($(now_ms) - start))
    echo "# started in $took ms, beside $(unkillable) threads that hang"
    [ $took -le $((1000 + slack)) ]
    soon 10 "all are dead" says 'Watching 100 mounts; 100 are dead: /mnt/*'
    # Its port and its socket are its own.
    # Exit status 1: some are dead.
    there mount_status_monitor status >"$scratch/status" || [ $? = 1 ]
    [ "$(grep -c '^hung ' "$scratch/status")" = 100 ] || fail "$(cat "$scratch/status")"
    if journal -n 300 | grep -iE 'in use|cannot (listen|bind)'; then exit 1; fi
}

it_is_restarted_at_once() {
    needs_machine
    local start took
    start=$(now_ms)
    there systemctl restart $SERVICE
    took=$(($(now_ms) - start))
    echo "# restarted in $took ms, beside $(unkillable) threads that hang"
    [ $took -le $((2 * STOP_LIMIT_MS + slack)) ]
    order ok all
    order release all
    soon 10 "all are well" says 'Watching 100 mounts; 0 are dead'
    soon 10 "nothing is left behind" eval '[ "$(unkillable)" = 0 ]'
}

# Process 1 looks at mounts and may hang on one. Its socket is full then, and a message to it would wait.
it_goes_on_while_systemd_hangs() {
    needs_machine
    needs python3
    kill -STOP "$(cat "$root.pid")"
    # shellcheck disable=SC2064 # now
    trap "kill -CONT $(cat "$root.pid")" EXIT
    there python3 - <<'PYTHON'
import socket
# Full is what a new socket cannot send to: an old one may just have used up its own share.
for _ in range(100):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.setblocking(False)
    sent = 0
    try:
        while sent < 100_000:
            notify.sendto(b"X=1", "/run/systemd/notify")
            sent += 1
    except BlockingIOError:
        if sent == 0:
            raise SystemExit(0)
raise SystemExit("it is never full: nothing was tested")
PYTHON
    order mount /mnt/frozen allow_other mute
    soon 10 "a hang is seen" eval 'there mount_status_monitor status | grep -q "^hung .* /mnt/frozen$"'
    order ok /mnt/frozen
    order release /mnt/frozen
    soon 10 "its end is seen" eval 'there mount_status_monitor status | grep -q "^ok .* /mnt/frozen$"'
    order mount /mnt/other allow_other mute
    soon 10 "the next hang is seen" eval 'there mount_status_monitor status | grep -q "^hung .* /mnt/other$"'
    kill -CONT "$(cat "$root.pid")"
    soon 10 "systemd learns of it" says 'Watching 102 mounts; 1 is dead: /mnt/other'
    order ok all
    order release all
    order unmount /mnt/frozen
    order unmount /mnt/other
    soon 10 "they are gone" says 'Watching 100 mounts; 0 are dead'
}

# With the drop-in for machines without hooks: what each of its capabilities is there for.
the_hardened_unit_misses_nothing() {
    needs_machine
    there systemctl stop $SERVICE
    {
        cat "contrib/systemd/$SERVICE.service.d/no-hooks.conf"
        echo 'Environment="OPTIONS=--syslog=off --timeout 1 --poll-interval 1 --mount-points-include ^/mnt/"'
    } | drop_in
    order mount /mnt/closed/in allow_other
    order mount /mnt/of-a-user owner=1000
    order mount /mnt/gone allow_other
    there sh -c 'chmod 700 /mnt/closed && chown 1000 /mnt/closed'
    order mute /mnt/7
    order errno /mnt/8 EIO
    there systemctl start $SERVICE
    soon 10 "the dead are named" says 'Watching 103 mounts; 2 are dead: /mnt/7, /mnt/8'
    there mount_status_monitor status >"$scratch/status" || [ $? = 1 ]
    grep -E '/mnt/(closed/in|of-a-user)$' "$scratch/status" | grep -c '^ok ' | grep -qx 2 || fail "$(cat "$scratch/status")"
    its_mounts_are_those_of_process_1
    # To ask each is one thing, to take back what hangs another.
    order mute /mnt/of-a-user
    soon 10 "a user's mount hangs" eval 'journal -n 50 | grep -q "^Mount failed health-check: /mnt/of-a-user (hung"'
    if journal | grep -E 'Cannot start a prober|cannot start a thread'; then exit 1; fi
    stop_in_time
}
