# Half an hour without the server: a bounded number of processes, no stranded prober, and few log lines.
witness
nfs long-3 3
nfs long-4.2 4.2
daemon
break_drop
expect_dead /mnt/long-3 /mnt/long-4.2
most=0
for _ in $(seq 120); do
    sleep 15
    count=$(processes)
    [ "$count" -le "$most" ] || most=$count
done
note "at most $most processes"
# The daemon, its prober, and an abandoned prober that is about to end.
[ "$most" -le 3 ] || fail "up to $most processes"
expect_metric 0 mountstatus_probers_stranded
expect_metric 2 dead_mountpoints
expect_no_stuck_process $((TIMEOUT + 1))
expect_only_dead /mnt/long-3 /mnt/long-4.2
for version in 3 4.2; do
    failures=$(lines | grep -c -F "Mount failed health-check: /mnt/long-$version (")
    reminders=$(lines | grep -c -F "Mount still failing: /mnt/long-$version (")
    # After 1, 3, 7 and 15 minutes.
    [ "$failures $reminders" = "1 4" ] || fail "version $version: $failures failures and $reminders reminders"
done
expect_witness_alive
mark
lab_repair
expect_recovered 120 /mnt/long-3 /mnt/long-4.2
stop_daemon
