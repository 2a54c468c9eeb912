# shellcheck shell=bash disable=SC2016,SC2154 # run sets the variables; `wait_until` evaluates its arguments later
# Sourced by run: the unit under a real systemd. The tests depend on each other; the machine is booted once.

# shellcheck disable=SC2034 # for run
BOOTED_TESTS="systemd_boots start_returns_when_ready alias_is_the_name_of_the_package status_text_counts_mounts
    daemon_is_in_the_mount_namespace_of_process_1
    reload_keeps_the_process rejected_reload_finishes watchdog_is_notified invalid_options_are_not_restarted
    killed_daemon_is_restarted stopped_daemon_is_restarted_by_the_watchdog
    stop_takes_a_second_with_100_unkillable_probes stranded_probers_do_not_delay_start
    stranded_probers_do_not_delay_restart blocked_systemd_does_not_delay_detection
    hardened_unit_probes_every_mount journal_has_fields_and_explanations
    restart_and_kill_repeat_no_alarm_and_keep_since"

SERVICE=mount_status_monitor
# The daemon stops within this time, whatever hangs.
STOP_LIMIT_MS=1000
root=$scratch/root
booted=$scratch/booted

# Runs a command in the machine, with a timeout.
in_machine() {
    timeout -k 1 30 nsenter -t "$(cat "$root.pid")" -m -p -u -i -n -C -- "$@"
}

unit_property() {
    in_machine systemctl show -P "$1" $SERVICE
}

journal() {
    # Not by -u: for about a second journald assigns a new process to the unit that forked it.
    in_machine journalctl --no-pager -o cat -t $SERVICE "$@"
}

# Changes the unit for one test.
drop_in() {
    in_machine sh -c "mkdir -p /run/systemd/system/$SERVICE.service.d &&
        cat >/run/systemd/system/$SERVICE.service.d/test.conf && systemctl daemon-reload"
}

is_active() {
    [ "$(unit_property ActiveState)" = active ] && [ "$(unit_property MainPID)" -gt 1 ]
}

status_text_is() {
    # shellcheck disable=SC2053 # a pattern
    [[ $(unit_property StatusText) == $1 ]]
}

# Searches the log of process 1.
systemd_has_logged() {
    in_machine journalctl --no-pager -o cat _PID=1 | grep -E "$1"
}

stop_machine() {
    [ -s "$scratch/outer" ] || return 0
    # container.sh cleans up after process 1 has ended, which ends everything that hangs.
    kill "$(cat "$scratch/outer")" 2>/dev/null
    while kill -0 "$(cat "$scratch/outer")" 2>/dev/null; do sleep 0.05; done
}

require_machine() {
    [ -e "$booted" ] || skip "systemd does not run: see systemd_boots"
}

check_requirements() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    [ -x /lib/systemd/systemd ] || skip "needs systemd"
    [ -w /dev/fuse ] || skip "needs /dev/fuse"
    grep -qw cgroup2 /proc/filesystems || skip "needs control groups, version 2"
    unshare --mount --pid --fork --uts --ipc --net --cgroup true 2>/dev/null || skip "needs permission to create namespaces"
    # In a container, control groups may be read-only.
    unshare --mount --propagation private sh -c 'mkdir "$1" && mount -t cgroup2 cgroup2 "$1" && mkdir "$1/$2" &&
        rmdir "$1/$2"' sh "$scratch/try" "${scratch##*/}" || skip "needs permission to create control groups"
}

systemd_boots() {
    check_requirements
    mkdir "$root" "$scratch/programs"
    cp "$programs/mount_status_monitor" "$programs/examples/faultfs" "$scratch/programs/"
    mkdir "$scratch/units"
    cp "contrib/systemd/$SERVICE.service" "$scratch/units/"
    : >"$scratch/console"
    tests/service/container.sh "$root" "$scratch/programs" "$scratch/units" "$scratch/console" $$ \
        >"$scratch/container" 2>&1 &
    echo $! >"$scratch/outer"
    if ! (wait_until 10 "there is a process 1" test -s "$root.pid" && wait_until 60 "systemd runs" running); then
        cat "$scratch/container" "$scratch/console"
        exit 1
    fi
    touch "$booted"
}

running() {
    [ "$(in_machine systemctl is-system-running)" = running ]
}

