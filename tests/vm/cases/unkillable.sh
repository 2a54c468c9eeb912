# A prober that cannot be killed: a FUSE server that has read the request and never answers. It is left behind, and
# the daemon goes on and ends as if it was not there.
[ -x /guest/bin/faultfs ] || skip "faultfs was not built"
witness
mkdir -p /mnt/fuse
mkfifo /tmp/orders.$$
: >/tmp/answers.$$
/guest/bin/faultfs </tmp/orders.$$ >>/tmp/answers.$$ &
exec 9>/tmp/orders.$$
order() { # COMMAND: and waits until it is obeyed
    before=$(wc -l </tmp/answers.$$)
    echo "$*" >&9
    until [ "$(wc -l </tmp/answers.$$)" -gt "$before" ]; do sleep 0.05; done
    tail -n1 /tmp/answers.$$ | grep -q '^ok' || fail "$(tail -n1 /tmp/answers.$$)"
}
order mount /mnt/fuse allow_other
daemon
order mute /mnt/fuse
expect $((INTERVAL + TIMEOUT)) "Mount failed health-check: /mnt/fuse (hung"
accused_only /mnt/fuse
wait_for 2 "Prober " || fail "the prober could be killed"
expect_metric 1 mountstatus_probers_lost
[ -n "$(stuck)" ] || fail "no prober is stuck"
witness_lives
sleep 300
expect_metric 1 mountstatus_probers_lost
# The daemon, the prober in use, and the one that was left behind.
[ "$(processes)" -le 3 ] || fail "$(processes) processes"
mark
order ok /mnt/fuse
order release /mnt/fuse
expect_recovered 20 /mnt/fuse
expect_metric 0 mountstatus_probers_lost
order mute /mnt/fuse
sleep 20
[ -n "$(stuck)" ] || fail "the prober could be killed"
stop_daemon
order release /mnt/fuse
