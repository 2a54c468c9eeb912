#!/usr/bin/env bash
# Started by run in namespaces: tests the .deb from installation to purge in a clean Debian. The tests depend on each
# other.
#
#   deb.sh DEBIAN_ROOT
# shellcheck disable=SC2016,SC2086,SC2254 # formats of dpkg, scripts for other shells, names without blanks
set -u
. tests/packages/common.sh
begin
scratch
root=$scratch/root
debian "$1" $root
deb=$(echo target/dist/*.deb)
# Files that the purge need not remove.
not_ours='^\./(proc|run|dev|tmp|root|var/(cache|log|lib/dpkg)|\.complete)(/|$)'

in_debian() {
    in_root $root "$@"
}

listing() {
    (cd $root && find . -xdev | grep -vE "$not_ours" | sort)
}

# another VERSION: builds a newer version of the package with another sample configuration, without compiling.
another() {
    local tree=$scratch/another
    rm -rf $tree
    dpkg-deb -R "$deb" $tree
    sed -i "s/^Version: .*/Version: $1/" $tree/DEBIAN/control
    echo "# new in $1" >>$tree/etc/$name/config.toml
    (cd $tree && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums)
    dpkg-deb --root-owner-group -b $tree $root/tmp/$1.deb >/dev/null
}

install() {
    in_debian dpkg --force-confdef --force-confold -i "/tmp/$1" </dev/null
}

state() {
    in_debian dpkg-query -W -f '${db:Status-Abbrev}' $package
}

name_and_version_match_the_program() {
    local version
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    [ "$(dpkg-deb -f "$deb" Package)" = $package ]
    [ "$(dpkg-deb -f "$deb" Version)" = "$version-1" ]
    dpkg-parsechangelog -l target/packaging/debian/changelog -S Version | grep -qx "$version-1"
}

# As Debian's tools do, or from the commit. There is no third way, so no package has a wrong address.
maintainer_is_who_builds() {
    local script=contrib/packaging/maintainer output
    unset DEBFULLNAME DEBEMAIL
    [ "$(DEBFULLNAME='A B' DEBEMAIL=a@b.test $script)" = 'A B <a@b.test>' ]
    [ "$(DEBEMAIL='A B <a@b.test>' $script)" = 'A B <a@b.test>' ]
    if git rev-parse HEAD >/dev/null 2>&1; then
        [ "$($script)" = "$(git log -1 --format='%an <%ae>')" ]
    fi
    if output=$(DEBEMAIL=a@b.test $script 2>&1); then fail "no name: $output"; fi
    if output=$(GIT_DIR=/nonexistent $script 2>&1); then fail "no commit: $output"; fi
    [ "$(wc -l <<<"$output")" = 1 ] && grep -q 'set DEBFULLNAME and DEBEMAIL' <<<"$output"
    output=$(dpkg-deb -f "$deb" Maintainer)
    [ -n "$output" ]
    [ "$(dpkg-parsechangelog -l target/packaging/debian/changelog -S Maintainer)" = "$output" ]
}

dependencies_cover_linked_libraries() {
    local library
    dpkg-deb -f "$deb" Depends
    dpkg-deb -f "$deb" Depends | grep -qE 'libc6 \(>= [0-9.]+\)'
    for library in $(ldd target/release/$name | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p'); do
        library=$(dpkg -S "$library" | sed 's/:.*//')
        [ -n "$library" ]
        # cargo-deb omits it, because libc6 depends on it.
        if [ "$library" = libgcc-s1 ]; then
            in_debian dpkg-query -W -f '${Depends}' libc6 | grep -q libgcc-s1
        else
            dpkg-deb -f "$deb" Depends | grep -q "$library" || fail "does not depend on $library"
        fi
    done
}

lintian_accepts_the_package() {
    command -v lintian >/dev/null || skip "needs lintian"
    # Only packages of Debian itself close a bug in their first changelog entry.
    lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$deb"
}

package_installs_without_running_systemd() {
    cp "$deb" $root/tmp/first.deb
    listing >$scratch/before
    install first.deb
    [ "$(state)" = 'ii ' ]
    in_debian dpkg --verify $package
}

files_have_their_paths_and_modes() {
    local doc=/usr/share/doc/$package file
    while read -r mode file; do
        [ "$(stat -c '%a %U:%G' "$root$file")" = "$mode root:root" ] || fail "$file: $(stat -c '%a %U:%G' "$root$file")"
    done <<FILES
755 /etc/$name
755 /etc/$name/conf.d
644 /etc/$name/config.toml
755 /usr/bin/$name
644 /usr/lib/systemd/system/$name.service
644 /usr/lib/systemd/catalog/$name.catalog
644 /usr/share/man/man8/$name.8.gz
644 /usr/share/man/man5/$name.toml.5.gz
644 /usr/share/bash-completion/completions/$name
644 /usr/share/zsh/vendor-completions/_$name
644 /usr/share/fish/vendor_completions.d/$name.fish
644 $doc/copyright
644 $doc/changelog.gz
644 $doc/changelog.Debian.gz
644 $doc/examples/prometheus/$name.rules.yml
FILES
    # No other program or configuration is installed.
    for file in $(in_debian dpkg -L $package); do
        case $file in
        /etc | /etc/$name | /etc/$name/config.toml | /usr/share/* | /usr/lib/systemd/*/$name.*) ;;
        /usr/bin/$name | /. | /usr | /usr/bin | /usr/share | /usr/lib | /usr/lib/systemd | /usr/lib/systemd/system | /usr/lib/systemd/catalog) ;;
        *) fail "unexpected: $file" ;;
        esac
    done
}

