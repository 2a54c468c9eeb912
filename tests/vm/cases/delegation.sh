# Since 7.x the client gets a delegation for a directory that is listed. Then `stat`, a forced `statx` and a listing
# succeed although the server is dead.
[ -e /sys/module/nfsv4/parameters/directory_delegations ] || not_applicable "this kernel has no directory delegations"
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
# Longer than the attribute cache (a minute), so that only the delegation can be the reason.
sleep 90
timeout 2 ls -l /mnt/listed >/dev/null || note "ls hangs too, with $delegations delegations"
timeout 2 stat -c %n /mnt/listed >/dev/null || fail "stat fails, too, with $delegations delegations"
expect_witness_alive
mark
lab_repair
expect_recovered 120 /mnt/listed
stop_daemon
