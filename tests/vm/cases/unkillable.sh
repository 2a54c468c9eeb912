# A stranded prober: a FUSE server has read the request and never replies. The daemon keeps working and stops without
# delay.
[ -x /guest/bin/faultfs ] || skip "faultfs was not built"
witness
mkdir -p /mnt/fuse
mkfifo /tmp/orders.$$
: >/tmp/answers.$$
/guest/bin/faultfs </tmp/orders.$$ >>/tmp/answers.$$ &
exec 9>/tmp/orders.$$
set_fault() { # COMMAND: waits until it is executed
    before=$(wc -l </tmp/answers.$$)
    echo "$*" >&9
    until [ "$(wc -l </tmp/answers.$$)" -gt "$before" ]; do sleep 0.05; done
    tail -n1 /tmp/answers.$$ | grep -q '^ok' || fail "$(tail -n1 /tmp/answers.$$)"
}
set_fault mount /mnt/fuse allow_other
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
