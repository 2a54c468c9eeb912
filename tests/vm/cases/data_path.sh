# Data-path probes on NFS and SMB: healthy ones bypass the page cache and leave nothing, a dead server is reported, and a
# full disk and a used quota are warnings. A frozen disk behind a server that lives is found by `write` only.
# shellcheck source=tests/vm/guest/lib/smb.sh
. /guest/lib/smb.sh
modprobe -a loop quota_v2 2>/dev/null

rule() { # NAME KIND PATH [LINE...]
    printf '[[rule]]\nmountpoint = "/mnt/%s"\nprobe = "%s"\nprobe_path = "%s"\nprobe_interval = "%ss"\n' \
        "$1" "$2" "$3" "$INTERVAL"
    shift 3
    for line; do echo "$line"; done
}

content() { # DIRECTORY: what the probes of a mount need in it
    mkdir "$1/health"
    dd if=/dev/zero of="$1/file" bs=4096 count=4 2>/dev/null
}

# A disk of a server. ext4 has quotas and can be frozen; its limit is for user 1000.
disk() { # NAME
    truncate -s 8M "/srv/$1.disk"
    mke2fs -q -t ext4 -O quota -E quotatype=usrquota "/srv/$1.disk" || return 1
    mkdir -p "/srv/a/$1"
    at a mount -o loop,usrquota "/srv/$1.disk" "/srv/a/$1" || return 1
}

at_server() { at a sh -c "$1"; }

# Nothing of ours, and no file that was removed while it was open (.nfsXXXX).
nothing_left() { # DIRECTORY...
    for directory; do
        left=$(at a find "$directory/health" -mindepth 1)
        [ -z "$left" ] || fail "left: $left"
    done
}

past_cache() { # NAME: the field of the JSON document
    "/guest/bin/$SELF" status --json --socket /tmp/sock | tr -d ' \n' | sed 's/"mountpoint"/\n&/g' |
        grep -F "\"mountpoint\":\"/mnt/$1\"" | grep -o '"past_cache":[a-z]*' | sed 's/.*://'
}

# How many requests of this kind the client has sent for a mount.
requests() { # NAME READ|WRITE
    case $1 in
    # The table of commands, of all shares: read is 8, write is 9.
    smb-*) awk -v kind="$2" 'NF == 5 && $1 == (kind == "READ" ? 8 : 9) { n += $2 } END { print n + 0 }' \
        /proc/fs/cifs/Stats ;;
    # 4.2 reads with READ_PLUS.
    *) awk -v path="/mnt/$1" -v kind="^$2(_PLUS)?:$" '$1 == "device" { here = $5 == path } here && $1 ~ kind { n += $2 }
        END { print n + 0 }' /proc/self/mountstats ;;
    esac
}

# Of four probes, one of which may be late. `smb-write` reads, too.
least() { # NAME
    case $1 in smb-read) echo 6 ;; *) echo 3 ;; esac
}

# In the time of some probes each of these mounts has asked the server, or the document says that it used the cache.
expect_requests() { # NAME...
    for name; do
        case $name in *write*) kind=WRITE ;; *) kind=READ ;; esac
        echo "$name $kind $(requests "$name" "$kind")"
    done >/tmp/requests
    sleep $((INTERVAL * 4))
    while read -r name kind before; do
        sent=$(($(requests "$name" "$kind") - before))
        cache=$(past_cache "$name")
        echo "    $name: $sent $kind, past_cache $cache"
        case $cache in
        true) [ $sent -ge "$(least "$name")" ] || fail "$name claims to bypass the cache, with $sent requests" ;;
        false) note "$name: not past the cache ($sent requests)" ;;
        *) fail "$name: past_cache is $cache" ;;
        esac
    done </tmp/requests
}

witness
names=
for version in 3 4.2; do
    for kind in read write; do
        nfs "$kind-$version" $version
        content "/srv/a/$kind-$version"
        names="$names $kind-$version"
    done
done
# Full: the disk is that of the server. Quota: the probe is that of a user who may have two blocks.
mkdir -p /srv/a/full
at a mount -t tmpfs -o size=64k tmpfs /srv/a/full
at a mkdir /srv/a/full/health
nfs full 4.2
disks=
if disk quota && at a setquota -u 1000 0 8 0 0 /srv/a/quota; then
    disk frozen || fail "no second disk"
    disks="quota frozen"
    for name in $disks; do
        at a mkdir "/srv/a/$name/health"
        at a chown 1000:1000 "/srv/a/$name/health"
        nfs "$name" 4.2
    done
    nfs_path unaware frozen 4.2 hard,nosharecache a
