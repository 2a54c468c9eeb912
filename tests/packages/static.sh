#!/usr/bin/env bash
# Run by run, in namespaces: the archive with the static program, in a root without anything else.
#
#   static.sh DEBIAN_ROOT
set -u
. tests/packages/common.sh
begin
scratch
root=$scratch/root
archive=$(echo target/dist/*-static.tar.gz)
folder=$(basename "$archive" .tar.gz)

the_sums_are_right() {
    grep -q "${archive##*/}" target/dist/SHA256SUMS
    (cd target/dist && sha256sum -c SHA256SUMS)
}

it_unpacks_into_one_folder() {
    local file
    # Besides what every system has: a root that is a mount, /proc and /dev/null.
    mkdir $root
    mount --bind $root $root
    mkdir $root/proc $root/dev
    mount -t proc proc $root/proc
    : >$root/dev/null
    mount --bind /dev/null $root/dev/null
    if tar -tzf "$archive" | grep -v "^$folder/"; then fail "outside of the folder"; fi
    [ -z "$(tar --numeric-owner -tvzf "$archive" | awk '$2 != "0/0"')" ]
    tar -C $root -xzf "$archive"
    for file in $name config.toml man/$name.8 man/$name.toml.5 completions/$name.bash systemd/$name.service README.md \
        LICENSE-MIT LICENSE-APACHE; do
        [ -s "$root/$folder/$file" ]
    done
}

it_needs_nothing_of_the_system() {
    [ -z "$(find $root -xdev -name '*.so*')" ]
    chroot $root "/$folder/$name" --version | grep -q "^$name [0-9]"
    chroot $root "/$folder/$name" --check-config --config "/$folder/config.toml"
}

it_runs() {
    chroot $root "/$folder/$name" --once-only --syslog off 2>&1 | grep -E 'Checked [1-9][0-9]* mounts?; 0 are dead'
    chroot $root "/$folder/$name" check --direct | grep -E '^ok .* /proc$'
}

packing_again_gives_the_same_bytes() {
    local before after
    before=$(sha256sum <"$archive")
    MSM_STATIC_PROFILE=dev contrib/packaging/build --as-built static
    after=$(sha256sum <"$archive")
    [ "$before" = "$after" ]
}

check static the_sums_are_right it_unpacks_into_one_folder it_needs_nothing_of_the_system it_runs \
    packing_again_gives_the_same_bytes
finish
