# A tmpfs below a dead NFS mount cannot be reached: one failure line, for the NFS mount.
witness
nfs outer 4.2
mkdir -p /mnt/outer/inner
mount -t tmpfs tmpfs /mnt/outer/inner
mkdir -p /mnt/outer/inner/deep
mount -t tmpfs tmpfs /mnt/outer/inner/deep
daemon
break_drop
expect_dead /mnt/outer
# After this time, path lookups of the inner mounts hang, too.
sleep 120
expect_only_dead /mnt/outer
expect_metric 3 dead_mountpoints
expect_no_line "Mount still failing: /mnt/outer/inner"
expect_witness_alive
mark
lab_repair
expect_recovered 120 /mnt/outer
sleep 15
expect_metric 0 dead_mountpoints
expect_only_dead
stop_daemon
