# NFS mounts, and the outages of server `a`.

nfs() { # NAME VERSION [OPTIONS [SERVER]]: mounts a new export on /mnt/NAME
    export_dir "${4:-a}" "$1"
    nfs_path "$1" "$1" "$2" "${3:-hard}" "${4:-a}"
}

nfs_path() { # NAME PATH VERSION OPTIONS SERVER: mounts a path of a server on /mnt/NAME
    case $5 in a) from=10.9.0.2 ;; b) from=10.9.1.2 ;; esac
    # Locks of version 3 need another daemon on both sides.
    case $3 in 3) options=nolock,mountproto=tcp ;; *) options=rw ;; esac
    mkdir -p "/mnt/$1"
    mount.nfs "$from:/srv/$5/$2" "/mnt/$1" -o "vers=$3,proto=tcp,$options,$4" || fail "cannot mount $2"
    ls "/mnt/$1" >/dev/null
}

break_drop() { reach a "$UNUSED_ADDRESS"; }
break_stop() { at a sh -c 'echo 0 >/proc/fs/nfsd/threads'; }
break_address() {
    ip neigh del 10.9.0.2 dev va
    ip -n a addr del 10.9.0.2/24 dev eth0
}
break_link() { ip -n a link set eth0 down; }

# A complete case: one kind of outage with hard and soft mounts of both versions.
outage() { # KIND
    witness
    for version in 3 4.2; do
        for kind in hard soft; do nfs "$kind-$version" $version $kind; done
        nfs "given-up-$version" $version hard
    done
    daemon
    "break_$1"
    expect_dead /mnt/hard-3 /mnt/soft-3 /mnt/given-up-3 /mnt/hard-4.2 /mnt/soft-4.2 /mnt/given-up-4.2
    expect_metric 6 dead_mountpoints
    expect_metric 0 mountstatus_probers_stranded
    expect_witness_alive
    for version in 3 4.2; do force_umount "/mnt/given-up-$version"; done
    mark
    lab_repair
    expect_recovered 120 /mnt/hard-3 /mnt/soft-3 /mnt/hard-4.2 /mnt/soft-4.2
    expect_metric 0 dead_mountpoints
    expect_only_dead
    stop_daemon
}

# A mount of the working server, which must not be reported dead.
witness() { nfs lives 4.2 hard b; }

expect_witness_alive() {
    [ "$(up /mnt/lives)" = 1 ] || fail "the mount of the other server is not up"
    expect_no_line "Mount failed health-check: /mnt/lives"
}

# `umount -f` of a dead mount succeeds with the second attempt at the latest.
force_umount() { # PATH
    umount -f "$1" 2>/tmp/umount.log || {
        note "umount -f twice ($(tail -n1 /tmp/umount.log))"
        sleep 1
        umount -f "$1" || fail "umount -f $1: $(cat /tmp/umount.log)"
    }
    expect 600 "Mount disappeared: $1 ("
}

wait_for_file() { # FILE
    for _ in $(seq 100); do
        [ ! -e "$1" ] || return 0
        sleep 0.05
    done
    fail "$1 was not created"
}
