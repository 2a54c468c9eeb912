# The daemon starts when a mount is already dead, as after a boot without the server: told after one timeout.
witness
nfs dead-3 3
nfs dead-4.2 4.2
touch $LOG
break_drop
sleep 90
launch
for version in 3 4.2; do expect $TIMEOUT "Mount failed health-check: /mnt/dead-$version (hung"; done
note "told $(seconds $AFTER)"
expect $TIMEOUT "Checked "
none_stuck
accused_only /mnt/dead-3 /mnt/dead-4.2
witness_lives
# Another user of the program at the same time: one run for a script.
found=$(/guest/bin/$SELF --once-only --print-bad-mounts --timeout $TIMEOUT --syslog off 2>/dev/null)
status=$?
[ "$(echo $found) $status" = "/mnt/dead-3 /mnt/dead-4.2 1" ] || fail "--once-only printed $found and ended with $status"
mark
lab_heal
expect_recovered 120 /mnt/dead-3 /mnt/dead-4.2
stop_daemon
