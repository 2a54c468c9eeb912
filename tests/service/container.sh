#!/usr/bin/env bash
# A container for tests/service/run: systemd as process 1 with the programs of this machine (/usr, read-only), and its
# own files, mounts, units, network and processes. It ends with its caller and leaves nothing behind.
#
#   container.sh ROOT BINARIES UNITS CONSOLE MASTER
#
# ROOT is an empty directory, BINARIES and UNITS are copied to /usr/local/bin and /etc/systemd/system, CONSOLE is a
# file for the output of process 1. The container ends when the process MASTER ends. The process id of process 1 is
# written to ROOT.pid.
set -eu
here=$(readlink -f "$0")

# The files that systemd expects of an installed system.
files() {
    local root=$1 name
    mkdir -p "$root"/{dev,etc/systemd/system,etc/systemd/system-generators,proc,root,run,sys,tmp,usr,var,mnt,old}
    for name in bin lib lib64 sbin; do
        [ ! -L "/$name" ] || cp -P "/$name" "$root/$name"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    printf 'passwd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
    printf '%s\n' 00000000000000000000000000000001 >"$root/etc/machine-id"
    cp -P /etc/ld.so.cache "$root/etc/" 2>/dev/null || true
    # Suppresses update services.
    touch "$root/etc/.updated" "$root/var/.updated"
    # Masks generators and units of this machine.
    for name in /usr/lib/systemd/system-generators/*; do
        ln -s /dev/null "$root/etc/systemd/system-generators/${name##*/}"
    done
    for name in systemd-udevd.service systemd-udev-trigger.service systemd-hwdb-update.service ldconfig.service \
        systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-journal-flush.service \
        systemd-journal-catalog-update.service systemd-sysusers.service systemd-tmpfiles-setup.service \
        systemd-tmpfiles-setup-dev.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
        systemd-ask-password-console.path dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
        sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount systemd-random-seed.service \
        systemd-update-utmp.service systemd-sysctl.service systemd-modules-load.service tmp.mount \
        systemd-timesyncd.service systemd-pcrphase.service systemd-pcrphase-sysinit.service; do
        ln -s /dev/null "$root/etc/systemd/system/$name"
    done
    printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >"$root/etc/systemd/system/test.target"
    # Nothing is persistent, and no rate limit may hide a line.
    mkdir "$root/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >"$root/etc/systemd/journald.conf.d/test.conf"
}

devices() {
    local dev=$1/dev name
    mount -t tmpfs -o mode=755 dev "$dev"
    for name in null zero full random urandom tty fuse; do
        : >"$dev/$name"
        mount --bind "/dev/$name" "$dev/$name"
    done
    mkdir "$dev/pts" "$dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$dev/pts"
    ln -s pts/ptmx "$dev/ptmx"
    ln -s /proc/self/fd "$dev/fd"
    : >"$dev/console"
    mount --bind "$2" "$dev/console"
}

case $1 in
inside)
    # Runs in all the namespaces, before process 1 becomes systemd.
    root=$2
    mount -t proc proc "$root/proc"
    mount -t sysfs sys "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    cd "$root"
    pivot_root . old
    exec chroot . /bin/sh -c 'umount -l /old; exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin \
        /lib/systemd/systemd --system --unit=test.target --show-status=no --log-target=journal --log-level=info' \
        <dev/null >dev/console 2>&1
    ;;
outside)
    # Runs in its own mount namespace, so that all mounts end with it.
    root=$2 console=$5 master=$6
    mount -t tmpfs -o mode=755 root "$root"
    files "$root"
    mount --bind /usr "$root/usr"
    mount -o remount,bind,ro "$root/usr"
    mount -t tmpfs -o mode=755 local "$root/usr/local"
    mkdir "$root/usr/local/bin"
    cp "$3"/* "$root/usr/local/bin/"
    cp -r "$4"/. "$root/etc/systemd/system/"
    devices "$root" "$console"
    # A separate control group, which systemd manages.
    groups=$root.cgroup
    mkdir "$groups"
    mount -t cgroup2 cgroup2 "$groups"
    group=$groups/${root##*/}
    mkdir "$group"
    clean() {
        # The processes end one after the other after process 1 has ended.
        for _ in $(seq 100); do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
            read -r -t 0.1 <> <(:) || true
        done
        umount "$groups"
        rmdir "$groups"
    }
    trap clean EXIT
    # shellcheck disable=SC2016 # for the inner shell
    unshare --fork --pid --kill-child --mount --uts --ipc --net --propagation private \
        sh -c 'echo $$ >"$1/cgroup.procs" && exec unshare --cgroup "$2" inside "$3"' sh "$group" "$here" "$root" &
    unshare=$!
    trap 'kill -KILL $unshare 2>/dev/null; wait $unshare; clean; exit 143' TERM INT
    # The child of unshare is process 1 of the container.
    until pid=$(cat "/proc/$unshare/task/$unshare/children") && [ -n "$pid" ]; do
        read -r -t 0.05 <> <(:) || true
    done
    echo "${pid% }" >"$root.pid"
    # Ends the container when the master has been killed.
    while kill -0 "$master" 2>/dev/null && kill -0 $unshare 2>/dev/null; do
        sleep 1 &
        wait $! || true
    done
    kill -KILL $unshare 2>/dev/null || true
    wait $unshare || true
    ;;
*)
    exec unshare --mount --propagation private "$here" outside "$@"
    ;;
esac
