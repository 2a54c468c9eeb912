# SMB, soft (the default) and hard: packets to the server are dropped.
# shellcheck source=tests/vm/guest/lib/smb.sh
. /guest/lib/smb.sh
smb_server
witness
smb soft soft
smb hard hard
daemon --socket /tmp/sock
break_smb
expect_dead /mnt/soft /mnt/hard
expect_witness_alive
# After three minutes the client returns errors instead of waiting; that is the same incident.
sleep 400
expect_only_dead /mnt/soft /mnt/hard
# The log shows the backslashes of its message escaped.
"/guest/bin/$SELF" diagnose /mnt/hard --socket /tmp/sock >/tmp/diagnosis
grep -q 'VFS: .*has not responded in 180 seconds' /tmp/diagnosis || fail "no kernel message: $(cat /tmp/diagnosis)"
for mount in soft hard; do
    expect_no_line "Mount recovered: /mnt/$mount"
    failures=$(lines | grep -c -F "Mount failed health-check: /mnt/$mount (")
    [ "$failures" = 1 ] || fail "/mnt/$mount was reported $failures times"
done
expect_no_stuck_process $((TIMEOUT + 1))
mark
lab_repair
expect_recovered 200 /mnt/soft /mnt/hard
stop_daemon
