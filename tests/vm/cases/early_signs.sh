# Tasks wait for a server between two runs: its mounts are reported long before the next run. Without a task they are
# reported by the next run. A busy healthy server, also with 5 % loss, is not reported.
INTERVAL=60
witness
for version in 3 4.2; do
    nfs "used-$version" $version
    nfs "busy-$version" $version hard b
done
daemon

# Loops of synchronous writes, mostly one request at a time, so a lost packet stops all. The pause is for the emulator.
if modprobe sch_netem 2>/dev/null && tc -n b qdisc add dev eth0 root netem loss 5%; then
    tc qdisc add dev vb root netem loss 5%
else
    note "no loss"
fi
for version in 3 4.2; do
    (while sleep 0.1; do dd if=/dev/zero of="/mnt/busy-$version/x" bs=4096 count=4 conv=fsync 2>/dev/null; done) &
done
sleep 60
expect_no_line "Mount failed"
note "$(metric mountstatus_sign_probes_total) probes of the busy server"

# The run is known to the second: the outage begins just after one, so the next is a minute away.
mark
wait_for 70 "Checked " || fail "no run"
(n=0; while sleep 0.1; do n=$((n + 1)); [ -e /mnt/used-3/$n ]; done) & # each is a new name, so it asks the server
mark
break_drop
expect $((TIMEOUT + 4)) "Mount failed health-check: /mnt/used-3 (hung"
# It has the same server, so its superblock was probed too.
expect $((TIMEOUT + 4)) "Mount failed health-check: /mnt/used-4.2 (hung"
note "detected after $(seconds "$AFTER")"
expect_only_dead /mnt/used-3 /mnt/used-4.2
expect_witness_alive
mark
lab_repair
expect_recovered 120 /mnt/used-3 /mnt/used-4.2
{ jobs -p | xargs -r kill -9; } 2>/dev/null
stop_daemon

# Nobody waits.
nfs alone 4.2
umount /mnt/used-3 /mnt/used-4.2
daemon
break_drop
mark
sleep $((TIMEOUT + 5))
expect_no_line "Mount failed"
expect $((INTERVAL + TIMEOUT)) "Mount failed health-check: /mnt/alone (hung"
lab_repair
expect_recovered 120 /mnt/alone
stop_daemon
