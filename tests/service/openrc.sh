#!/usr/bin/env bash
# Runs the service under Debian's OpenRC, which is overlaid on the programs of this machine in separate namespaces:
# start, status, reload, kill, restart, stop. Nothing is installed.
#
#   openrc.sh PACKAGES BINARY    PACKAGES: directory of the unpacked packages, BINARY: the daemon
set -eu
packages=$1 binary=$2 name=mount_status_monitor
here=$(readlink -f "$(dirname "$0")/../..")

if [ "${3-}" != inside ]; then
    exec timeout -k 1 60 unshare --mount --propagation private --pid --fork --kill-child --net --mount-proc \
        "$0" "$packages" "$binary" inside
fi

root=/media
mount -t tmpfs root $root
mkdir -p $root/{dev,etc/conf.d,etc/init.d,proc,run,tmp,usr,var/log}
for link in bin lib lib64 sbin; do cp -P /$link $root/$link; done
ln -s ../run $root/var/run
cp -a "$packages/etc/." $root/etc/
printf 'root:x:0:0:root:/root:/bin/sh\n' >$root/etc/passwd
printf 'root:x:0:\n' >$root/etc/group
: >$root/etc/insserv.conf
mount -t overlay -o "lowerdir=$packages/usr:/usr" usr $root/usr
mount -t tmpfs local $root/usr/local
mkdir $root/usr/local/bin
cp "$binary" $root/usr/local/bin/$name
mount --bind /dev $root/dev
mount -t proc proc $root/proc
# The script with another path of the program.
sed 's,^command="/usr/bin,command="/usr/local/bin,' "$here/contrib/openrc/$name" >$root/etc/init.d/$name
chmod 755 $root/etc/init.d/$name
echo 'command_args="--log-level info --syslog off"' >$root/etc/conf.d/$name
# Directories that OpenRC creates at boot.
mkdir $root/run/openrc
mkdir $root/run/openrc/{daemons,exclusive,failed,hotplugged,inactive,options,scheduled,started,starting,stopping,tmp,wasinactive}
: >$root/run/openrc/softlevel

service() {
    # -D: ignore dependencies, which do not exist here.
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot $root rc-service -C -D $name "$1" 2>&1
}

# The process id of the daemon, as opposed to its supervisor and its prober.
daemon() {
    local pid
    # shellcheck disable=SC2013 # words
    for pid in $(cat /proc/[0-9]*/task/*/children); do
        [ "$(tr '\0' ' ' <"/proc/$pid/cmdline")" != "/usr/local/bin/$name --log-level info --syslog off " ] || echo "$pid"
    done
}

wait_until() {
    local _
    for _ in $(seq 200); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    echo "timeout: $*"
    exit 1
}

logs() {
    grep -qi "$1" $root/var/log/$name.log
}

is_another() {
    [ -n "$(daemon)" ] && [ "$(daemon)" != "$1" ]
}

service start
wait_until logs '^Checked '
pid=$(daemon)
service status | grep -q 'status: started'
service reload
wait_until logs reload
[ "$(daemon)" = "$pid" ]
kill -KILL "$pid"
wait_until is_another "$pid"
start=$(date +%s%3N)
service stop
echo "# OpenRC: stopped in $(($(date +%s%3N) - start)) ms"
[ -z "$(daemon)" ]