# The unit is Type=notify: `systemctl start` returns when READY=1 has arrived.
start_returns_when_ready() {
    require_machine
    in_machine systemctl log-level debug
    in_machine systemctl start $SERVICE
    is_active
    systemd_has_logged 'Got notification message from PID [0-9]+ \(READY=1\)'
    in_machine systemctl log-level info
    wait_until 5 "the first run is logged" eval 'journal | grep -q "^Checked [0-9]* mounts; 0 are dead"'
    # The snapshot is published shortly after the log line.
    wait_until 5 "status shows the mounts" eval 'in_machine mount_status_monitor status | grep -q "^ok .* /usr/local$"'
}

alias_is_the_name_of_the_package() {
    require_machine
    in_machine systemctl enable $SERVICE
    in_machine systemctl status --no-pager mount-status-monitor | grep -F " $SERVICE.service - "
    in_machine systemctl disable $SERVICE
    if in_machine systemctl status --no-pager mount-status-monitor; then fail "the alias remains"; fi
}

status_text_counts_mounts() {
    require_machine
    wait_until 5 "0 are dead" status_text_is 'Watching [1-9]* mounts; 0 are dead'
    echo "# $(unit_property StatusText)"
}

daemon_is_in_the_mount_namespace_of_process_1() {
    require_machine
    local pid
    pid=$(unit_property MainPID)
    in_machine sh -c '[ "$(readlink /proc/1/ns/mnt)" = "$(readlink "/proc/$1/ns/mnt")" ]' sh "$pid"
    # Therefore a new mount is detected.
    in_machine sh -c 'mkdir -p /mnt/later && mount -t tmpfs later /mnt/later'
    wait_until 5 "the new mount is logged" eval 'journal | grep -q "^Mount appeared: /mnt/later"'
    in_machine umount /mnt/later
}

reload_keeps_the_process() {
    require_machine
    local pid
    pid=$(unit_property MainPID)
    in_machine systemctl log-level debug
    in_machine systemctl reload $SERVICE
    wait_until 5 "RELOADING with the time" systemd_has_logged "Got notification message from PID $pid \(RELOADING=1, MONOTONIC_USEC="
    wait_until 5 "the unit is running again" eval 'is_active && [ "$(unit_property SubState)" = running ]'
    in_machine systemctl log-level info
    [ "$(unit_property MainPID)" = "$pid" ]
}

# Otherwise the unit would stay in the state "reloading", and systemd would refuse the next reload.
rejected_reload_finishes() {
    require_machine
    local pid
    pid=$(unit_property MainPID)
    in_machine sh -c 'mkdir -p /etc/mount_status_monitor && echo "no_such_key = 1" >/etc/mount_status_monitor/config.toml'
    in_machine systemctl reload $SERVICE
    wait_until 5 "the error is logged" eval 'journal | grep -q "^Configuration not reloaded, .*no_such_key"'
    wait_until 5 "the unit is running again" eval 'is_active && [ "$(unit_property SubState)" = running ]'
    in_machine rm -r /etc/mount_status_monitor
    in_machine systemctl reload $SERVICE
    wait_until 5 "the configuration is reloaded" eval 'journal | grep -q "^Configuration reloaded"'
    wait_until 5 "the unit is running again" eval 'is_active && [ "$(unit_property SubState)" = running ]'
    [ "$(unit_property MainPID)" = "$pid" ]
}

watchdog_is_notified() {
    require_machine
    drop_in <<<$'[Service]\nWatchdogSec=2s'
    in_machine systemctl restart $SERVICE
    local pid
    pid=$(unit_property MainPID)
    in_machine systemctl log-level debug
    # Four notifications take twice the watchdog timeout.
    wait_until 10 "watchdog notifications" eval '[ "$(systemd_has_logged "from PID '"$pid"' \(.*WATCHDOG=1" | wc -l)" -ge 4 ]'
    in_machine systemctl log-level info
    [ "$(unit_property MainPID):$(unit_property NRestarts)" = "$pid:0" ]
}

invalid_options_are_not_restarted() {
    require_machine
    drop_in <<<$'[Service]\nEnvironment=OPTIONS=--no-such-option'
    in_machine systemctl stop $SERVICE
    if in_machine systemctl start $SERVICE; then fail "the unit starts with an invalid option"; fi
    [ "$(unit_property ExecMainStatus):$(unit_property ActiveState):$(unit_property NRestarts)" = 2:failed:0 ]
    in_machine systemctl reset-failed $SERVICE
}

