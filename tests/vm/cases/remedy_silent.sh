# The server is silent: a remedy waits, also if the rule consents but nothing could be mounted again. With both consents,
# an empty, read-only directory takes the place of the mount. NFS 3 and 4.2, hard and soft; other mounts of the server stay.
# shellcheck source=tests/vm/guest/lib/remedy.sh
. /guest/lib/remedy.sh
: >/etc/fstab
witness
nfs stays 4.2
for version in 3 4.2; do
    for kind in hard soft; do
        nfs "$kind-$version" $version $kind
        in_fstab "/mnt/$kind-$version"
    done
done
settle
break_drop
for mount in hard-3 soft-3 hard-4.2 soft-4.2; do
    path=/mnt/$mount
    refused_without_ids $path --allow silent_server,not_mounted_again && continue
    before $path
    remedy 2 $path --act
    planned '"situation":"server_silent"' '"refused":true' '"guard":"server_silent","steps":null' 'waiting loses nothing'
    nothing_done
    remedy 2 $path --act --allow silent_server
    planned '"guard":"cannot_mount_again","steps":["unmount","force","detach"]' 'its server does not answer'
    nothing_done
    writer $path
    remedy 1 $path --act --allow silent_server,not_mounted_again
    steps placeholder move_beneath unmount detach
    planned '"refused":false' '"event":"not_mounted_again"' '"flags":"MOVE_MOUNT_BENEATH","error":null'
    placeholder $path
    nothing_written_underneath $path
done
