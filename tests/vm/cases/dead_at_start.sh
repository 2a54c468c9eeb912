# Mounts that are dead when the daemon starts are reported after one timeout.
witness
nfs dead-3 3
nfs dead-4.2 4.2
touch "$LOG"
break_drop
sleep 90
launch
for version in 3 4.2; do expect "$TIMEOUT" "Mount failed health-check: /mnt/dead-$version (hung"; done
note "detected after $(seconds "$AFTER")"
expect "$TIMEOUT" "Checked "
expect_no_stuck_process
expect_only_dead /mnt/dead-3 /mnt/dead-4.2
expect_witness_alive
# A single run at the same time.
found=$("/guest/bin/$SELF" --once-only --print-bad-mounts --timeout "$TIMEOUT" --syslog off 2>/dev/null)
status=$?
# shellcheck disable=SC2086,SC2116 # joins the lines
[ "$(echo $found) $status" = "/mnt/dead-3 /mnt/dead-4.2 1" ] || fail "--once-only printed $found and ended with $status"
mark
lab_repair
expect_recovered 120 /mnt/dead-3 /mnt/dead-4.2
stop_daemon
