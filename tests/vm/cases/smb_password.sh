# SMB: the server restarts with another password and rejects sessions, until it restarts with the old one.
# shellcheck source=tests/vm/guest/lib/smb.sh
. /guest/lib/smb.sh
smb_server
witness
smb locked soft
daemon
smb_restart second
expect_dead /mnt/locked
expect_witness_alive
sleep 300
expect_only_dead /mnt/locked
expect_no_line "Mount recovered: /mnt/locked"
# Session attempts of the client cannot be killed, but each of them ends, and not each of them is logged.
[ "$(processes)" -le 4 ] || fail "$(processes) processes"
count=$(lines | grep -c "] Prober ")
[ "$count" -le 4 ] || fail "$count lines about probers"
mark
smb_restart first
expect_recovered 60 /mnt/locked
stop_daemon
