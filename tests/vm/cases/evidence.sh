# Evidence in the failure line: an unreachable server, a stopped server, and a blocked task. A kernel message about a
# server causes an immediate probe of its mounts.
nfs hard-3 3 hard
nfs hard-4.2 4.2 hard
daemon --socket /tmp/sock
break_drop
(cd /mnt/hard-3 && exec ls) &
inside=$!
expect_dead /mnt/hard-3 /mnt/hard-4.2
expect_evidence() { # PATH TEXT: the failure line contains the text
    lines | grep -F "Mount failed health-check: $1 (" | grep -q -F "$2" || fail "not in the failure line of $1: $2"
}
expect_evidence /mnt/hard-3 "NFS server 10.9.0.2:2049 did not accept a connection within "
expect_evidence /mnt/hard-4.2 "NFS server 10.9.0.2:2049 did not accept a connection within "
expect_evidence /mnt/hard-3 "1 task blocked: ls[$inside]"
expect_metric 2 dead_mountpoints # the snapshot is published after the log line
"/guest/bin/$SELF" diagnose /mnt/hard-4.2 --socket /tmp/sock >/tmp/diagnosis
[ $? = 1 ] || fail "diagnose does not report the mount as dead"
grep -q "umount -f -l /mnt/hard-4.2" /tmp/diagnosis || fail "no next steps"
grep -q "state D in rpc_wait_bit_killable" /tmp/diagnosis || fail "no state of the probe"
mark
lab_repair
expect_recovered 120 /mnt/hard-3 /mnt/hard-4.2
mark
break_stop
expect_dead /mnt/hard-3 /mnt/hard-4.2
expect_evidence /mnt/hard-4.2 "NFS server 10.9.0.2:2049 refuses connections"
mark
lab_repair
expect_recovered 120 /mnt/hard-3 /mnt/hard-4.2
stop_daemon

# The poll interval is long, so only the kernel message can cause the early probe.
nfs sign 4.2 hard,timeo=20,retrans=1
daemon --poll-interval 300 --signs-interval 0
break_drop
ls /mnt/sign/nothing >/dev/null 2>&1 &
expect 30 "Mount failed health-check: /mnt/sign ("
expect_evidence /mnt/sign "not responding"
lab_repair
expect 30 "Mount recovered: /mnt/sign ("
stop_daemon
