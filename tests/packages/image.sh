#!/usr/bin/env bash
# Run by run, in namespaces: the Dockerfile without a container engine. Its steps are run one by one (dockerfile.py).
#
# What is real: the instructions and their order, what .dockerignore lets through, the commands of the build, the files
# of the image, its user, entry point and command.
# What is emulated: the image `rust` is this machine's /usr and Rust toolchain, read-only, with crates that have been
# downloaded before; a container is a chroot in namespaces; the results of an earlier build lie in /source/target.
#
#   image.sh DEBIAN_ROOT
set -u
. tests/packages/common.sh
begin
scratch
base=$scratch/rust
built=$PWD/target/packages/image-target

# This machine as the image that the build starts from.
base() {
    local sysroot part home=${CARGO_HOME:-$HOME/.cargo}
    sysroot=$(rustc --print sysroot)
    mkdir -p $base/{dev,etc/ssl,proc,source/target,tmp,usr}
    for part in bin lib lib64 sbin; do
        [ ! -L /$part ] || cp -P /$part $base/$part
    done
    mount --bind /usr $base/usr
    mount -o remount,bind,ro $base/usr
    mount -t tmpfs -o mode=755 local $base/usr/local
    mkdir -p $base/usr/local/{rust,cargo/registry}
    mount --bind "$sysroot" $base/usr/local/rust
    mount -o remount,bind,ro $base/usr/local/rust
    mount --bind "$home/registry" $base/usr/local/cargo/registry
    mount -o remount,bind,ro $base/usr/local/cargo/registry
    mount --bind "$built" $base/source/target
    mount -t proc proc $base/proc
    for part in null urandom; do
        : >$base/dev/$part
        mount --bind /dev/$part $base/dev/$part
    done
    # cc is one of the alternatives.
    cp -a /etc/alternatives /etc/ld.so.cache $base/etc/
    cp -aL /etc/ssl/certs $base/etc/ssl/
    echo 'root:x:0:0:root:/:/bin/sh' >$base/etc/passwd
}

# What has been compiled for the packages serves here too; cargo knows for itself what of it is still right.
warm() {
    [ -d target/release/deps ] && [ ! -d "$built/release" ] || return 0
    mkdir -p "$built/release"
    cp -a target/release/{build,.fingerprint} "$built/release/"
    mkdir "$built/release/deps"
    find target/release/deps -maxdepth 1 ! -name '*mount_status_monitor*' -type f \
        \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' -o -name '*.d' \) -exec cp -a {} "$built/release/deps/" \;
}

of_image() {
    python3 -c 'import json, sys
value = json.loads(open(sys.argv[1]).read().splitlines()[-1])[sys.argv[2]]
print(value if isinstance(value, str) else "\n".join(value))' "$scratch/steps" "$1"
}

# container WORD...: runs it in the image as its user, as `docker run` does; without a word the default command.
container() {
    local entry command user environment=()
    mapfile -t entry < <(of_image entrypoint)
    mapfile -t command < <(of_image command)
    [ $# = 0 ] || command=("$@")
    user=$(of_image user)
    # Of the engine, where the image does not say: its default PATH.
    mapfile -t environment < <(python3 -c 'import json, sys
path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
for it in {**path, **json.loads(open(sys.argv[1]).read().splitlines()[-1])["environment"]}.items():
    print("%s=%s" % it)' "$scratch/steps")
    # The kernel looks up the program in here, so its PATH is taken apart before.
    local program
    for program in $(printf '%s\n' "${environment[@]}" | sed -n 's/^PATH=//p' | tr ':' ' '); do
        [ ! -x "$image/${program#/}/${entry[0]}" ] || break
    done
    env -i "${environment[@]}" /usr/bin/setpriv --no-new-privs /usr/sbin/chroot --userspec="$user" "$image" \
        "$program/${entry[0]}" "${entry[@]:1}" "${command[@]}"
}

each_step_can_be_done() {
    command -v python3 >/dev/null || skip "needs python3"
    mkdir -p "$built"
    warm
    base
    IMAGE_ENVIRONMENT='{"PATH": "/usr/local/rust/bin:/usr/bin:/bin", "CARGO_HOME": "/usr/local/cargo",
        "CARGO_NET_OFFLINE": "true", "HOME": "/tmp"}' \
        python3 tests/packages/dockerfile.py Dockerfile . $scratch/stages rust=$base >$scratch/steps
    [ "$(of_image root)" = "$scratch/stages/last" ]
}

image=$scratch/stages/last
needs_image() {
    [ -d $image ] || skip "there is no image: see each_step_can_be_done"
    mountpoint -q $image && return
    # As an engine does: the image's root is a mount, read-only here, and there is a /proc.
    mkdir -p $image/proc
    mount --bind $image $image
    mount -t proc proc $image/proc
    mount -o remount,bind,ro $image
    mount -t tmpfs -o "mode=$(stat -c %a $image/run),uid=$(stat -c %u $image/run)" run $image/run
}

it_is_small_and_holds_nothing_else() {
    needs_image
    local size
    size=$(du -sxk $image | cut -f1)
    echo "$size KiB"
    [ "$size" -lt 40000 ]
    [ -z "$(find $image -xdev -type f ! -path '*/lib*/*.so*' ! -path '*/etc/*' ! -path '*/share/doc/*' \
        ! -path "*/usr/bin/$name")" ]
    [ -z "$(find $image -xdev ! -path $image/run ! -user 0)" ]
}

docker_run_prints_a_first_check() {
    needs_image
    [ "$(of_image user)" = 65532:65532 ]
    container >$scratch/out
    cat $scratch/out
    grep -qE '^STATE +LATENCY' $scratch/out
    grep -qE '^ok .* /$' $scratch/out
    grep -qE '^Checked [1-9][0-9]* mounts; 0 are dead' $scratch/out
}

an_option_makes_it_the_daemon() {
    needs_image
    local daemon
    ip link set lo up
    container --listen-address=127.0.0.1:9817 --syslog=off 2>$scratch/daemon &
    daemon=$!
    until grep -q '^Checked ' $scratch/daemon; do
        kill -0 $daemon
        sleep 0.1
    done
    # By the socket in /run, which its user may make.
    [ -S $image/run/$name.sock ]
    [ "$(stat -c %u $image/run/$name.sock)" = 65532 ]
    container status | grep -E '^Checked [1-9][0-9]* mounts; 0 are dead'
    exec 3<>/dev/tcp/127.0.0.1/9817
    printf 'GET /-/healthy HTTP/1.0\r\nHost: localhost:9817\r\n\r\n' >&3
    head -n 1 <&3 | grep -q ' 200 '
    kill $daemon
    wait $daemon
}

check image each_step_can_be_done it_is_small_and_holds_nothing_else docker_run_prints_a_first_check \
    an_option_makes_it_the_daemon
finish