changelogs_and_licences_are_complete() {
    local doc=$root/usr/share/doc/$package crate
    zcat $doc/changelog.gz | cmp - CHANGELOG.md
    zcat $doc/changelog.Debian.gz | cmp - target/packaging/debian/changelog
    [ ! -e $doc/CHANGELOG.md ] && [ ! -e $doc/NEWS.md ]
    for crate in $(cargo tree --locked --offline -enormal,no-proc-macro --prefix=none --format='{p}' | awk '{ print $1 }' |
        grep -v ^$name | sort -u); do
        grep -qE "^ $crate [0-9][^:]*: " $doc/copyright || fail "no licence of $crate"
    done
    # Debian refers to its copy of the text.
    ! grep -q 'TERMS AND CONDITIONS FOR USE' $doc/copyright
}

unit_is_enabled_and_valid() {
    [ "$(in_debian systemctl is-enabled $name.service)" = enabled ]
    [ -L $root/etc/systemd/system/multi-user.target.wants/$name.service ]
    # `systemctl status mount-status-monitor` finds the unit by its alias.
    [ "$(basename "$(readlink $root/etc/systemd/system/$package.service)")" = $name.service ]
    in_debian systemd-analyze verify /usr/lib/systemd/system/$name.service
}

manual_pages_format_without_warnings() {
    local page
    for page in "8 $name SYNOPSIS" "5 $name.toml rule"; do
        # shellcheck disable=SC2086 # several words
        set -- $page
        in_debian sh -c "MANWIDTH=100 man --warnings -E UTF-8 $1 $2 2>/tmp/warnings" >$scratch/page
        grep -q "$3" $scratch/page
        [ ! -s $root/tmp/warnings ] || fail "$(cat $root/tmp/warnings)"
    done
}

bash_completion_works() {
    # With the loader of interactive shells, which finds the file by the name of the command.
    in_debian bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader mount_status_monitor
        complete -p mount_status_monitor' | grep -q ' mount_status_monitor$'
    in_debian bash -c '. /usr/share/bash-completion/completions/mount_status_monitor
        COMP_WORDS=(mount_status_monitor --poll) COMP_CWORD=1
        "$(complete -p mount_status_monitor | sed "s/.*-F \([^ ]*\).*/\1/")" mount_status_monitor --poll mount_status_monitor
        echo "${COMPREPLY[@]}"' | grep -q -- --poll-interval
}

configuration_is_the_sample_and_loads() {
    cmp contrib/config/config.toml $root/etc/$name/config.toml
    in_debian dpkg-query -W -f '${Conffiles}\n' $package | grep -q " /etc/$name/config.toml "
    in_debian $name --check-config
}

program_runs() {
    # As root and as an ordinary user.
    for user in 0:0 65534:65534; do
        chroot --userspec=$user $root /usr/bin/$name --once-only --syslog off >$scratch/out 2>&1 || fail "$(cat $scratch/out)"
        grep -qE 'Checked [1-9][0-9]* mounts?; 0 are dead' $scratch/out || fail "$(cat $scratch/out)"
    done
}

upgrade_installs_the_new_sample() {
    another 99.0
    install 99.0.deb
    [ "$(state)" = 'ii ' ]
    grep -qx '# new in 99.0' $root/etc/$name/config.toml
}

