# Half an hour without the server: a bounded number of processes, none of them lost, and few words.
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
# The daemon, its prober, and one that is just being killed.
[ "$most" -le 3 ] || fail "up to $most processes"
expect_metric 0 mountstatus_probers_lost
expect_metric 2 dead_mountpoints
none_stuck $((TIMEOUT + 1))
accused_only /mnt/long-3 /mnt/long-4.2
for version in 3 4.2; do
    told=$(lines | grep -c -F "Mount failed health-check: /mnt/long-$version (")
    reminded=$(lines | grep -c -F "Mount still failing: /mnt/long-$version (")
    # After 1, 3, 7 and 15 minutes.
    [ "$told $reminded" = "1 4" ] || fail "version $version was told $told times and reminded of $reminded times"
done
witness_lives
mark
lab_heal
expect_recovered 120 /mnt/long-3 /mnt/long-4.2
stop_daemon
