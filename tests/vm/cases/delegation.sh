# From 7.x on the client holds a delegation of a directory that somebody lists: then `stat`, a forced `statx` and a
# listing succeed on a dead server.
[ -e /sys/module/nfsv4/parameters/directory_delegations ] || not_here "this kernel has no directory delegations"
witness
nfs listed 4.2 hard
echo x >/mnt/listed/file
while sleep 1; do ls -l /mnt/listed >/dev/null; done &
daemon
sleep 30
delegations=$(at a sh -c 'cat /proc/fs/nfsd/clients/*/states' | grep -c 'type: deleg')
mark
break_drop
expect_dead /mnt/listed
# It takes more than the caches' minute to show that it is the delegation.
sleep 90
timeout 2 ls -l /mnt/listed >/dev/null || note "ls hangs too, with $delegations delegations"
timeout 2 stat -c %n /mnt/listed >/dev/null || fail "stat has noticed it too, with $delegations delegations"
witness_lives
mark
lab_heal
expect_recovered 120 /mnt/listed
stop_daemon
