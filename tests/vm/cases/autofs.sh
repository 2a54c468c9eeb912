# autofs with NFS: the monitor triggers no mount and does not prevent expiry.
export_dir a behind
printf '%s\n' '/mnt/auto /etc/auto.indirect --timeout=40' '/- /etc/auto.direct --timeout=40' >/etc/auto.master
echo 'behind -fstype=nfs4,vers=4.2,hard 10.9.0.2:/srv/a/behind' >/etc/auto.indirect
mkdir -p /mnt/direct
echo '/mnt/direct -fstype=nfs4,vers=4.2,hard 10.9.0.2:/srv/a/behind' >/etc/auto.direct
printf '%s\n' '[ autofs ]' 'master_map_name = /etc/auto.master' >/etc/autofs.conf
# In its own session, because calls from its process group do not trigger it.
setsid automount -f -d /etc/auto.master >/tmp/automount.log 2>&1 &
echo $! >>/tmp/apart
for _ in $(seq 100); do
    [ "$(grep -c ' - autofs ' /proc/self/mountinfo)" -lt 2 ] || break
    sleep 0.1
done
mounted() { grep -c -E ' /mnt/(auto/behind|direct) .* - nfs4 ' /proc/self/mountinfo; }
# autofs is excluded by default, but not here.
daemon --fs-types-exclude '^$'
sleep 60
[ "$(mounted)" = 0 ] || fail "a mount was triggered"
expect_only_dead
ls /mnt/auto/behind /mnt/direct >/dev/null || fail "automount does not mount: $(tail -n 3 /tmp/automount.log)"
[ "$(mounted)" = 2 ] || fail "not mounted"
for mount in /mnt/auto/behind /mnt/direct; do expect 60 "Mount appeared: $mount ("; done
mark
# The timeout is 40 s and is checked four times as often.
for mount in /mnt/auto/behind /mnt/direct; do expect 200 "Mount disappeared: $mount ("; done
note "expired after $(seconds "$AFTER")"
stop_daemon
