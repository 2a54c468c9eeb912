# A server that answers after two seconds is slow, not dead.
modprobe sch_netem || skip "no netem"
witness
nfs slow-3 3
nfs slow-4.2 4.2
daemon
tc -n a qdisc add dev eth0 root netem delay 2000ms || fail "no netem"
for version in 3 4.2; do expect $((INTERVAL + TIMEOUT)) "Mount is slow: /mnt/slow-$version ("; done
note "told $(seconds $AFTER)"
sleep 120
accused_only
witness_lives
expect_metric 0 dead_mountpoints
mark
lab_heal
for version in 3 4.2; do expect $((INTERVAL + TIMEOUT)) "Mount recovered: /mnt/slow-$version ("; done
stop_daemon
