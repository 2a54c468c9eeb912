# SMB: the password is changed on the server, and the session ends.
. /guest/lib/smb.sh
smb_server
witness
smb locked soft
daemon
smb_password second
ksmbd.control --reload >/dev/null 2>&1
ss_kill() { ip -n a link set eth0 down; sleep 1; ip -n a link set eth0 up; }
ss_kill
sleep 200
lines
wait_for 1 "Mount failed health-check: /mnt/locked (" || wait_for 1 "Mount cannot be checked: /mnt/locked (" || fail "nothing is said"
stop_daemon
