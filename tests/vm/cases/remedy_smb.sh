# SMB: while the server is gone, a remedy waits, and a mount that has reconnected needs none. When the server rejects the
# session, because the password has changed, the mount is replaced by one with a connection of its own and the new password.
# shellcheck source=tests/vm/guest/lib/smb.sh
. /guest/lib/smb.sh
# shellcheck source=tests/vm/guest/lib/remedy.sh
. /guest/lib/remedy.sh
smb_server
INSIDE="nsenter -t $(cat /tmp/server.a) -n"
smb gone hard
smb stays hard
echo '//10.9.0.1/share /mnt/gone cifs username=root,password=second,vers=3.1.1,hard 0 0' >/etc/fstab
settle
break_smb
before /mnt/gone
remedy 2 /mnt/gone --act
planned '"situation":"server_silent"' '"guard":"server_silent","steps":null'
nothing_done
lab_repair
for _ in $(seq 60); do
    ! timeout -s KILL 5 stat -f /mnt/gone >/dev/null 2>&1 || break
    sleep 5
done
remedy 0 /mnt/gone --act
planned '"situation":"not_dead"'
nothing_done
smb_restart second
sleep 30
before /mnt/gone
writer /mnt/gone
try_remedy /mnt/gone --act
if [ $status = 2 ]; then
    # From 7.x on the client says EACCES instead of waiting, so that the mount counts as denied and not as dead.
    case $(uname -r) in 6.*) fail "refused" ;; esac
    planned 'it is denied'
    nothing_done
    note "denied"
    exit
fi
[ $status = 0 ] || fail "status $status"
planned '"situation":"server_answers"' 'with nosharesock' '"event":"remedied"'
replaced /mnt/gone /srv/smb
nothing_written_underneath /mnt/gone
