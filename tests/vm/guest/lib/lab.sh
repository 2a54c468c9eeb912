# Two NFS servers, each in its own network namespace: `a`, which is made to fail, and `b`, which keeps working. The
# clients are in the initial namespace, because since 6.15 the kernel ends mounts of other namespaces by itself when
# their network fails.
#
#   10.9.0.1 va ---- 10.9.0.2 a        10.9.1.1 vb ---- 10.9.1.2 b

# shellcheck disable=SC2034 # for outage.sh and smb.sh
UNUSED_ADDRESS=02:00:00:00:00:99

# Hundredths of a second since boot.
now() {
    read -r up _ </proc/uptime
    echo "${up%.*}${up#*.}"
}

at() { # SERVER COMMAND...: in the server's namespaces
    pid=$(cat "/tmp/server.$1")
    shift
    nsenter -t "$pid" -m -n "$@"
}

lab_up() {
    modprobe -a veth nfsd nfs nfsv3 nfsv4
    # A usual system has these loaded.
    modprobe -a fuse autofs4 2>/dev/null
    net a 10.9.0 && net b 10.9.1 && server a && server b
}

net() { # SERVER PREFIX
    ip netns add "$1"
    ip link add "v$1" type veth peer name eth0 netns "$1"
    ip addr add "$2.1/24" dev "v$1"
    ip link set "v$1" up
    ip -n "$1" addr add "$2.2/24" dev eth0
    ip -n "$1" link set eth0 up
    ip -n "$1" link set lo up
    ip -n "$1" -o link show eth0 | sed 's/.*link.ether \([^ ]*\).*/\1/' >"/tmp/address.$1"
    reach "$1" "$(cat "/tmp/address.$1")"
}

# Sets the link-layer address of a server; a wrong one drops all packets. ARP is not used.
reach() { # SERVER ADDRESS
    case $1 in a) ip=10.9.0.2 ;; b) ip=10.9.1.2 ;; esac
    ip neigh replace "$ip" lladdr "$2" nud permanent dev "v$1"
}

# A server also has its own mount namespace, for the files of rpcbind, exportfs and mountd.
server() { # SERVER
    mkdir -p "/srv/$1"
    ip netns exec "$1" sh -c '
        mount -t tmpfs tmpfs /run
        mount -t tmpfs tmpfs /var/lib/nfs
        mount -t nfsd nfsd /proc/fs/nfsd
        mkdir -p /run/rpcbind /run/lock /var/lib/nfs/sm /var/lib/nfs/v4recovery
        touch /var/lib/nfs/etab /var/lib/nfs/rmtab /etc/exports
        rpcbind -w
        # The shortest lease and grace periods that the kernel allows.
        rpc.nfsd -G 10 -L 10 4
        rpc.mountd
        exec sleep 100000000' >/dev/null 2>&1 &
    echo $! >"/tmp/server.$1"
    for _ in $(seq 100); do
        sleep 0.1
        # shellcheck disable=SC2016 # for the inner shell
        at "$1" sh -c 'pidof rpc.mountd >/dev/null && [ "$(cat /proc/fs/nfsd/threads)" -gt 0 ]' && return 0
    done
    return 1
}

# Exports a directory of a server with its own fsid, so that its mounts do not share a superblock with others.
export_dir() { # SERVER NAME
    last=$(($(cat /tmp/last-export 2>/dev/null || echo 0) + 1))
    echo $last >/tmp/last-export
    mkdir -p "/srv/$1/$2"
    at "$1" exportfs -o "rw,no_root_squash,no_subtree_check,insecure,sync,fsid=$last" "*:/srv/$1/$2"
}

# Undoes every kind of outage.
lab_repair() {
    ip link set va up
    ip -n a link set eth0 up
    ip -n a addr replace 10.9.0.2/24 dev eth0
    tc -n a qdisc del dev eth0 root 2>/dev/null
    reach a "$(cat /tmp/address.a)"
    ip -n a neigh replace 10.9.0.1 lladdr "$(cat /sys/class/net/va/address)" nud permanent dev eth0
    # shellcheck disable=SC2016 # for the inner shell
    at a sh -c '[ "$(cat /proc/fs/nfsd/threads)" -gt 0 ] || rpc.nfsd -G 10 -L 10 4'
}

# Ends the processes of a case (those that left its session are listed in /tmp/apart) and unmounts its mounts. Fails if
# any remain.
lab_clear() { # SESSION
    for _ in 1 2 3; do
        { in_session "$1"; cat /tmp/apart; } 2>/dev/null | xargs -r kill -9 2>/dev/null
        rm -f /tmp/apart
        awk '$5 ~ "^/mnt/" { print $5 }' /proc/self/mountinfo | sort -r | while read -r path; do
            # The servers work again, so a plain umount works and leaves no client state behind.
            timeout 30 umount -i "$path" 2>/dev/null || umount -i -f -l "$path" 2>/dev/null ||
                umount -i -l "$path" 2>/dev/null
        done
        # Processes that wait for a server end when it responds, which may take a minute.
        for _ in $(seq 30); do
            [ -z "$(in_session "$1")" ] && ! grep -q ' /mnt/' /proc/self/mountinfo && return 0
            sleep 0.5
        done
    done
    return 1
}

in_session() { # SESSION: its processes that are not zombies
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        rest=${line##*) }
        # state ppid pgrp session
        # shellcheck disable=SC2086
        set -- "$1" ${rest}
        [ "$5" = "$1" ] && [ "$2" != Z ] && echo "${line%% *}"
    done
}