else
    note "no disk with quotas"
fi
case $(uname -r) in
6.1.*) note "no SMB" ;;
*)
    smb_server
    content /srv/smb
    smb smb-read hard
    smb smb-write hard
    names="$names smb-read smb-write"
    ;;
esac
for name in $names; do
    case $name in
    *write*) rule "$name" write health ;;
    *) rule "$name" read file ;;
    esac
done >/tmp/rules
rule full write health >>/tmp/rules
case $disks in *quota*)
    rule quota write health 'probe_uid = 1000' >>/tmp/rules
    rule frozen write health >>/tmp/rules
    ;;
esac
daemon --config /tmp/rules --socket /tmp/sock

# Healthy.
sleep $((INTERVAL * 2))
# shellcheck disable=SC2086 # several
expect_requests $names
expect_only_dead
expect_no_line "Mount cannot be checked"
nothing_left /srv/a/write-3 /srv/a/write-4.2 /srv/a/full
case $names in *smb*) [ -z "$(ls -A /srv/smb/health)" ] || fail "left: $(ls -A /srv/smb/health)" ;; esac

# Full and over quota are no death.
mark
at a dd if=/dev/zero of=/srv/a/full/filler bs=4096 count=100 2>/dev/null
expect $((INTERVAL * 2 + TIMEOUT)) "Mount cannot be checked: /mnt/full (ENOSPC from "
nothing_left /srv/a/full
case $disks in *quota*)
    # shellcheck disable=SC2016 # for the inner shell
    at_server 'dd if=/dev/zero of=/srv/a/quota/filler bs=4096 count=2 2>/dev/null; chown 1000 /srv/a/quota/filler'
    mark
    expect $((INTERVAL * 2 + TIMEOUT)) "Mount cannot be checked: /mnt/quota (EDQUOT from "
    nothing_left /srv/a/quota
    at a rm /srv/a/quota/filler
    mark
    expect $((INTERVAL * 2 + TIMEOUT)) "Mount recovered: /mnt/quota ("
    ;;
esac
at a rm /srv/a/full/filler
mark
expect $((INTERVAL * 2 + TIMEOUT)) "Mount recovered: /mnt/full ("
expect_only_dead
expect_metric 0 dead_mountpoints
expect_witness_alive

# A frozen disk: its server answers about files. Only `write` finds it.
case $disks in *frozen*)
    mark
    # Each probe occupies a thread of the server until the disk works again.
    at_server 'echo 16 >/proc/fs/nfsd/threads'
    at a fsfreeze --freeze /srv/a/frozen || fail "cannot freeze"
    expect $((INTERVAL * 2 + TIMEOUT)) "Mount failed health-check: /mnt/frozen (hung"
    note "frozen disk detected after $(seconds "$AFTER")"
    expect_no_stuck_process
    sleep $((INTERVAL * 2))
    expect_only_dead /mnt/frozen
    [ "$(up /mnt/unaware)" = 1 ] || fail "the mount without a data-path probe is not up"
    mark
    at a fsfreeze --unfreeze /srv/a/frozen
    expect_recovered 120 /mnt/frozen
    sleep $((INTERVAL * 2))
    nothing_left /srv/a/frozen
    ;;
esac

# The server is gone.
mark
break_drop
case $names in *smb*) break_smb ;; esac
dead=
for name in $names full $disks; do dead="$dead /mnt/$name"; done
[ -z "$disks" ] || dead="$dead /mnt/unaware"
# shellcheck disable=SC2086 # several
expect_dead $dead
expect_witness_alive
sleep 60
mark
lab_repair
# shellcheck disable=SC2086 # several
expect_recovered 200 $dead
sleep $((INTERVAL * 3))
nothing_left /srv/a/write-3 /srv/a/write-4.2 /srv/a/full
case $names in *smb*) [ -z "$(ls -A /srv/smb/health)" ] || fail "left: $(ls -A /srv/smb/health)" ;; esac
# shellcheck disable=SC2086 # several
expect_requests $names
expect_only_dead
stop_daemon
