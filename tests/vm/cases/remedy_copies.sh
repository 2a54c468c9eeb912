# Other mount namespaces: copies that the mount propagates to go with it and get the new one; private copies stay dead, and
# the plan lists them; a copy in a container needs consent.
# shellcheck source=tests/vm/guest/lib/remedy.sh
. /guest/lib/remedy.sh
: >/etc/fstab
mkdir -p /mnt/shared
mount -t tmpfs tmpfs /mnt/shared
mount --make-shared /mnt/shared
nfs shared/gone 4.2
in_fstab /mnt/shared/gone
gone=/mnt/shared/gone
unshare -m --propagation slave sleep 100000 &
slave=$!
unshare -m --propagation private sleep 100000 &
private=$!
unshare -m -p -f --propagation slave sleep 100000 &
settle
at_mounts() { awk -v path="$gone" '$5 == path { print $3 }' "/proc/$1/mountinfo"; }
at a exportfs -u '*:/srv/a/shared/gone'
rm -rf /srv/a/shared/gone
at a exportfs -f
export_dir a shared/gone
refused_without_ids $gone && exit
was=$(at_mounts $private)
if [ -z "$was" ] || [ "$(at_mounts $slave)" != "$was" ]; then fail "the namespaces have no copies"; fi
before $gone
remedy 2 $gone --act
planned '"guard":"copy_in_use","steps":["unmount","detach"]' 'a container' 'allow copies'
nothing_done
remedy 0 $gone --act --allow copies
planned 'it also disappears in other mount namespaces' "sleep[$slave]" \
    'it stays dead in 1 other mount namespaces' "of sleep[$private]" '"event":"remedied"'
replaced $gone /srv/a/shared/gone
[ "$(at_mounts $private)" = "$was" ] || fail "the private copy has changed"
now=$(at_mounts $slave)
if [ -z "$now" ] || [ "$now" = "$was" ]; then fail "the slave has $now"; fi
