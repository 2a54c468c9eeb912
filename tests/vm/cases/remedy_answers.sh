# The server answers, and the mount hangs: mountd is stopped, which decides about each client. The new mount fails at its
# private place, so the dead one stays; it works again when mountd goes on. Then the same without a way to mount it again:
# with consent, the NFS client of this mount is shut down, and a task that is stuck in it ends. Another mount of the server
# forbids that where it would be shut down too (before 6.15), and works afterwards where it would not.
# shellcheck source=tests/vm/guest/lib/remedy.sh
. /guest/lib/remedy.sh
: >/etc/fstab
nfs hangs 4.2
nfs other 4.2
in_fstab /mnt/hangs
settle
# shellcheck disable=SC2016 # for the inner shell
mountd() { at a sh -c 'kill -'"$1"' $(pidof rpc.mountd)'; }
mountd STOP
at a exportfs -f
if ! refused_without_ids /mnt/hangs; then
    before /mnt/hangs
    remedy 1 /mnt/hangs --act
    planned '"situation":"server_answers"' '"event":"failed"'
    steps mount_privately move_beneath unmount detach verify
    not_planned '"MNT_DETACH"' '"UMOUNT_NOFOLLOW"' '"MOVE_MOUNT_BENEATH"'
    [ "$(mounted /mnt/hangs)" = "$WAS" ] || fail "it was replaced by nothing"
    nothing_else_changed
fi
: >/etc/fstab
if ! refused_without_ids /mnt/hangs --allow not_mounted_again; then
    case $(uname -r) in
    6.*)
        remedy 1 /mnt/hangs --steps detach,shutdown --allow not_mounted_again
        planned '"guard":"shutdown_is_shared","steps":["shutdown"]' 'also /mnt/other'
        steps placeholder move_beneath detach
        # Which also waits for mountd.
        mountd CONT
        umount -i /mnt/other || fail "/mnt/other is in use"
        mountd STOP
        at a exportfs -f
        breaks='here this one alone: requests fail with EIO'
        ;;
    *) breaks='for all who use this file system: waiting requests' ;;
    esac
    # A task that cannot be ended otherwise.
    : >/tmp/stuck
    sh -c 'stat /mnt/hangs/nothing; echo $? >>/tmp/stuck' 2>/dev/null &
    sleep 1
    [ ! -s /tmp/stuck ] || fail "the task is not stuck"
    before /mnt/hangs
    remedy 1 /mnt/hangs --act --steps detach,shutdown --allow not_mounted_again
    steps placeholder move_beneath detach shutdown
    planned '/shutdown","flags":"1","error":null' '"event":"not_mounted_again"' "$breaks"
    placeholder /mnt/hangs
    sleep 1
    [ -s /tmp/stuck ] || fail "the task is still stuck"
    mountd CONT
    case $(uname -r) in 6.*) ;; *) { echo x >/mnt/other/file && cat /srv/a/other/file; } || fail "/mnt/other was shut down" ;; esac
fi
mountd CONT
