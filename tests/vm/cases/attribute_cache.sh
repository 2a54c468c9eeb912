# Cached attributes: `stat` of a dead mount succeeds, but the monitor detects the failure.
witness
for version in 3 4.2; do
    nfs "cached-$version" $version hard,acdirmin=600,acdirmax=600
    stat -c %n "/mnt/cached-$version" >/dev/null
done
daemon
break_drop
expect_dead /mnt/cached-3 /mnt/cached-4.2
for version in 3 4.2; do
    timeout 2 stat -c %n "/mnt/cached-$version" >/dev/null || fail "stat of version $version fails, too"
done
expect_witness_alive
mark
lab_repair
expect_recovered 120 /mnt/cached-3 /mnt/cached-4.2
stop_daemon
