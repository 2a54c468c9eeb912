# Why NFS mounts are dead, and who waits for them, ends the line of the verdict: a server that is out of reach, one that
# is stopped, one that lives and knows the export no more. A word of the kernel about a server has its mounts asked at
# once.
nfs hard-3 3 hard
nfs hard-4.2 4.2 hard
daemon --socket /tmp/sock
break_drop
(cd /mnt/hard-3 && exec ls) &
inside=$!
expect_dead /mnt/hard-3 /mnt/hard-4.2
known() { # PATH TEXT: in its line
    lines | grep -F "Mount failed health-check: $1 (" | grep -q -F "$2" || fail "not known of $1: $2"
}
known /mnt/hard-3 "NFS server 10.9.0.2:2049 did not accept a connection within "
known /mnt/hard-4.2 "NFS server 10.9.0.2:2049 did not accept a connection within "
known /mnt/hard-3 "1 task blocked: ls[$inside]"
expect_metric 2 dead_mountpoints # what is shown follows what is told
/guest/bin/$SELF diagnose /mnt/hard-4.2 --socket /tmp/sock >/tmp/diagnosis
[ $? = 1 ] || fail "diagnose does not say that it is dead"
grep -q "umount -f -l /mnt/hard-4.2" /tmp/diagnosis || fail "no advice"
grep -q "state D in rpc_wait_bit_killable" /tmp/diagnosis || fail "the probe was not seen"
mark
lab_heal
expect_recovered 120 /mnt/hard-3 /mnt/hard-4.2
mark
break_stop
expect_dead /mnt/hard-3 /mnt/hard-4.2
known /mnt/hard-4.2 "NFS server 10.9.0.2:2049 refuses connections"
mark
lab_heal
expect_recovered 120 /mnt/hard-3 /mnt/hard-4.2
stop_daemon

# Long before the next run.
nfs sign 4.2 hard,timeo=20,retrans=1
daemon --poll-interval 300
break_drop
ls /mnt/sign/nothing >/dev/null 2>&1 &
expect 30 "Mount failed health-check: /mnt/sign ("
known /mnt/sign "not responding"
lab_heal
expect 30 "Mount recovered: /mnt/sign ("
stop_daemon
