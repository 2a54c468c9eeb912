# The daemon under test, and what it says. Its lines are stamped as they come, so that a check measures when it was
# said and not when it was looked for.

INTERVAL=10
TIMEOUT=3
# What the guest itself may add to a promised time: its processor is slow, but its clock is exact.
SLACK=1
LOG=/tmp/daemon.log
SELF=mount_status_monitor

daemon() { # [OPTION...]: starts it and waits for the end of its first run
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

# From here on lines are looked for and times are counted.
mark() {
    MARK=$(wc -l <$LOG)
    START=$(now)
}

lines() {
    tail -n +$((MARK + 1)) $LOG
}

# Looked for seldom, because looking is what costs most here; the stamps are exact all the same.
wait_for() { # SECONDS TEXT: a line that begins with it, after the mark
    left=$(($1 * 4))
    until lines | grep -q -F "] $2"; do
        [ $left -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.25
    done
}

# A line must come within the time, counted from the mark; AFTER says how long it took.
expect() { # SECONDS TEXT
    wait_for $(($1 + SLACK)) "$2" || fail "not within $1s: $2"
    said=$(lines | grep -m1 -F "] $2" | sed 's/^\[\([0-9]*\)\.\([0-9]*\)\].*/\1\2/')
    AFTER=$((said - START))
    [ $AFTER -le $((($1 + SLACK) * 100)) ] || fail "after $(seconds $AFTER), not within $1s: $2"
}

never() { # TEXT: has not been said since the mark
    ! lines | grep -q -F "] $1" || fail "said: $(lines | grep -m1 -F "] $1")"
}

# Each is told to be dead within interval + timeout, and no other.
expect_dead() { # PATH...
    latest=0
    for path; do
        expect $((INTERVAL + TIMEOUT)) "Mount failed health-check: $path ("
        [ $AFTER -le $latest ] || latest=$AFTER
    done
    note "told $(seconds $latest)"
    none_stuck
    accused_only "$@"
}

# No process of ours is in D state at some moment within the time, usually the second after a verdict. When a mount has
# been dead for long, it is asked with the full timeout now and then.
none_stuck() { # [SECONDS]
    for _ in $(seq $((${1:-1} * 10))); do
        still=$(stuck)
        [ -n "$still" ] || return 0
        sleep 0.1
    done
    fail "in D state long after the deadline: $still"
}

stuck() {
    for _ in $(seq 20); do
        [ -z "$(stuck)" ] && return 0
        sleep 0.1
    done
    fail "in D state long after the deadline: $(stuck)"
}

stuck() {
    for stat in /proc/[0-9]*/task/*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        case $line in *"(mount_status_mo) D"* | *"(msm-probe"*") D"*) echo "${line%% *}" ;; esac
    done
}

accused_only() { # PATH...: since the mark
    accused=$(lines | sed -n 's/.*] Mount failed health-check: \([^ ]*\) .*/\1/p')
    for path in $accused; do
        case " $* " in *" $path "*) ;; *) fail "accused, but alive: $path" ;; esac
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
    note "recovered $(seconds $latest)"
}

reason() { # PATH: the word after the bracket
    lines | sed -n "s|.*] Mount failed health-check: $1 (\([a-z_]*\).*|\1|p" | head -1
}

# busybox's wget crashes here: it is static and asks the resolver, even for a number. A client that closes its end at
# once is given up by the server.
metrics() {
    { printf 'GET /metrics HTTP/1.0\r\n\r\n'; sleep 0.3; } | nc 127.0.0.1 9817 | tr -d '\r'
}

metric() { # NAME{LABELS}: its value
    metrics | grep -F "$1" | grep -v '^#' | sed 's/.* //' | head -1
}

# The metrics show what was said within a second.
expect_metric() { # VALUE NAME{LABELS}
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        value=$(metric "$2")
        [ "$value" != "$1" ] || return 0
        sleep 0.1
    done
    fail "$2 is ${value:-missing}, not $1"
}

up() { # PATH: as the metric says
    metrics | grep "^mountstatus_mount_up{.*mountpoint=\"$1\"" | sed 's/.* //'
}

# The daemon ends within a second whatever hangs.
stop_daemon() {
    before=$(now)
    kill -TERM "$DAEMON"
    wait "$DAEMON"
    status=$?
    took=$(($(now) - before))
    [ $status = 0 ] || fail "its exit status is $status"
    [ $took -le 100 ] || fail "it took $(seconds $took) to stop"
}

# The daemon's processes: itself and its probers.
processes() {
    count=0
    for comm in /proc/[0-9]*/comm; do
        { read -r name <"$comm"; } 2>/dev/null || continue
        case $name in mount_status_mo | msm-prober) count=$((count + 1)) ;; esac
    done
    echo $count
}
