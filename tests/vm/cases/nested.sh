# A tmpfs inside a dead NFS mount cannot be reached either: one alarm, for the outer one.
witness
nfs outer 4.2
mkdir -p /mnt/outer/inner
mount -t tmpfs tmpfs /mnt/outer/inner
mkdir -p /mnt/outer/inner/deep
mount -t tmpfs tmpfs /mnt/outer/inner/deep
daemon
break_drop
expect_dead /mnt/outer
# By then the path to the inner ones hangs as well.
sleep 120
accused_only /mnt/outer
expect_metric 3 dead_mountpoints
never "Mount still failing: /mnt/outer/inner"
witness_lives
mark
lab_heal
expect_recovered 120 /mnt/outer
sleep 15
expect_metric 0 dead_mountpoints
accused_only
stop_daemon