killed_daemon_is_restarted() {
    require_machine
    drop_in <<<'[Service]'
    in_machine systemctl start $SERVICE
    in_machine kill -KILL "$(unit_property MainPID)"
    wait_until 5 "the daemon is restarted" eval '[ "$(unit_property NRestarts)" = 1 ] && is_active'
}

# For systemd, a stopped process is an event loop that does not run.
stopped_daemon_is_restarted_by_the_watchdog() {
    require_machine
    drop_in <<<$'[Service]\nWatchdogSec=2s'
    in_machine systemctl restart $SERVICE
    local pid start
    pid=$(unit_property MainPID)
    start=$(now_ms)
    in_machine kill -STOP "$pid"
    wait_until 10 "the daemon is restarted" eval 'is_active && [ "$(unit_property MainPID)" != '"$pid"' ]'
    echo "# restarted $(($(now_ms) - start)) ms after SIGSTOP, with a watchdog timeout of 2 s"
    systemd_has_logged "$SERVICE.service: Watchdog timeout"
    drop_in <<<'[Service]'
}

# Starts tests/faultfs in the machine.
start_fault_server() {
    mkfifo "$scratch/orders"
    : >"$scratch/answers"
    nsenter -t "$(cat "$root.pid")" -m -p -u -i -n -C -- faultfs <"$scratch/orders" >"$scratch/answers" 2>&1 &
    # Keeps the write end open until the machine ends.
    nsenter -t "$(cat "$root.pid")" -p -m -- sleep infinity >"$scratch/orders" &
}

set_fault() {
    local before
    before=$(wc -l <"$scratch/answers")
    echo "$*" >"$scratch/orders"
    wait_until 10 "a reply to: $*" eval '[ "$(wc -l <"$scratch/answers")" -gt '"$before"' ]'
    [ "$(tail -n 1 "$scratch/answers")" = ok ] || fail "$(tail -n 1 "$scratch/answers")"
}

# Threads in the unit's control group that are in D state.
count_unkillable_threads() {
    in_machine sh -c 'cat $(sed "s,.*,/proc/&/task/*/stat," "/sys/fs/cgroup/system.slice/$1.service/cgroup.procs") 2>/dev/null |
        grep -c "(msm-[^)]*) D "' sh $SERVICE || true
}

stop_takes_a_second_with_100_unkillable_probes() {
    require_machine
    drop_in <<<$'[Service]\nEnvironment="OPTIONS=--timeout 1 --mount-points-include ^/mnt/"'
    in_machine systemctl restart $SERVICE
    start_fault_server
    set_fault mount /mnt/0..100 allow_other
    wait_until 5 "the mounts are watched" status_text_is 'Watching 100 mounts; 0 are dead'
    set_fault mute all
    in_machine systemctl restart $SERVICE
    wait_until 10 "all mounts are dead" status_text_is 'Watching 100 mounts; 100 are dead: /mnt/*, and 90 more'
    wait_until 10 "the prober is stranded" eval 'journal | grep -q "is stranded: it cannot be killed while 100 of its probes"'
    assert_stop_in_time
    [ "$(unit_property ActiveState):$(unit_property Result)" = inactive:success ] || fail "$(unit_property ActiveState):$(unit_property Result)"
    [ "$(count_unkillable_threads)" -ge 100 ] || fail "only $(count_unkillable_threads) threads remain: nothing was tested"
}

assert_stop_in_time() {
    local start took
    start=$(now_ms)
    in_machine systemctl stop $SERVICE
    took=$(($(now_ms) - start))
    echo "# stopped in $took ms"
    [ $took -le $((STOP_LIMIT_MS + slack)) ]
}

stranded_probers_do_not_delay_start() {
    require_machine
    local start took
    start=$(now_ms)
    in_machine systemctl start $SERVICE
    took=$(($(now_ms) - start))
    echo "# started in $took ms, with $(count_unkillable_threads) hung threads"
    [ $took -le $((1000 + slack)) ]
    wait_until 10 "all mounts are dead" status_text_is 'Watching 100 mounts; 100 are dead: /mnt/*'
    # The new daemon has the port and the socket. Exit status 1: some mounts are dead.
    # It knows from the last one that they are dead; the status is 2 until it has probed them.
    wait_until 10 "all are judged" eval 'in_machine mount_status_monitor status >"$scratch/status"; [ $? = 1 ]'
    [ "$(grep -c '^hung ' "$scratch/status")" = 100 ] || fail "$(cat "$scratch/status")"
    if journal -n 300 | grep -iE 'in use|cannot (listen|bind)'; then exit 1; fi
}

