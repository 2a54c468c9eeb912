# The daemon under test and its log lines. The lines get a time stamp on arrival, so that checks measure when a line was
# logged and not when it was searched.

INTERVAL=10
TIMEOUT=3
# Seconds that the slow processor of the guest may add to a promised time.
SLACK=1
LOG=/tmp/daemon.log
SELF=mount_status_monitor

daemon() { # [OPTION...]: starts the daemon and waits for the end of its first run
    launch "$@"
    wait_for 60 "Checked " || fail "no first run"
    mark
}

launch() { # [OPTION...]
    touch $LOG
    rm -f /tmp/daemon.out
    mkfifo /tmp/daemon.out
    while IFS= read -r line; do
        read -r up _ </proc/uptime
        echo "[$up] $line"
    done </tmp/daemon.out >>$LOG &
    mark
    /guest/bin/$SELF --poll-interval $INTERVAL --timeout $TIMEOUT --syslog off "$@" 2>/tmp/daemon.out &
    DAEMON=$!
}

# Later checks see only lines after this point, and measure from this time.
mark() {
    MARK=$(wc -l <$LOG)
    START=$(now)
}

lines() {
    tail -n +$((MARK + 1)) $LOG
}

# Polls seldom, because polling is expensive here; the time stamps are exact.
wait_for() { # SECONDS TEXT: waits for a line after the mark that begins with the text
    left=$(($1 * 4))
    until lines | grep -q -F "] $2"; do
        [ $left -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.25
    done
}

# Like wait_for, but fails after the time. Sets AFTER to the time from the mark to the line.
expect() { # SECONDS TEXT
    wait_for $(($1 + SLACK)) "$2" || fail "not within $1s: $2"
    logged_at=$(lines | grep -m1 -F "] $2" | sed 's/^\[\([0-9]*\)\.\([0-9]*\)\].*/\1\2/')
    AFTER=$((logged_at - START))
    [ $AFTER -le $((($1 + SLACK) * 100)) ] || fail "after $(seconds $AFTER), not within $1s: $2"
}

expect_no_line() { # TEXT: not logged since the mark
    ! lines | grep -q -F "] $1" || fail "unexpected: $(lines | grep -m1 -F "] $1")"
}

# Exactly these mounts are reported dead, within interval + timeout.
expect_dead() { # PATH...
    latest=0
    for path; do
        expect $((INTERVAL + TIMEOUT)) "Mount failed health-check: $path ("
        [ $AFTER -le $latest ] || latest=$AFTER
    done
    note "detected after $(seconds $latest)"
    # shellcheck disable=SC2119 # the default
    expect_no_stuck_process
    expect_only_dead "$@"
}

# At some moment within the time (default: the second after a hang is logged) no thread of ours is in D state. A mount
# that has been dead for a long time is occasionally probed with the full timeout.
# shellcheck disable=SC2120 # cases pass it
expect_no_stuck_process() { # [SECONDS]
    for _ in $(seq $((${1:-1} * 10))); do
        still=$(stuck_threads)
        [ -n "$still" ] || return 0
        sleep 0.1
    done
    fail "in D state long after the deadline: $still"
}

stuck_threads() { # our threads in D state
    for stat in /proc/[0-9]*/task/*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        case $line in *"(mount_status_mo) D"* | *"(msm-probe"*") D"*) echo "${line%% *}" ;; esac
    done
}

expect_only_dead() { # PATH...: no other mount was reported dead since the mark
    reported=$(lines | sed -n 's/.*] Mount failed health-check: \([^ ]*\) .*/\1/p')
    for path in $reported; do
        case " $* " in *" $path "*) ;; *) fail "reported dead, but alive: $path" ;; esac
    done
}

expect_recovered() { # SECONDS PATH...
    limit=$1
    shift
    latest=0
    for path; do
        expect "$limit" "Mount recovered: $path ("
        [ $AFTER -le $latest ] || latest=$AFTER
    done
    note "recovered after $(seconds $latest)"
}

reason() { # PATH: the reason in its failure line
    lines | sed -n "s|.*] Mount failed health-check: $1 (\([a-z_]*\).*|\1|p" | head -1
}

# The wget of busybox is static and crashes in the resolver, even for an address. The sleep keeps the connection open
# until the server has responded.
metrics() {
    { printf 'GET /metrics HTTP/1.0\r\n\r\n'; sleep 0.3; } | nc 127.0.0.1 9817 | tr -d '\r'
}

metric() { # NAME{LABELS}: the value
    metrics | grep -F "$1" | grep -v '^#' | sed 's/.* //' | head -1
}

# Metrics are published within a second after the log line.
expect_metric() { # VALUE NAME{LABELS}
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        value=$(metric "$2")
        [ "$value" != "$1" ] || return 0
        sleep 0.1
    done
    fail "$2 is ${value:-missing}, not $1"
}

up() { # PATH: the value of mountstatus_mount_up
    metrics | grep "^mountstatus_mount_up{.*mountpoint=\"$1\"" | sed 's/.* //'
}

# The daemon stops within a second, whatever hangs.
stop_daemon() {
    before=$(now)
    kill -TERM "$DAEMON"
    wait "$DAEMON"
    status=$?
    took=$(($(now) - before))
    [ $status = 0 ] || fail "the exit status is $status"
    [ $took -le 100 ] || fail "the daemon took $(seconds $took) to stop"
}

# The number of processes: the daemon and its probers.
processes() {
    count=0
    for comm in /proc/[0-9]*/comm; do
        { read -r name <"$comm"; } 2>/dev/null || continue
        case $name in mount_status_mo | msm-prober) count=$((count + 1)) ;; esac
    done
    echo $count
}
