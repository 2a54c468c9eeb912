# The operator forces an unmount while a probe is under way and somebody still has a file open: the mount stays, and
# the probe comes back with the kernel's own errno 512, which says nothing of the storage.
witness
for version in 3 4.2; do
    nfs "forced-$version" $version
    echo x >"/mnt/forced-$version/file"
    sleep 100000 <"/mnt/forced-$version/file" &
done
daemon
break_drop
left=$((INTERVAL * 20))
until [ "$(stuck | wc -l)" -ge 2 ] || [ $left = 0 ]; do
    sleep 0.05
    left=$((left - 1))
done
[ $left -gt 0 ] || fail "no probe is under way"
for version in 3 4.2; do umount -i -f "/mnt/forced-$version" 2>/dev/null; done
for version in 3 4.2; do grep -q " /mnt/forced-$version " /proc/self/mountinfo || fail "the mount is gone"; done
sleep 1
never "Mount failed health-check"
# Nothing was learned, so they are asked again soon, and then told.
for version in 3 4.2; do expect $((2 * INTERVAL + TIMEOUT)) "Mount failed health-check: /mnt/forced-$version (hung"; done
never "Mount failed health-check: /mnt/forced-3 (error"
witness_lives
mark
lab_heal
expect_recovered 120 /mnt/forced-3 /mnt/forced-4.2
stop_daemon
