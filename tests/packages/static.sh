#!/usr/bin/env bash
# Started by run in namespaces: tests the archive with the static program in an otherwise empty root. A program for
# another architecture is run by qemu-user, which the kernel starts in a user namespace of the tests.
#
#   static.sh DEBIAN_ROOT ARCHITECTURE
set -u
. tests/packages/common.sh
begin
scratch
architecture=$2
suite=static_$architecture
root=$scratch/root
archive=$(echo target/dist/*-"$architecture"-linux-static.tar.gz)
folder=$(basename "$archive" .tar.gz)
qemu=qemu-$architecture-static

checksums_are_correct() {
    grep -q "${archive##*/}" target/dist/SHA256SUMS
    (cd target/dist && sha256sum -c SHA256SUMS)
}

# in_archive_root COMMAND...: in the root with the program.
in_archive_root() {
    timeout -k 1 120 "${emulated[@]}" chroot $root "$@"
}

# Registers qemu for the programs of that architecture, for a user namespace (Linux 6.7 or later), and replaces itself by
# the command.
# shellcheck disable=SC2016 # a script for another shell
emulated=(unshare --user --map-root-user --mount --propagation private bash -euc 'registry=/proc/sys/fs/binfmt_misc
    mount -t binfmt_misc binfmt_misc $registry
    cat "$0" >$registry/register
    exec "$@"' "/usr/lib/binfmt.d/qemu-$architecture.conf")
[ "$architecture" != "$(uname -m)" ] || emulated=()

require_emulation() {
    [ ${#emulated[@]} = 0 ] && return
    command -v "$qemu" >/dev/null || skip "needs $qemu"
    "${emulated[@]}" true || skip "needs Linux 6.7, for binfmt_misc in a user namespace"
}

archive_contains_one_directory() {
    local file
    # The root has only /proc and /dev/null.
    mkdir $root
    mount --bind $root $root
    mkdir $root/proc $root/dev
    mount -t proc proc $root/proc
    : >$root/dev/null
    mount --bind /dev/null $root/dev/null
    if tar -tzf "$archive" | grep -v "^$folder/"; then fail "files outside of the directory"; fi
    [ -z "$(tar --numeric-owner -tvzf "$archive" | awk '$2 != "0/0"')" ]
    tar -C $root -xzf "$archive"
    for file in $name config.toml man/$name.8 man/$name.toml.5 completions/$name.bash systemd/$name.service README.md \
        LICENSE-MIT LICENSE-APACHE THIRD-PARTY-LICENSES; do
        [ -s "$root/$folder/$file" ]
    done
    grep -q '^musl: ' "$root/$folder/THIRD-PARTY-LICENSES"
}

program_is_for_the_architecture() {
    readelf -h "$root/$folder/$name" | grep -iE "Machine: .*${architecture/_/.}"
}

program_needs_no_shared_libraries() {
    require_emulation
    [ -z "$(find $root -xdev -name '*.so*')" ]
    in_archive_root "/$folder/$name" --version | grep -q "^$name [0-9]"
    in_archive_root "/$folder/$name" --check-config --config "/$folder/config.toml"
}

program_runs() {
    require_emulation
    in_archive_root "/$folder/$name" --once-only --syslog off 2>&1 | grep -E 'Checked [1-9][0-9]* mounts?; 0 are dead'
    in_archive_root "/$folder/$name" check --direct | grep -E '^ok .* /proc$'
}

completions_are_those_of_the_program() {
    require_emulation
    local shell
    for shell in bash zsh fish; do
        in_archive_root "/$folder/$name" completions $shell | cmp - "$root/$folder/completions/$name.$shell"
    done
}

check "$suite" checksums_are_correct archive_contains_one_directory program_is_for_the_architecture \
    program_needs_no_shared_libraries program_runs completions_are_those_of_the_program
finish
