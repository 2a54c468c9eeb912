# `softreval` uses cached attributes of any age while the server is silent; `softerr` fails instead of waiting.
witness
nfs reval 4.2 softreval,timeo=10,retrans=2
nfs reval-3 3 softreval,timeo=10,retrans=2
nfs err 4.2 softerr,timeo=10,retrans=2
nfs brief 4.2 soft,timeo=5,retrans=1
nfs brief-3 3 soft,timeo=5,retrans=1
daemon
break_drop
expect_dead /mnt/reval /mnt/reval-3 /mnt/err /mnt/brief /mnt/brief-3
reasons=
for mount in reval reval-3 err brief brief-3; do reasons="$reasons $mount:$(reason /mnt/$mount)"; done
note "$reasons"
timeout 40 stat -c %n /mnt/reval >/dev/null || fail "stat of the softreval mount fails, too"
expect_witness_alive
# One incident for each, whatever the later probes return.
sleep 300
for mount in reval reval-3 err brief brief-3; do
    failures=$(lines | grep -c -F "Mount failed health-check: /mnt/$mount (")
    [ "$failures" = 1 ] || fail "/mnt/$mount was reported $failures times"
    expect_no_line "Mount recovered: /mnt/$mount"
done
mark
lab_repair
expect_recovered 180 /mnt/reval /mnt/reval-3 /mnt/err /mnt/brief /mnt/brief-3
stop_daemon
