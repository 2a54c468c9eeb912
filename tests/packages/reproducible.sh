#!/usr/bin/env bash
# Started by run: builds the packages once more in a clone in another directory, with another CARGO_HOME, and compares
# the files byte for byte. The .deb and .rpm are packed again from the same program, because the release build is slow:
# image.sh compiles that program in another directory. The static program is compiled again with all of its crates.
set -u
. tests/packages/common.sh
begin
place=$PWD/target/packages/another/directory
home=${CARGO_HOME:-$HOME/.cargo}
cross=$(cd "${MSM_CROSS:-target/cross}" 2>/dev/null && pwd)

# A clone with the uncommitted changes of this tree, but with other modification times.
clone() {
    rm -rf "$place"
    mkdir -p "$place"
    git clone -q --shared . "$place"
    git ls-files -z --cached --others --exclude-standard | xargs -0 tar -c --ignore-failed-read | tar -x -C "$place"
    find "$place" -type f ! -path '*/.git/*' -exec touch --date=2001-02-03 {} +
    mkdir -p "$place/target/release" "$place/home"
    ln -s "$PWD/target/tools" "$place/target/tools"
    ln -s "$home/registry" "$place/home/registry"
}

# build_again WORD...: with what a build in the clone would find on another machine.
build_again() {
    (cd "$place" && CARGO_HOME=$place/home MSM_CROSS=$cross contrib/packaging/build "$@")
}

# compare FILE: prints what differs.
compare() {
    local other=$place/$1
    cmp "$1" "$other" && return
    case $1 in
    *.deb)
        diff <(dpkg-deb --fsys-tarfile "$1" | tar -tv) <(dpkg-deb --fsys-tarfile "$other" | tar -tv)
        diff <(dpkg-deb -f "$1") <(dpkg-deb -f "$other")
        ;;
    *.rpm)
        diff <(rpm -qp --dump "$1") <(rpm -qp --dump "$other")
        diff <(rpm -qpi "$1") <(rpm -qpi "$other")
        ;;
    *.tar.gz) diff <(tar -tvzf "$1") <(tar -tvzf "$other") ;;
    esac
    fail "$1 differs from $other"
}

the_tree_is_cloned() {
    git rev-parse -q --verify HEAD || skip "needs a Git clone"
    clone
}

require() {
    [ -d "$place/.git" ] || skip "there is no clone: see the_tree_is_cloned"
    [ -e "$1" ] || skip "there is no package: see the other suites"
}

packed_again() {
    local file
    file=$(echo target/dist/*."$1")
    require "$file"
    cp target/release/$name "$place/target/release/"
    build_again --as-built "$1"
    compare "$file"
}

deb_is_equal() {
    packed_again deb
}

rpm_is_equal() {
    packed_again rpm
}

# With the same toolchain, in the profile of the suite `static`.
static_program_and_archive_are_equal() {
    local architecture file profile=debug
    architecture=$(uname -m)
    file=$(echo target/dist/*-"$architecture"-linux-static.tar.gz)
    require "$file"
    MSM_STATIC_TARGET_DIR=$place/target/static build_again static
    profile=$architecture-unknown-linux-musl/$profile/$name
    cmp "$cross/build/$profile" "$place/target/static/$profile" ||
        fail "$(diff <(strings "$cross/build/$profile") <(strings "$place/target/static/$profile") | head -n 40)"
    compare "$file"
}

check reproducible the_tree_is_cloned deb_is_equal rpm_is_equal static_program_and_archive_are_equal
rm -rf "$place"
finish
