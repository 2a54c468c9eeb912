# A server that responds after two seconds is slow, not dead.
modprobe sch_netem || skip "no netem"
witness
nfs slow-3 3
nfs slow-4.2 4.2
daemon
tc -n a qdisc add dev eth0 root netem delay 2000ms || fail "no netem"
for version in 3 4.2; do expect $((INTERVAL + TIMEOUT)) "Mount is slow: /mnt/slow-$version ("; done
note "detected after $(seconds "$AFTER")"
sleep 120
expect_only_dead
expect_witness_alive
expect_metric 0 dead_mountpoints
mark
lab_repair
for version in 3 4.2; do expect $((INTERVAL + TIMEOUT)) "Mount recovered: /mnt/slow-$version ("; done
stop_daemon
