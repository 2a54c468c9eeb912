#!/usr/bin/env bash
# Started by run in namespaces: tests the Dockerfile without Docker. dockerfile.py runs its steps one by one, and runc
# starts the result as a container.
#
# Real: the instructions and their order, .dockerignore, the build commands, the files of the image, its user, entry
# point and command.
# Emulated: the image `rust` is this machine's /usr and Rust toolchain, read-only, with crates downloaded before;
# /source/target contains the results of an earlier build; there are no layers and no image files.
#
#   image.sh DEBIAN_ROOT
set -u
. tests/packages/common.sh
begin
scratch
base=$scratch/rust
built=$PWD/target/packages/image-target
# Also the name of the container's control group.
id=msm-packages-$$-$(date +%s)

# The same path inside and outside: under another path cargo would compile all crates again.
home=${CARGO_HOME:-$HOME/.cargo}

# Provides this machine as the base image of the build.
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
    # cc is a link to /etc/alternatives.
    cp -a /etc/alternatives /etc/ld.so.cache $base/etc/
    cp -aL /etc/ssl/certs $base/etc/ssl/
    echo 'root:x:0:0:root:/:/bin/sh' >$base/etc/passwd
}

image_property() {
    python3 -c 'import json, sys
print(json.loads(open(sys.argv[1]).read().splitlines()[-1])[sys.argv[2]])' "$scratch/steps" "$1"
}

# bundle [WORD...]: creates a bundle of the image for runc(8), like `docker run IMAGE [WORD...]`. It shares the network
# of the test.
bundle() {
    rm -rf $scratch/bundle
    mkdir $scratch/bundle
    (cd $scratch/bundle && runc spec)
    python3 - "$scratch/steps" $scratch/bundle/config.json "$@" <<'PYTHON'
import json
import os
import sys

steps, file, *words = sys.argv[1:]
image = json.loads(open(steps).read().splitlines()[-1])
spec = json.load(open(file))
uid, gid = (int(it) for it in image["user"].split(":"))
process = spec["process"]
process.update(terminal=False, user={"uid": uid, "gid": gid}, args=image["entrypoint"] + (words or image["command"]))
if "--mount-namespace=/proc/1/ns/mnt" in words:
    # Like `docker run --pid=host --user=0:0 --tmpfs=/run --cap-drop=ALL --cap-add=...`.
    spec["mounts"].append({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]})
    process["user"] = {"uid": 0, "gid": 0}
    capabilities = os.environ["CAPABILITIES"].split()
    process["capabilities"] = {it: capabilities for it in ("bounding", "effective", "permitted")}
    spec["linux"]["namespaces"] = [it for it in spec["linux"]["namespaces"] if it["type"] != "pid"]
# The default of container engines.
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

revision=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
epoch=1700000000

every_step_succeeds() {
    command -v python3 >/dev/null || skip "needs python3"
    tests/reuse-dependencies target/release "$built/release"
    # Without network, the tool cannot be compiled.
    if [ -e target/tools/.crates.toml ]; then
        mkdir -p "$built/tools"
        cp -r target/tools/bin target/tools/.crates.toml "$built/tools/"
    fi
    base
    IMAGE_ENVIRONMENT='{"PATH": "/usr/local/rust/bin:/usr/bin:/bin", "CARGO_HOME": "'"$home"'",
        "CARGO_NET_OFFLINE": "true", "HOME": "/tmp"}' \
        BUILD_ARGUMENTS='{"REVISION": "'"$revision"'", "SOURCE_DATE_EPOCH": "'$epoch'"}' \
        python3 tests/packages/dockerfile.py Dockerfile . $scratch/stages rust=$base >$scratch/steps
    [ "$(image_property root)" = "$scratch/stages/last" ]
}

image=$scratch/stages/last
require_image() {
    [ -d $image ] || skip "there is no image: see every_step_succeeds"
}

require_runc() {
    require_image
    command -v runc >/dev/null || skip "needs runc(8)"
}

image_is_small_and_minimal() {
    require_image
    local size
    size=$(du -sxk $image | cut -f1)
    echo "$size KiB"
    [ "$size" -lt 40000 ]
    [ -z "$(find $image -xdev -type f ! -path '*/lib*/*.so*' ! -path '*/etc/*' ! -path '*/share/doc/*' \
        ! -path "*/usr/bin/$name")" ]
    [ -z "$(find $image -xdev ! -path $image/run ! -user 0)" ]
    [ -s $image/usr/share/doc/$name/THIRD-PARTY-LICENSES ]
    [ -s $image/usr/share/doc/libc6/copyright ]
}

