# The attributes of a dead mount still come from the cache: `stat` sees nothing wrong, the monitor does.
witness
for version in 3 4.2; do
    nfs "cached-$version" $version hard,acdirmin=600,acdirmax=600
    stat -c %n "/mnt/cached-$version" >/dev/null
done
daemon
break_drop
expect_dead /mnt/cached-3 /mnt/cached-4.2
for version in 3 4.2; do
    timeout 2 stat -c %n "/mnt/cached-$version" >/dev/null || fail "stat of version $version has noticed it too"
done
witness_lives
mark
lab_heal
expect_recovered 120 /mnt/cached-3 /mnt/cached-4.2
stop_daemon
