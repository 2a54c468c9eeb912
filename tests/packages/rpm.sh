#!/usr/bin/env bash
# Run by run, in namespaces: what the .rpm says of itself, and its life in a root with a shell and systemctl. That root is
# a Debian, so nothing can be said of dependencies beyond their names.
#
#   rpm.sh DEBIAN_ROOT
set -u
. tests/packages/common.sh
begin
scratch
root=$scratch/root
debian "$1" $root
package_file=$(echo target/dist/*.rpm)

needs_rpm() {
    command -v rpm >/dev/null || skip "needs rpm"
}

asked() {
    rpm -qp "$@" "$package_file"
}

# Its data is in the root, the program is this machine's.
rpm_there() {
    rpm --root $root --dbpath /var/lib/rpm "$@"
}

# another VERSION: the same but newer, and with another sample of the configuration.
another() {
    local tree=$scratch/another tool=$PWD/target/tools/bin/cargo-generate-rpm
    rm -rf $tree
    mkdir -p $tree/target/release $tree/src
    cp -r Cargo.toml README.md CHANGELOG.md LICENSE-* contrib $tree/
    cp -r target/packaging $tree/target/
    cp target/release/$name $tree/target/release/
    echo "# new in $1" >>$tree/contrib/config/config.toml
    (cd $tree && env -u CARGO_TARGET_DIR "$tool" -s "version = \"$1\"" -o "$scratch/$1.rpm")
}

it_says_what_it_is() {
    needs_rpm
    local version
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    asked --info
    [ "$(asked --queryformat '%{NAME} %{VERSION} %{LICENSE}')" = "$package $version MIT OR Apache-2.0" ]
    rpm -K --nosignature "$package_file"
}

it_requires_the_libraries_that_it_is_linked_with() {
    needs_rpm
    asked --requires
    asked --requires | grep -q '^libc.so.6(GLIBC_[0-9.]*)(64bit)'
    asked --requires | grep -q '^libgcc_s.so.1'
    # Nothing that Fedora and its like do not have.
    ! asked --requires | grep -vE '^(libc|libm|libgcc_s|ld-linux-x86-64|libpthread|libdl)\.so|^(rpmlib|config)\(|^/bin/sh$|^rtld\(' 
}

the_configuration_is_one_that_stays() {
    needs_rpm
    [ "$(asked --configfiles)" = "/etc/$name/config.toml" ]
    # 1: %config, 16: noreplace
    asked --queryformat '[%{FILENAMES} %{FILEFLAGS}\n]' | grep -qx "/etc/$name/config.toml 17"
}

it_installs() {
    needs_rpm
    asked --scripts
    rpm_there --initdb
    rpm_there --nodeps -i "$package_file"
    rpm_there -V --nodeps $package
    [ "$(in_root $root systemctl is-enabled $name.service)" = enabled ]
}

files_lie_where_they_belong() {
    needs_rpm
    local mode file
    while read -r mode file; do
        [ "$(stat -c '%a %U:%G' "$root$file")" = "$mode root:root" ] || fail "$file: $(stat -c '%a %U:%G' "$root$file")"
    done <<FILES
755 /etc/$name/conf.d
644 /etc/$name/config.toml
755 /usr/bin/$name
644 /usr/lib/systemd/system/$name.service
644 /usr/share/man/man8/$name.8
644 /usr/share/man/man5/$name.toml.5
644 /usr/share/bash-completion/completions/$name
644 /usr/share/zsh/site-functions/_$name
644 /usr/share/fish/vendor_completions.d/$name.fish
644 /usr/share/licenses/$package/LICENSE-MIT
644 /usr/share/doc/$package/prometheus/$name.rules.yml
FILES
}

it_runs() {
    needs_rpm
    in_root $root $name --check-config
    in_root $root $name --once-only --syslog off 2>&1 | grep -E 'Checked [1-9][0-9]* mounts?; 0 are dead'
}

an_upgrade_keeps_what_was_changed() {
    needs_rpm
    in_root $root systemctl disable $name.service
    echo 'poll_interval = 30' >$root/etc/$name/config.toml
    another 99.0
    rpm_there --nodeps -U "$scratch/99.0.rpm"
    [ "$(rpm_there -q --queryformat '%{VERSION}' $package)" = 99.0 ]
    [ "$(cat $root/etc/$name/config.toml)" = 'poll_interval = 30' ]
    grep -qx '# new in 99.0' $root/etc/$name/config.toml.rpmnew
    [ "$(in_root $root systemctl is-enabled $name.service)" = disabled ]
}

an_upgrade_brings_the_new_sample() {
    needs_rpm
    mv $root/etc/$name/config.toml.rpmnew $root/etc/$name/config.toml
    another 99.1
    rpm_there --nodeps -U "$scratch/99.1.rpm"
    grep -qx '# new in 99.1' $root/etc/$name/config.toml
}

a_removal_keeps_what_was_changed_and_nothing_else() {
    needs_rpm
    in_root $root systemctl enable $name.service
    echo 'poll_interval = 30' >$root/etc/$name/config.toml
    rpm_there -e $package
    [ "$(cd $root && find . -xdev \( -name "*$name*" -o -name "*$package*" \) | tr '\n' ' ')" = "./etc/$name " ]
    [ "$(ls $root/etc/$name)" = config.toml.rpmsave ]
}

check rpm it_says_what_it_is it_requires_the_libraries_that_it_is_linked_with the_configuration_is_one_that_stays \
    it_installs files_lie_where_they_belong it_runs an_upgrade_keeps_what_was_changed an_upgrade_brings_the_new_sample \
    a_removal_keeps_what_was_changed_and_nothing_else
finish
