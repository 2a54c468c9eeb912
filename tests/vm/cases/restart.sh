# The daemon is stopped and killed while probes are stuck: no process remains, and the next daemon gets its port. It
# reports dead mounts that the stopped one had not reported yet, and knows those that the killed one had.
witness
nfs stuck-3 3
nfs stuck-4.2 4.2
daemon
break_drop
for signal in TERM KILL; do
    for _ in $(seq $((INTERVAL * 20))); do
        [ -z "$(stuck_threads)" ] || break
        sleep 0.05
    done
    [ -n "$(stuck_threads)" ] || fail "no probe is in progress"
    if [ $signal = TERM ]; then stop_daemon; else kill -KILL "$DAEMON"; fi
    for _ in $(seq 20); do
        [ "$(processes)" -gt 0 ] || break
        sleep 0.05
    done
    [ "$(processes)" = 0 ] || fail "$(processes) processes remain after SIG$signal"
    launch
    if [ $signal = TERM ]; then
        for version in 3 4.2; do
            expect "$TIMEOUT" "Mount failed health-check: /mnt/stuck-$version (hung"
        done
        sleep 3 # until what was reported is recorded
    else
        expect 1 "Known from before the start: 2 dead mounts"
        expect_no_line "Mount failed health-check: /mnt/stuck"
    fi
    expect_no_line "Cannot listen"
    expect_metric 2 dead_mountpoints
done
expect_witness_alive
mark
lab_repair
expect_recovered 120 /mnt/stuck-3 /mnt/stuck-4.2
stop_daemon