upgrade_keeps_local_changes() {
    echo 'poll_interval = 30' >$root/etc/$name/config.toml
    echo 'timeout = 5' >$root/etc/$name/conf.d/site.toml
    in_debian systemctl disable $name.service
    another 99.1
    install 99.1.deb
    [ "$(state)" = 'ii ' ]
    [ "$(cat $root/etc/$name/config.toml)" = 'poll_interval = 30' ]
    [ "$(cat $root/etc/$name/conf.d/site.toml)" = 'timeout = 5' ]
    # The new sample is installed beside it.
    grep -qx '# new in 99.1' $root/etc/$name/config.toml.dpkg-dist
    # A disabled unit stays disabled.
    [ "$(in_debian systemctl is-enabled $name.service)" = disabled ]
    in_debian systemctl enable $name.service
}

removal_keeps_the_configuration() {
    in_debian dpkg -r $package
    [ "$(state)" = 'rc ' ]
    [ ! -e $root/usr/bin/$name ]
    [ ! -e $root/usr/lib/systemd/system/$name.service ]
    [ "$(cat $root/etc/$name/config.toml)" = 'poll_interval = 30' ]
    [ "$(cat $root/etc/$name/conf.d/site.toml)" = 'timeout = 5' ]
}

reinstallation_uses_the_kept_configuration() {
    install 99.1.deb
    [ "$(state)" = 'ii ' ]
    [ "$(in_debian systemctl is-enabled $name.service)" = enabled ]
    in_debian $name --check-config | grep -q 30
}

purge_keeps_foreign_files() {
    in_debian dpkg -P $package
    [ ! -e $root/etc/$name/config.toml ]
    [ "$(cat $root/etc/$name/conf.d/site.toml)" = 'timeout = 5' ]
    rm $root/etc/$name/conf.d/site.toml
}

# The package of 2.x had its unit in /etc, where it would override the one of this package.
upgrade_from_2_replaces_its_unit() {
    local tree=$scratch/two
    mkdir -p $tree/DEBIAN $tree/etc/systemd/system $tree/etc/sysconfig $tree/usr/sbin
    printf '%s\n' "Package: $package" 'Version: 2.1.5' 'Architecture: all' 'Maintainer: A B <a@b.test>' 'Description: 2.x' \
        >$tree/DEBIAN/control
    printf '%s\n' /etc/systemd/system/$name.service /etc/sysconfig/$name >$tree/DEBIAN/conffiles
    printf '%s\n' '[Service]' "ExecStart=/usr/sbin/$name" >$tree/etc/systemd/system/$name.service
    echo 'EXTRA_ARGS=""' >$tree/etc/sysconfig/$name
    cp /bin/true $tree/usr/sbin/$name
    dpkg-deb --root-owner-group -b $tree $root/tmp/two.deb >/dev/null
    in_debian dpkg -i /tmp/two.deb </dev/null
    [ -e $root/etc/systemd/system/$name.service ]
    in_debian dpkg --force-confdef --force-confold -i /tmp/first.deb </dev/null
    [ "$(state)" = 'ii ' ]
    [ ! -e $root/etc/systemd/system/$name.service ]
    [ ! -e $root/etc/sysconfig/$name ]
    [ ! -e $root/usr/sbin/$name ]
    [ "$(in_debian systemctl is-enabled $name.service)" = enabled ]
    in_debian dpkg -P $package
    # A directory of 2.x.
    rmdir $root/etc/sysconfig 2>/dev/null || true
}

purge_removes_everything() {
    install first.deb
    in_debian dpkg -P $package
    listing >$scratch/after
    diff $scratch/before $scratch/after
    ! in_debian dpkg-query -W $package
}

check deb name_and_version_match_the_program maintainer_is_who_builds dependencies_cover_linked_libraries \
    lintian_accepts_the_package package_installs_without_running_systemd files_have_their_paths_and_modes \
    changelogs_and_licences_are_complete unit_is_enabled_and_valid manual_pages_format_without_warnings \
    bash_completion_works configuration_is_the_sample_and_loads program_runs upgrade_installs_the_new_sample \
    upgrade_keeps_local_changes removal_keeps_the_configuration reinstallation_uses_the_kept_configuration \
    purge_keeps_foreign_files upgrade_from_2_replaces_its_unit purge_removes_everything
finish
