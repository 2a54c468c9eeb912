# A stale export is replaced as soon as the server has it again, and its neighbour stays as it is. NFS 3 and 4.2.
# shellcheck source=tests/vm/guest/lib/remedy.sh
. /guest/lib/remedy.sh
: >/etc/fstab
for version in 3 4.2; do
    nfs "gone-$version" $version
    nfs "stays-$version" $version
    in_fstab "/mnt/gone-$version"
done
settle
for version in 3 4.2; do
    at a exportfs -u "*:/srv/a/gone-$version"
    rm -rf "/srv/a/gone-$version"
done
at a exportfs -f
# The attributes are cached.
sleep 70
for version in 3 4.2; do
    gone=/mnt/gone-$version
    refused_without_ids $gone && continue
    before $gone
    remedy 1 $gone
    planned '"situation":"stale"' '"refused":false' 'with nosharecache' '"verification":"the mount has the same source'
    steps mount_privately move_beneath detach verify
    nothing_done
    # The server does not have it: the new mount fails at its private place.
    remedy 1 $gone --act
    planned 'mount.nfs' '"event":"failed"'
    not_planned '"call":"umount2"' '"call":"move_mount"'
    [ "$(mounted $gone)" = "$WAS" ] || fail "a stale mount was replaced by nothing"
    nothing_else_changed
    export_dir a gone-$version
    writer $gone
    remedy 0 $gone --act
    planned '"flags":"MOVE_MOUNT_BENEATH","error":null' '"flags":"MNT_DETACH","error":null' '"event":"remedied"'
    replaced $gone /srv/a/gone-$version
    nothing_written_underneath $gone
done

# On an initramfs, kernels before 7.x move nothing beneath: the new mount moves in right after the detach.
nfs direct 4.2
mkdir -p /direct
mount --move /mnt/direct /direct
trap 'umount -i -l /direct' EXIT
in_fstab /direct
at a exportfs -u '*:/srv/a/direct'
rm -rf /srv/a/direct
export_dir a direct
sleep 70
refused_without_ids /direct && exit
before /direct
remedy 0 /direct --act
case $(uname -r) in 6.*) beneath='"EINVAL"' ;; *) beneath=null ;; esac
planned "\"flags\":\"MOVE_MOUNT_BENEATH\",\"error\":$beneath" '"flags":"MNT_DETACH","error":null' '"event":"remedied"'
replaced /direct /srv/a/direct
