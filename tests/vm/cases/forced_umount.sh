# `umount -f` during a probe while a file is open: the mount stays, and the probe fails with the kernel's internal errno
# 512, which says nothing about the storage.
witness
for version in 3 4.2; do
    nfs "forced-$version" $version
    echo x >"/mnt/forced-$version/file"
    # shellcheck disable=SC2217 # keeps the file open
    sleep 100000 <"/mnt/forced-$version/file" &
done
daemon
break_drop
left=$((INTERVAL * 20))
until [ "$(stuck_threads | wc -l)" -ge 2 ] || [ $left = 0 ]; do
    sleep 0.05
    left=$((left - 1))
done
[ $left -gt 0 ] || fail "no probe is in progress"
for version in 3 4.2; do umount -i -f "/mnt/forced-$version" 2>/dev/null; done
for version in 3 4.2; do grep -q " /mnt/forced-$version " /proc/self/mountinfo || fail "the mount is gone"; done
sleep 1
expect_no_line "Mount failed health-check"
# The result is inconclusive, so the mounts are probed again soon, and then reported.
for version in 3 4.2; do expect $((2 * INTERVAL + TIMEOUT)) "Mount failed health-check: /mnt/forced-$version (hung"; done
expect_no_line "Mount failed health-check: /mnt/forced-3 (error"
expect_witness_alive
mark
lab_repair
expect_recovered 120 /mnt/forced-3 /mnt/forced-4.2
stop_daemon
