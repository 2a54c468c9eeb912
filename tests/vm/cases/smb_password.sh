# SMB: the password is changed on the server, which starts again: nobody is let in any more, until the old one is back.
. /guest/lib/smb.sh
smb_server
witness
smb locked soft
daemon
smb_restart second
expect_dead /mnt/locked
witness_lives
sleep 300
accused_only /mnt/locked
never "Mount recovered: /mnt/locked"
# The client's attempts cannot be killed while they last, but each of them ends, and is not told again and again.
[ "$(processes)" -le 4 ] || fail "$(processes) processes"
said=$(lines | grep -c "] Prober ")
[ "$said" -le 4 ] || fail "$said lines about probers"
mark
smb_restart first
expect_recovered 60 /mnt/locked
stop_daemon