stranded_probers_do_not_delay_restart() {
    require_machine
    local start took
    start=$(now_ms)
    in_machine systemctl restart $SERVICE
    took=$(($(now_ms) - start))
    echo "# restarted in $took ms, with $(count_unkillable_threads) hung threads"
    [ $took -le $((2 * STOP_LIMIT_MS + slack)) ]
    set_fault ok all
    set_fault release all
    wait_until 10 "all mounts are ok" status_text_is 'Watching 100 mounts; 0 are dead'
    wait_until 10 "no stranded thread remains" eval '[ "$(count_unkillable_threads)" = 0 ]'
}

# systemd itself may hang on a mount. Then its notification socket is full, and a blocking send would wait.
blocked_systemd_does_not_delay_detection() {
    require_machine
    require_command python3
    kill -STOP "$(cat "$root.pid")"
    # shellcheck disable=SC2064 # now
    trap "kill -CONT $(cat "$root.pid")" EXIT
    in_machine python3 - <<'PYTHON'
import socket
# The queue is full only if a new socket cannot send: an old socket may have reached its own send limit.
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
raise SystemExit("the queue is never full: nothing was tested")
PYTHON
    set_fault mount /mnt/frozen allow_other mute
    wait_until 10 "the hang is detected" eval 'in_machine mount_status_monitor status | grep -q "^hung .* /mnt/frozen$"'
    set_fault ok /mnt/frozen
    set_fault release /mnt/frozen
    wait_until 10 "the recovery is detected" eval 'in_machine mount_status_monitor status | grep -q "^ok .* /mnt/frozen$"'
    set_fault mount /mnt/other allow_other mute
    wait_until 10 "the next hang is detected" eval 'in_machine mount_status_monitor status | grep -q "^hung .* /mnt/other$"'
    kill -CONT "$(cat "$root.pid")"
    wait_until 10 "the status text is updated" status_text_is 'Watching 102 mounts; 1 is dead: /mnt/other'
    set_fault ok all
    set_fault release all
    set_fault unmount /mnt/frozen
    set_fault unmount /mnt/other
    wait_until 10 "the mounts are gone" status_text_is 'Watching 100 mounts; 0 are dead'
}

# Each message once, with fields, and with an explanation of its event.
journal_has_fields_and_explanations() {
    require_machine
    in_machine sh -c 'mkdir -p /usr/local/lib/systemd/catalog && cat >/usr/local/lib/systemd/catalog/mount_status_monitor.catalog &&
        journalctl --update-catalog' <contrib/systemd/mount_status_monitor.catalog
    drop_in <<<$'[Service]\nEnvironment="OPTIONS=--timeout 1 --poll-interval 1 --mount-points-include ^/mnt/"'
    in_machine systemctl restart $SERVICE
    set_fault errno /mnt/9 EIO
    wait_until 10 "the failure is in the journal" eval 'journal MOUNTSTATUS_EVENT=failed MOUNTSTATUS_MOUNTPOINT=/mnt/9 ERRNO=5 | grep -q "^Mount failed"'
    [ "$(journal | grep -c '^Mount failed health-check: /mnt/9 (io_error')" = 1 ] || fail "$(journal -n 20)"
    in_machine journalctl --no-pager --catalog MOUNTSTATUS_EVENT=failed MOUNTSTATUS_MOUNTPOINT=/mnt/9 >"$scratch/explained"
    grep -q 'mount_status_monitor diagnose /mnt/9' "$scratch/explained" || fail "$(cat "$scratch/explained")"
    set_fault ok /mnt/9
    wait_until 10 "the recovery is in the journal" eval 'journal MOUNTSTATUS_EVENT=recovered MOUNTSTATUS_MOUNTPOINT=/mnt/9 | grep -q .'
    # An explicit target wins, in the configuration file too.
    in_machine sh -c 'mkdir -p /etc/mount_status_monitor && echo "syslog = \"local\"" >/etc/mount_status_monitor/config.toml'
    in_machine systemctl reload $SERVICE
    wait_until 10 "syslog gets the messages too" eval '[ "$(journal | grep -c "^Configuration reloaded: syslog auto -> local")" = 2 ]'
    in_machine rm -r /etc/mount_status_monitor
    in_machine systemctl reload $SERVICE
}

