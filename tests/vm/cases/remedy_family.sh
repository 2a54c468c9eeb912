# Mounts of one file system: a sibling that responds forbids everything; a bind mount stays dead and is listed; children
# that the kernel has made go with their parent; a tmpfs below forbids everything.
# shellcheck source=tests/vm/guest/lib/remedy.sh
. /guest/lib/remedy.sh
: >/etc/fstab
# One superblock, of which a directory is removed.
nfs whole 4.2
mkdir -p /srv/a/whole/part
nfs_path part whole/part 4.2 hard a
in_fstab /mnt/part
# With a child of the same server.
nfs parent 4.2
mkdir -p /srv/a/parent/child
at a mount -t tmpfs tmpfs /srv/a/parent/child
at a exportfs -o "rw,no_root_squash,no_subtree_check,insecure,sync,fsid=777" "*:/srv/a/parent/child"
ls /mnt/parent/child >/dev/null
mkdir -p /mnt/bound
mount --bind /mnt/parent /mnt/bound
in_fstab /mnt/parent
# With another mount below.
nfs outer 3
mkdir -p /mnt/outer/inner
mount -t tmpfs tmpfs /mnt/outer/inner
in_fstab /mnt/outer
settle
[ "$(mounted /mnt/whole | cut -d' ' -f2)" = "$(mounted /mnt/part | cut -d' ' -f2)" ] || fail "not one superblock"
grep -q ' /mnt/parent/child .* - nfs4 ' /proc/self/mountinfo || fail "the child is not mounted"
rm -rf /srv/a/whole/part
mkdir -p /srv/a/whole/part
for name in parent outer; do
    at a exportfs -u "*:/srv/a/$name"
    at a umount /srv/a/$name/child 2>/dev/null
    rm -rf "/srv/a/$name"
    export_dir a $name
done
at a exportfs -u '*:/srv/a/parent/child' 2>/dev/null
at a exportfs -f

if ! refused_without_ids /mnt/part; then
    before /mnt/part
    remedy 2 /mnt/part --act
    planned '"situation":"stale"' '"guard":"healthy_sibling","steps":null' 'responds at /mnt/whole'
    nothing_done
fi
if ! refused_without_ids /mnt/outer; then
    before /mnt/outer
    remedy 2 /mnt/outer --act --allow copies,not_mounted_again
    planned '"situation":"stale"' '"guard":"mounts_below","steps":null' '/mnt/outer/inner'
    nothing_done
fi
refused_without_ids /mnt/parent && exit
before /mnt/parent
others /mnt/parent | grep -v ' /mnt/parent/child ' >/tmp/others
writer /mnt/parent
remedy 0 /mnt/parent --act
planned 'the same file system stays dead at /mnt/bound' 'the mounts of the same server below it go with it: /mnt/parent/child' \
    '"event":"remedied"'
replaced /mnt/parent /srv/a/parent
grep -q ' /mnt/bound ' /proc/self/mountinfo || fail "/mnt/bound was unmounted"
nothing_written_underneath /mnt/parent
