#!/usr/bin/env bash
# Run by run, in namespaces: the .deb from its installation to its purge, in a clean Debian. The tests build on each
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
# Where files are that no purge is responsible for.
not_ours='^\./(proc|run|dev|tmp|root|var/(cache|log|lib/dpkg)|\.complete)(/|$)'

there() {
    in_root $root "$@"
}

listing() {
    (cd $root && find . -xdev | grep -vE "$not_ours" | sort)
}

# another VERSION: the same, but newer and with another sample of the configuration. No compiler is needed for that.
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
    there dpkg --force-confdef --force-confold -i "/tmp/$1" </dev/null
}

state() {
    there dpkg-query -W -f '${db:Status-Abbrev}' $package
}

it_is_named_and_versioned_as_the_program() {
    local version
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    [ "$(dpkg-deb -f "$deb" Package)" = $package ]
    [ "$(dpkg-deb -f "$deb" Version)" = "$version-1" ]
    dpkg-parsechangelog -l contrib/packaging/debian/changelog -S Version | grep -qx "$version-1"
}

it_depends_on_the_libraries_that_it_is_linked_with() {
    local library
    dpkg-deb -f "$deb" Depends
    dpkg-deb -f "$deb" Depends | grep -qE 'libc6 \(>= [0-9.]+\)'
    for library in $(ldd target/release/$name | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p'); do
        library=$(dpkg -S "$library" | sed 's/:.*//')
        [ -n "$library" ]
        # cargo-deb leaves it out, for the C library brings it.
        if [ "$library" = libgcc-s1 ]; then
            there dpkg-query -W -f '${Depends}' libc6 | grep -q libgcc-s1
        else
            dpkg-deb -f "$deb" Depends | grep -q "$library" || fail "does not depend on $library"
        fi
    done
}

lintian_is_content() {
    command -v lintian >/dev/null || skip "needs lintian"
    # It is no package of Debian's own, whose changelog closes a bug.
    lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$deb"
}

it_installs_where_systemd_does_not_run() {
    cp "$deb" $root/tmp/first.deb
    listing >$scratch/before
    install first.deb
    [ "$(state)" = 'ii ' ]
    there dpkg --verify $package
}

files_lie_where_they_belong() {
    local doc=/usr/share/doc/$package file
    while read -r mode file; do
        [ "$(stat -c '%a %U:%G' "$root$file")" = "$mode root:root" ] || fail "$file: $(stat -c '%a %U:%G' "$root$file")"
    done <<FILES
755 /etc/$name
755 /etc/$name/conf.d
644 /etc/$name/config.toml
755 /usr/bin/$name
644 /usr/lib/systemd/system/$name.service
644 /usr/share/man/man8/$name.8.gz
644 /usr/share/man/man5/$name.toml.5.gz
644 /usr/share/bash-completion/completions/$name
644 /usr/share/zsh/vendor-completions/_$name
644 /usr/share/fish/vendor_completions.d/$name.fish
644 $doc/copyright
644 $doc/changelog.Debian.gz
644 $doc/examples/prometheus/$name.rules.yml
FILES
    # And nothing else that runs or configures.
    for file in $(there dpkg -L $package); do
        case $file in
        /etc | /etc/$name | /etc/$name/config.toml | /usr/share/* | /usr/lib/systemd/system/$name.service) ;;
        /usr/bin/$name | /. | /usr | /usr/bin | /usr/share | /usr/lib | /usr/lib/systemd | /usr/lib/systemd/system) ;;
        *) fail "unexpected: $file" ;;
        esac
    done
}

the_unit_is_enabled_and_valid() {
    [ "$(there systemctl is-enabled $name.service)" = enabled ]
    [ -L $root/etc/systemd/system/multi-user.target.wants/$name.service ]
    there systemd-analyze verify /usr/lib/systemd/system/$name.service
}

the_manual_is_there_and_formats() {
    local page
    for page in "8 $name SYNOPSIS" "5 $name.toml rule"; do
        # shellcheck disable=SC2086 # several words
        set -- $page
        there sh -c "MANWIDTH=100 man --warnings -E UTF-8 $1 $2 2>/tmp/warnings" >$scratch/page
        grep -q "$3" $scratch/page
        [ ! -s $root/tmp/warnings ] || fail "$(cat $root/tmp/warnings)"
    done
}

bash_completes() {
    # By way of the loader that an interactive shell uses, which looks for the file by the command's name.
    there bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader mount_status_monitor
        complete -p mount_status_monitor' | grep -q ' mount_status_monitor$'
    there bash -c '. /usr/share/bash-completion/completions/mount_status_monitor
        COMP_WORDS=(mount_status_monitor --poll) COMP_CWORD=1
        "$(complete -p mount_status_monitor | sed "s/.*-F \([^ ]*\).*/\1/")" mount_status_monitor --poll mount_status_monitor
        echo "${COMPREPLY[@]}"' | grep -q -- --poll-interval
}

the_configuration_is_the_sample_and_loads() {
    cmp contrib/config/config.toml $root/etc/$name/config.toml
    there dpkg-query -W -f '${Conffiles}\n' $package | grep -q " /etc/$name/config.toml "
    there $name --check-config
}

it_runs() {
    # For root and for anybody.
    for user in 0:0 65534:65534; do
        chroot --userspec=$user $root /usr/bin/$name --once-only --syslog off >$scratch/out 2>&1 || fail "$(cat $scratch/out)"
        grep -qE 'Checked [1-9][0-9]* mounts?; 0 are dead' $scratch/out || fail "$(cat $scratch/out)"
    done
}

an_upgrade_brings_the_new_sample() {
    another 99.0
    install 99.0.deb
    [ "$(state)" = 'ii ' ]
    grep -qx '# new in 99.0' $root/etc/$name/config.toml
}

an_upgrade_keeps_what_was_changed() {
    echo 'poll_interval = 30' >$root/etc/$name/config.toml
    echo 'timeout = 5' >$root/etc/$name/conf.d/site.toml
    there systemctl disable $name.service
    another 99.1
    install 99.1.deb
    [ "$(state)" = 'ii ' ]
    [ "$(cat $root/etc/$name/config.toml)" = 'poll_interval = 30' ]
    [ "$(cat $root/etc/$name/conf.d/site.toml)" = 'timeout = 5' ]
    # What would have been new lies beside it.
    grep -qx '# new in 99.1' $root/etc/$name/config.toml.dpkg-dist
    # Who has switched it off has switched it off.
    [ "$(there systemctl is-enabled $name.service)" = disabled ]
    there systemctl enable $name.service
}

a_removal_keeps_the_configuration() {
    there dpkg -r $package
    [ "$(state)" = 'rc ' ]
    [ ! -e $root/usr/bin/$name ]
    [ ! -e $root/usr/lib/systemd/system/$name.service ]
    [ "$(cat $root/etc/$name/config.toml)" = 'poll_interval = 30' ]
    [ "$(cat $root/etc/$name/conf.d/site.toml)" = 'timeout = 5' ]
}

it_comes_back_with_its_configuration() {
    install 99.1.deb
    [ "$(state)" = 'ii ' ]
    [ "$(there systemctl is-enabled $name.service)" = enabled ]
    there $name --check-config | grep -q 30
}

a_purge_keeps_what_is_not_of_the_package() {
    there dpkg -P $package
    [ ! -e $root/etc/$name/config.toml ]
    [ "$(cat $root/etc/$name/conf.d/site.toml)" = 'timeout = 5' ]
    rm $root/etc/$name/conf.d/site.toml
}

a_purge_leaves_nothing() {
    install first.deb
    there dpkg -P $package
    listing >$scratch/after
    diff $scratch/before $scratch/after
    ! there dpkg-query -W $package
}

check deb it_is_named_and_versioned_as_the_program it_depends_on_the_libraries_that_it_is_linked_with lintian_is_content \
    it_installs_where_systemd_does_not_run files_lie_where_they_belong the_unit_is_enabled_and_valid \
    the_manual_is_there_and_formats bash_completes the_configuration_is_the_sample_and_loads it_runs \
    an_upgrade_brings_the_new_sample an_upgrade_keeps_what_was_changed a_removal_keeps_the_configuration \
    it_comes_back_with_its_configuration a_purge_keeps_what_is_not_of_the_package a_purge_leaves_nothing
finish
