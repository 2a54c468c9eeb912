# SMB, soft (the usual way) and hard: packets to the server are dropped.
. /guest/lib/smb.sh
smb_server
witness
smb soft soft
smb hard hard
daemon
break_smb
expect_dead /mnt/soft /mnt/hard
witness_lives
# After three minutes the client itself gives up with errors of its own; it is the same incident.
sleep 400
accused_only /mnt/soft /mnt/hard
for mount in soft hard; do
    never "Mount recovered: /mnt/$mount"
    told=$(lines | grep -c -F "Mount failed health-check: /mnt/$mount (")
    [ "$told" = 1 ] || fail "/mnt/$mount was told $told times"
done
none_stuck $((TIMEOUT + 1))
mark
lab_heal
expect_recovered 200 /mnt/soft /mnt/hard
stop_daemon