# With the drop-in for machines without hooks: tests what each of its capabilities is needed for.
hardened_unit_probes_every_mount() {
    require_machine
    in_machine systemctl stop $SERVICE
    {
        cat "contrib/systemd/$SERVICE.service.d/no-hooks.conf"
        echo 'Environment="OPTIONS=--timeout 1 --poll-interval 1 --mount-points-include ^/mnt/"'
    } | drop_in
    set_fault mount /mnt/closed/in allow_other
    set_fault mount /mnt/of-a-user owner=1000
    set_fault mount /mnt/gone allow_other
    in_machine sh -c 'chmod 700 /mnt/closed && chown 1000 /mnt/closed'
    set_fault mute /mnt/7
    set_fault errno /mnt/8 EIO
    in_machine systemctl start $SERVICE
    wait_until 10 "the status text names the dead mounts" status_text_is 'Watching 103 mounts; 2 are dead: /mnt/7, /mnt/8'
    in_machine mount_status_monitor status >"$scratch/status" || [ $? = 1 ]
    grep -E '/mnt/(closed/in|of-a-user)$' "$scratch/status" | grep -c '^ok ' | grep -qx 2 || fail "$(cat "$scratch/status")"
    daemon_is_in_the_mount_namespace_of_process_1
    # Abandoning a hung probe needs capabilities, too.
    set_fault mute /mnt/of-a-user
    wait_until 10 "the hang of a user's mount is logged" eval 'journal -n 50 | grep -q "^Mount failed health-check: /mnt/of-a-user (hung"'
    if journal | grep -E 'Cannot start a prober|cannot start a thread'; then exit 1; fi
    assert_stop_in_time
}

# Both end what runs in the unit: systemd ends what a killed daemon has left.
restart_and_kill_repeat_no_alarm_and_keep_since() {
    require_machine
    require_command python3
    [ -p "$scratch/orders" ] || start_fault_server
    drop_in <<<$'[Service]\nEnvironment="OPTIONS=--timeout 1 --poll-interval 1 --mount-points-include ^/mnt/restart"\nRestartSec=2s'
    in_machine systemctl restart $SERVICE
    set_fault mount /mnt/restart allow_other
    wait_until 10 "the mount is watched" status_text_is 'Watching 1 mount*; 0 are dead'
    set_fault errno /mnt/restart EIO
    wait_until 10 "it is reported" eval '[ "$(count_alarms)" = 1 ]'
    local since now how pid
    since=$(since_of_the_dead_mount)
    # The first kill comes at once after the alarm.
    for how in "kill --signal=KILL --kill-whom=main" "kill --signal=KILL" restart; do
        pid=$(unit_property MainPID)
        # shellcheck disable=SC2086 # several words
        in_machine systemctl $how $SERVICE
        wait_until 15 "$how: another daemon runs" eval 'is_active && [ "$(unit_property MainPID)" != '"$pid"' ]'
        # It is probed each second.
        sleep 3
        [ "$(count_alarms)" = 1 ] || fail "$how: $(journal | grep "/mnt/restart")"
        now=$(since_of_the_dead_mount)
        # It is rounded, and the clock may have been corrected a little.
        [[ $((now - since)) = ?(-)[01] ]] || fail "$how: dead since $since, now $now"
    done
    echo "# one alarm; dead since $since"
    set_fault ok /mnt/restart
    wait_until 10 "its recovery is reported" eval 'journal | grep -q "^Mount recovered: /mnt/restart "'
    set_fault unmount /mnt/restart
    drop_in <<<'[Service]'
    in_machine systemctl restart $SERVICE
}

count_alarms() {
    journal | grep -c "^Mount failed health-check: /mnt/restart " || true
}

# In seconds since 1970, rounded.
since_of_the_dead_mount() {
    in_machine mount_status_monitor status --json | python3 -c '
import datetime, json, sys
[mount] = json.load(sys.stdin)["mounts"]
print(round(datetime.datetime.fromisoformat(mount["since"]).timestamp()))'
}
