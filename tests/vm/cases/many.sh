# 300 mounts of one server, each with its own superblock, take one timeout and not 300.
export_dir a many
mounts=300
witness
for number in $(seq $mounts); do
    mkdir -p "/mnt/many/$number"
    # Without mount.nfs, whose start takes longer than the mount.
    busybox mount -i -t nfs4 -o nosharecache,vers=4.2,proto=tcp,addr=10.9.0.2,clientaddr=10.9.0.1 \
        10.9.0.2:/srv/a/many "/mnt/many/$number" || fail "cannot mount $number"
done
daemon
break_drop
expect $((INTERVAL + TIMEOUT)) "Checked $(($(metric total_mountpoints) + 0)) mounts; $mounts are dead"
note "detected after $(seconds "$AFTER")"
failures=$(lines | grep -c -F "Mount failed health-check: /mnt/many/")
[ "$failures" = $mounts ] || fail "$failures failures are reported"
expect_metric $mounts dead_mountpoints
expect_witness_alive
expect_no_stuck_process
[ "$(processes)" -le 3 ] || fail "$(processes) processes"
mark
lab_repair
for _ in $(seq 1200); do
    [ "$(lines | grep -c -F "Mount recovered: /mnt/many/")" -lt $mounts ] || break
    sleep 0.1
done
[ "$(lines | grep -c -F "Mount recovered: /mnt/many/")" = $mounts ] || fail "not all recovered"
note "recovered after $(seconds $(($(now) - START)))"
stop_daemon
