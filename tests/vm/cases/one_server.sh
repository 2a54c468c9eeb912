# Several mounts of one server: two exports, one of them mounted twice, and a bind mount of a subdirectory. All of them
# fail together.
witness
nfs first 4.2
nfs second 4.2
mkdir -p /srv/a/first/below
nfs_path again first 4.2 hard a
mkdir -p /mnt/bound
mount --bind /mnt/first/below /mnt/bound
daemon
break_drop
expect_dead /mnt/first /mnt/second /mnt/again /mnt/bound
expect_metric 4 dead_mountpoints
expect_witness_alive
mark
lab_repair
expect_recovered 120 /mnt/first /mnt/second /mnt/again /mnt/bound
stop_daemon
