# 300 mounts of one server, each a file system of its own: they cost one timeout, not 300.
export_dir a many
mounts=300
witness
for number in $(seq $mounts); do
    mkdir -p /mnt/many/$number
    # Without the helper, whose start takes longer than the mount.
    busybox mount -i -t nfs4 -o nosharecache,vers=4.2,proto=tcp,addr=10.9.0.2,clientaddr=10.9.0.1 \
        10.9.0.2:/srv/a/many /mnt/many/$number || fail "cannot mount $number"
done
daemon
break_drop
expect $((INTERVAL + TIMEOUT)) "Checked $(($(metric total_mountpoints) + 0)) mounts; $mounts are dead"
note "told $(seconds $AFTER)"
told=$(lines | grep -c -F "Mount failed health-check: /mnt/many/")
[ "$told" = $mounts ] || fail "$told are told"
expect_metric $mounts dead_mountpoints
witness_lives
none_stuck
[ "$(processes)" -le 3 ] || fail "$(processes) processes"
mark
lab_heal
for _ in $(seq 1200); do
    [ "$(lines | grep -c -F "Mount recovered: /mnt/many/")" -lt $mounts ] || break
    sleep 0.1
done
[ "$(lines | grep -c -F "Mount recovered: /mnt/many/")" = $mounts ] || fail "not all recovered"
note "recovered $(seconds $(($(now) - START)))"
stop_daemon
