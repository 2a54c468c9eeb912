# The server comes back after five minutes: every mount recovers.
witness
for version in 3 4.0 4.2; do
    nfs "back-$version" $version
    nfs "soft-$version" $version soft,timeo=50,retrans=2
done
daemon
break_drop
all="/mnt/back-3 /mnt/back-4.0 /mnt/back-4.2 /mnt/soft-3 /mnt/soft-4.0 /mnt/soft-4.2"
# shellcheck disable=SC2086 # several
expect_dead $all
sleep 300
# shellcheck disable=SC2086 # several
expect_only_dead $all
expect_witness_alive
expect_no_line "Mount recovered"
mark
lab_repair
# shellcheck disable=SC2086 # several
expect_recovered 120 $all
stop_daemon
