# One export and its directory are removed while the server works: ESTALE for mounts of this export only.
for version in 3 4.2; do
    nfs "gone-$version" $version
    nfs "stays-$version" $version
done
daemon
for version in 3 4.2; do
    rm -rf "/srv/a/gone-$version"
    at a exportfs -u "*:/srv/a/gone-$version"
done
at a exportfs -f
expect_dead /mnt/gone-3 /mnt/gone-4.2
for version in 3 4.2; do
    [ "$(reason /mnt/gone-$version)" = stale ] || fail "version $version: the reason is $(reason /mnt/gone-$version)"
    [ "$(up /mnt/stays-$version)" = 1 ] || fail "/mnt/stays-$version is not up"
done
sleep 60
expect_only_dead /mnt/gone-3 /mnt/gone-4.2
for version in 3 4.2; do
    umount "/mnt/gone-$version" || fail "umount of a stale mount"
    expect 120 "Mount disappeared: /mnt/gone-$version ("
done
stop_daemon