files_have_the_time_of_the_commit() {
    require_image
    [ -z "$(find $image -mindepth 2 -xdev -type f ! -newermt "@$((epoch - 1))" -o -type f -newermt "@$epoch")" ]
}

labels_describe_the_program() {
    require_image
    local version
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    image_property labels
    image_property labels | grep -qF "'org.opencontainers.image.version': '$version'"
    image_property labels | grep -qF "'org.opencontainers.image.revision': '$revision'"
    image_property labels | grep -qF "'org.opencontainers.image.licenses': 'MIT OR Apache-2.0'"
}

# It was compiled in another directory, but with the dependencies compiled for target/release.
program_is_equal_to_that_of_the_packages() {
    require_image
    cmp target/release/$name $image/usr/bin/$name
}

program_contains_the_list_of_its_crates() {
    require_image
    [ -x target/tools/bin/cargo-auditable ] || skip "needs cargo-auditable"
    objcopy -O binary --only-section=.dep-v0 --set-section-flags .dep-v0=alloc $image/usr/bin/$name $scratch/list
    python3 - $scratch/list >$scratch/crates <<'PYTHON'
import json
import sys
import zlib

for crate in json.loads(zlib.decompress(open(sys.argv[1], "rb").read()))["packages"]:
    print(crate["name"], crate["version"], crate.get("kind", "runtime"))
PYTHON
    grep -x "rustls [0-9.]* runtime" $scratch/crates
    grep -x "mount_status_monitor [0-9.]* runtime" $scratch/crates
}

default_command_prints_a_check() {
    require_runc
    [ "$(image_property user)" = 65532:65532 ]
    bundle
    container run --bundle $scratch/bundle "$id" >$scratch/out
    cat $scratch/out
    grep -qE '^STATE +LATENCY' $scratch/out
    grep -qE '^ok .* /$' $scratch/out
    grep -qE '^Checked [1-9][0-9]* mounts?; 0 are dead' $scratch/out
}

# The words of the command that the first check prints: options of `docker run`, IMAGE, and arguments of the program.
printed_command_watches_the_host() {
    require_runc
    local words before run
    words=$(sed -n '/^  docker run /,/[^\\]$/p' $scratch/out | tr -d '\\\n')
    before=${words%% IMAGE *}
    for option in --pid=host --user=0:0 --tmpfs=/run --cap-drop=ALL; do
        grep -qw -e "$option" <<<"$before" || fail "not in the command: $option"
    done
    CAPABILITIES=$(grep -oE 'cap-add=[A-Z_]+' <<<"$before" | sed 's/.*=/CAP_/' | tr '\n' ' ')
    export CAPABILITIES
    ip link set lo up
    mount -t tmpfs the-host /srv
    # shellcheck disable=SC2086 # several words
    bundle ${words##* IMAGE }
    container run --bundle $scratch/bundle "$id" 2>$scratch/daemon &
    run=$!
    trap 'container delete --force "$id"; umount /srv' EXIT
    until grep -q '^Checked ' $scratch/daemon; do
        kill -0 $run || fail "$(cat $scratch/daemon)"
        sleep 0.1
    done
    container exec "$id" $name status >$scratch/status
    grep -E '^ok .* /srv$' $scratch/status
    container kill "$id" TERM
    wait $run
}

option_starts_the_daemon() {
    require_runc
    local run
    ip link set lo up
    bundle --listen-address=127.0.0.1:9817 --syslog=off
    container run --bundle $scratch/bundle "$id" 2>$scratch/daemon &
    run=$!
    # If the test fails, the container ends with its process namespace, but its control group would remain.
    trap 'container delete --force "$id"' EXIT
    until grep -q '^Checked ' $scratch/daemon; do
        kill -0 $run || fail "$(cat $scratch/daemon)"
        sleep 0.1
    done
    # Uses the socket in /run, where the user of the container may create it.
    container exec "$id" $name status | grep -E '^Checked [1-9][0-9]* mounts?; 0 are dead'
    exec 3<>/dev/tcp/127.0.0.1/9817
    printf 'GET /-/healthy HTTP/1.0\r\nHost: localhost:9817\r\n\r\n' >&3
    head -n 1 <&3 | grep -q ' 200 '
    container kill "$id" TERM
    wait $run
}

check image every_step_succeeds image_is_small_and_minimal files_have_the_time_of_the_commit \
    labels_describe_the_program program_is_equal_to_that_of_the_packages program_contains_the_list_of_its_crates \
    default_command_prints_a_check printed_command_watches_the_host option_starts_the_daemon
finish
