# A stranded prober: a FUSE server has read the request and never replies. The daemon keeps working and stops without
# delay.
# shellcheck source=tests/vm/guest/lib/fuse.sh
. /guest/lib/fuse.sh
witness
daemon
set_fault mute /mnt/fuse
expect $((INTERVAL + TIMEOUT)) "Mount failed health-check: /mnt/fuse (hung"
expect_only_dead /mnt/fuse
wait_for 2 "Prober " || fail "the prober could be killed"
expect_metric 1 mountstatus_probers_stranded
[ -n "$(stuck_threads)" ] || fail "no prober is stuck"
expect_witness_alive
sleep 300
expect_metric 1 mountstatus_probers_stranded
# The daemon, the prober in use, and the stranded one.
[ "$(processes)" -le 3 ] || fail "$(processes) processes"
mark
set_fault ok /mnt/fuse
set_fault release /mnt/fuse
expect_recovered 20 /mnt/fuse
expect_metric 0 mountstatus_probers_stranded
set_fault mute /mnt/fuse
sleep 20
[ -n "$(stuck_threads)" ] || fail "the prober could be killed"
stop_daemon
set_fault release /mnt/fuse
