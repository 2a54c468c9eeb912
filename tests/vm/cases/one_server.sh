# Several mounts of one server: of two exports, twice of the same one, and a bind mount of a subdirectory. All of them
# die with it; what shares a file system costs one stuck probe.
witness
nfs first 4.2
nfs second 4.2
mkdir -p /srv/a/first/below
nfs_path again first 4.2 hard a
mkdir -p /mnt/bound
mount --bind /mnt/first/below /mnt/bound
daemon
before=$(metric mountstatus_probes_in_flight)
break_drop
expect_dead /mnt/first /mnt/second /mnt/again /mnt/bound
expect_metric 4 dead_mountpoints
witness_lives
mark
lab_heal
expect_recovered 120 /mnt/first /mnt/second /mnt/again /mnt/bound
stop_daemon
