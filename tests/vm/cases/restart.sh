# A restart, and the daemon's sudden death, while probes are stuck: nothing stays behind, and the next one finds its
# port free and tells again.
witness
nfs stuck-3 3
nfs stuck-4.2 4.2
daemon
break_drop
for signal in TERM KILL; do
    for _ in $(seq $((INTERVAL * 20))); do
        [ -z "$(stuck)" ] || break
        sleep 0.05
    done
    [ -n "$(stuck)" ] || fail "no probe is under way"
    if [ $signal = TERM ]; then stop_daemon; else kill -KILL "$DAEMON"; fi
    for _ in $(seq 20); do
        [ "$(processes)" -gt 0 ] || break
        sleep 0.05
    done
    [ "$(processes)" = 0 ] || fail "$(processes) processes are left after SIG$signal"
    launch
    for version in 3 4.2; do
        expect $TIMEOUT "Mount failed health-check: /mnt/stuck-$version (hung"
    done
    never "HTTP"
    expect_metric 2 dead_mountpoints
done
witness_lives
mark
lab_heal
expect_recovered 120 /mnt/stuck-3 /mnt/stuck-4.2
stop_daemon
