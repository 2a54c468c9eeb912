#!/usr/bin/env bash
# Started by run in namespaces: tests the metadata of the .rpm, and installs it in a root with a shell and systemctl.
# This root is a Debian, so only the names of the dependencies are checked.
#
#   rpm.sh DEBIAN_ROOT
set -u
. tests/packages/common.sh
begin
scratch
root=$scratch/root
debian "$1" $root
package_file=$(echo target/dist/*.rpm)

require_rpm() {
    command -v rpm >/dev/null || skip "needs rpm"
}

query_package() {
    rpm -qp "$@" "$package_file"
}

# The rpm of this machine with the database of the root.
rpm_in_root() {
    rpm --root $root --dbpath /var/lib/rpm "$@"
}

# another VERSION: builds a newer version of the package with another sample configuration.
another() {
    local tree=$scratch/another tool=$PWD/target/tools/bin/cargo-generate-rpm
    rm -rf $tree
    # The files that the package was made of.
    cp -r target/packaging/rpm/tree $tree
    echo "# new in $1" >>$tree/contrib/config/config.toml
    (cd $tree && env -u CARGO_TARGET_DIR "$tool" --payload-compress none -s "version = \"$1\"" -o "$scratch/$1.rpm")
}

metadata_matches_the_program() {
    require_rpm
    local version
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    query_package --info
    [ "$(query_package --queryformat '%{NAME} %{VERSION} %{LICENSE}')" = "$package $version MIT OR Apache-2.0" ]
    rpm -K --nosignature "$package_file"
}

# Errors and warnings that are not listed fail.
rpmlint_accepts_the_package() {
    command -v rpmlint >/dev/null || skip "needs rpmlint"
    rpmlint --strict --rpmlintrc contrib/packaging/rpm/rpmlintrc "$package_file"
}

dependencies_cover_linked_libraries() {
    require_rpm
    query_package --requires
    query_package --requires | grep -q '^libc.so.6(GLIBC_[0-9.]*)(64bit)'
    query_package --requires | grep -q '^libgcc_s.so.1'
    # Only libraries that Fedora and similar distributions have.
    ! query_package --requires | grep -vE '^(libc|libm|libgcc_s|ld-linux-x86-64|libpthread|libdl)\.so|^(rpmlib|config)\(|^/bin/sh$|^rtld\('
}

configuration_is_marked_noreplace() {
    require_rpm
    [ "$(query_package --configfiles)" = "/etc/$name/config.toml" ]
    # 1: %config, 16: noreplace
    query_package --queryformat '[%{FILENAMES} %{FILEFLAGS}\n]' | grep -qx "/etc/$name/config.toml 17"
}

package_installs() {
    require_rpm
    query_package --scripts
    rpm_in_root --initdb
    rpm_in_root --nodeps -i "$package_file"
    rpm_in_root -V --nodeps $package
    [ "$(in_root $root systemctl is-enabled $name.service)" = enabled ]
    # `systemctl status mount-status-monitor` finds the unit by its alias.
    [ "$(basename "$(readlink $root/etc/systemd/system/$package.service)")" = $name.service ]
}

files_have_their_paths_and_modes() {
    require_rpm
    local mode file
    while read -r mode file; do
        [ "$(stat -c '%a %U:%G' "$root$file")" = "$mode root:root" ] || fail "$file: $(stat -c '%a %U:%G' "$root$file")"
    done <<FILES
755 /etc/$name/conf.d
644 /etc/$name/config.toml
755 /usr/bin/$name
644 /usr/lib/systemd/system/$name.service
644 /usr/lib/systemd/catalog/$name.catalog
644 /usr/share/man/man8/$name.8
644 /usr/share/man/man5/$name.toml.5
644 /usr/share/bash-completion/completions/$name
644 /usr/share/zsh/site-functions/_$name
644 /usr/share/fish/vendor_completions.d/$name.fish
644 /usr/share/licenses/$package/LICENSE-MIT
644 /usr/share/licenses/$package/THIRD-PARTY-LICENSES
644 /usr/share/doc/$package/prometheus/$name.rules.yml
FILES
}

program_runs() {
    require_rpm
    in_root $root $name --check-config
    in_root $root $name --once-only --syslog off 2>&1 | grep -E 'Checked [1-9][0-9]* mounts?; 0 are dead'
}

upgrade_keeps_local_changes() {
    require_rpm
    in_root $root systemctl disable $name.service
    echo 'poll_interval = 30' >$root/etc/$name/config.toml
    another 99.0
    rpm_in_root --nodeps -U "$scratch/99.0.rpm"
    [ "$(rpm_in_root -q --queryformat '%{VERSION}' $package)" = 99.0 ]
    [ "$(cat $root/etc/$name/config.toml)" = 'poll_interval = 30' ]
    grep -qx '# new in 99.0' $root/etc/$name/config.toml.rpmnew
    [ "$(in_root $root systemctl is-enabled $name.service)" = disabled ]
}

upgrade_installs_the_new_sample() {
    require_rpm
    mv $root/etc/$name/config.toml.rpmnew $root/etc/$name/config.toml
    another 99.1
    rpm_in_root --nodeps -U "$scratch/99.1.rpm"
    grep -qx '# new in 99.1' $root/etc/$name/config.toml
}

removal_keeps_only_changed_configuration() {
    require_rpm
    in_root $root systemctl enable $name.service
    echo 'poll_interval = 30' >$root/etc/$name/config.toml
    rpm_in_root -e $package
    [ "$(cd $root && find . -xdev \( -name "*$name*" -o -name "*$package*" \) | tr '\n' ' ')" = "./etc/$name " ]
    [ "$(ls $root/etc/$name)" = config.toml.rpmsave ]
}

check rpm metadata_matches_the_program rpmlint_accepts_the_package dependencies_cover_linked_libraries \
    configuration_is_marked_noreplace package_installs files_have_their_paths_and_modes program_runs \
    upgrade_keeps_local_changes upgrade_installs_the_new_sample removal_keeps_only_changed_configuration
finish
