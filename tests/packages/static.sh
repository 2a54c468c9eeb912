#!/usr/bin/env bash
# Started by run in namespaces: tests the archive with the static program in an otherwise empty root.
#
#   static.sh DEBIAN_ROOT
set -u
. tests/packages/common.sh
begin
scratch
root=$scratch/root
archive=$(echo target/dist/*-static.tar.gz)
folder=$(basename "$archive" .tar.gz)

checksums_are_correct() {
    grep -q "${archive##*/}" target/dist/SHA256SUMS
    (cd target/dist && sha256sum -c SHA256SUMS)
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

program_needs_no_shared_libraries() {
    [ -z "$(find $root -xdev -name '*.so*')" ]
    chroot $root "/$folder/$name" --version | grep -q "^$name [0-9]"
    chroot $root "/$folder/$name" --check-config --config "/$folder/config.toml"
}

program_runs() {
    chroot $root "/$folder/$name" --once-only --syslog off 2>&1 | grep -E 'Checked [1-9][0-9]* mounts?; 0 are dead'
    chroot $root "/$folder/$name" check --direct | grep -E '^ok .* /proc$'
}

archive_is_reproducible() {
    local before after
    before=$(sha256sum <"$archive")
    MSM_STATIC_PROFILE=dev contrib/packaging/build --as-built static
    after=$(sha256sum <"$archive")
    [ "$before" = "$after" ]
}

check static checksums_are_correct archive_contains_one_directory program_needs_no_shared_libraries program_runs \
    archive_is_reproducible
finish
