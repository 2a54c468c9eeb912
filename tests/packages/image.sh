#!/usr/bin/env bash
# Run by run, in namespaces: the Dockerfile without Docker. Its steps are run one by one (dockerfile.py), and what they
# make is started as a container by runc.
#
# What is real: the instructions and their order, what .dockerignore lets through, the commands of the build, the files
# of the image, its user, entry point and command.
# What is emulated: the image `rust` is this machine's /usr and Rust toolchain, read-only, with crates that have been
# downloaded before; the results of an earlier build lie in /source/target; there are no layers and no image files.
#
#   image.sh DEBIAN_ROOT
set -u
. tests/packages/common.sh
begin
scratch
base=$scratch/rust
built=$PWD/target/packages/image-target
# Control groups of containers are named after it.
id=msm-packages-$$-$(date +%s)

# Where crates lie, under the same path as here: cargo would compile them again under another.
home=${CARGO_HOME:-$HOME/.cargo}

# This machine as the image that the build starts from.
base() {
    local sysroot part
    sysroot=$(rustc --print sysroot)
    mkdir -p $base/{dev,etc/ssl,proc,source/target,tmp,usr}
    for part in bin lib lib64 sbin; do
        [ ! -L /$part ] || cp -P /$part $base/$part
    done
    mount --bind /usr $base/usr
    mount -o remount,bind,ro $base/usr
    mount -t tmpfs -o mode=755 local $base/usr/local
    mkdir -p $base/usr/local/rust "$base$home/registry"
    mount --bind "$sysroot" $base/usr/local/rust
    mount -o remount,bind,ro $base/usr/local/rust
    mount --bind "$home/registry" "$base$home/registry"
    mount -o remount,bind,ro "$base$home/registry"
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
print(json.loads(open(sys.argv[1]).read().splitlines()[-1])[sys.argv[2]])' "$scratch/steps" "$1"
}

# bundle WORD...: describes a container of the image for runc(8), as `docker run IMAGE WORD...` would; without a word it
# has the default command. The network is that of the test.
bundle() {
    rm -rf $scratch/bundle
    mkdir $scratch/bundle
    (cd $scratch/bundle && runc spec)
    python3 - "$scratch/steps" $scratch/bundle/config.json "$@" <<'PYTHON'
import json
import sys

steps, file, *words = sys.argv[1:]
image = json.loads(open(steps).read().splitlines()[-1])
spec = json.load(open(file))
uid, gid = (int(it) for it in image["user"].split(":"))
process = spec["process"]
process.update(terminal=False, user={"uid": uid, "gid": gid}, args=image["entrypoint"] + (words or image["command"]))
# What an engine says where the image does not.
path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
process["env"] = [f"{name}={value}" for name, value in {**path, **image["environment"]}.items()]
spec["root"] = {"path": image["root"], "readonly": False}
spec["mounts"] = [it for it in spec["mounts"] if it["type"] != "cgroup"]
spec["linux"]["namespaces"] = [it for it in spec["linux"]["namespaces"] if it["type"] != "network"]
json.dump(spec, open(file, "w"))
PYTHON
}

container() {
    runc --root $scratch/runc "$@"
}

each_step_can_be_done() {
    command -v python3 >/dev/null || skip "needs python3"
    mkdir -p "$built"
    warm
    base
    IMAGE_ENVIRONMENT='{"PATH": "/usr/local/rust/bin:/usr/bin:/bin", "CARGO_HOME": "'"$home"'",
        "CARGO_NET_OFFLINE": "true", "HOME": "/tmp"}' \
        python3 tests/packages/dockerfile.py Dockerfile . $scratch/stages rust=$base >$scratch/steps
    [ "$(of_image root)" = "$scratch/stages/last" ]
}

image=$scratch/stages/last
needs_image() {
    [ -d $image ] || skip "there is no image: see each_step_can_be_done"
}

needs_container() {
    needs_image
    command -v runc >/dev/null || skip "needs runc(8)"
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

it_prints_a_first_check() {
    needs_container
    [ "$(of_image user)" = 65532:65532 ]
    bundle
    container run --bundle $scratch/bundle "$id" >$scratch/out
    cat $scratch/out
    grep -qE '^STATE +LATENCY' $scratch/out
    grep -qE '^ok .* /$' $scratch/out
    grep -qE '^Checked [1-9][0-9]* mounts?; 0 are dead' $scratch/out
}

an_option_makes_it_the_daemon() {
    needs_container
    local run
    ip link set lo up
    bundle --listen-address=127.0.0.1:9817 --syslog=off
    container run --bundle $scratch/bundle "$id" 2>$scratch/daemon &
    run=$!
    # When the test fails, the container ends with its process namespace; its control group would stay.
    trap 'container delete --force "$id"' EXIT
    until grep -q '^Checked ' $scratch/daemon; do
        kill -0 $run || fail "$(cat $scratch/daemon)"
        sleep 0.1
    done
    # By the socket in /run, which its user may make.
    container exec "$id" $name status | grep -E '^Checked [1-9][0-9]* mounts?; 0 are dead'
    exec 3<>/dev/tcp/127.0.0.1/9817
    printf 'GET /-/healthy HTTP/1.0\r\nHost: localhost:9817\r\n\r\n' >&3
    head -n 1 <&3 | grep -q ' 200 '
    container kill "$id" TERM
    wait $run
}

check image each_step_can_be_done it_is_small_and_holds_nothing_else it_prints_a_first_check \
    an_option_makes_it_the_daemon
finish
