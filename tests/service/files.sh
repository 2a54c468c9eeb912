# shellcheck shell=bash disable=SC2154 # run has the variables
# Sourced by run: the files in contrib, each held against a tool that reads such files.

# shellcheck disable=SC2034 # for run
FILE_TESTS="the_unit_is_valid no_option_makes_a_mount_namespace the_unit_is_exposed_as_little_as_it_says
    scripts_are_shell openrc_runs_it the_property_list_is_valid"

UNIT=mount_status_monitor.service
# Options that give a service mounts of its own (exec_needs_mount_namespace in systemd).
OWN_MOUNTS='Root(Directory|Image|Hash|Verity)|(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec)Paths|Bind(ReadOnly)?Paths|
MountImages|ExtensionImages|ExtensionDirectories|TemporaryFileSystem|MountFlags|MountAPIVFS|Private(Tmp|Devices|Mounts|
IPC|Network|Users|PIDs|BPF)|Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Proc|Hostname|
Clock)|ProcSubset|LogNamespace|NetworkNamespacePath|IPCNamespacePath|DynamicUser'

# A copy of the unit, with the drop-in if asked for, that names a program which is there.
unit_copy() {
    local to=$scratch/unit.$1
    mkdir -p "$to"
    sed "s,^ExecStart=,&$programs/," "contrib/systemd/$UNIT" >"$to/$UNIT"
    [ "$1" = plain ] || cp -r "contrib/systemd/$UNIT.d" "$to/"
    echo "$to/$UNIT"
}

the_unit_is_valid() {
    needs systemd-analyze
    local kind said
    for kind in plain no-hooks; do
        # The man page comes with the package.
        said=$(systemd-analyze verify --man=no "$(unit_copy $kind)" 2>&1) || fail "$kind: $said"
        [ -z "$said" ] || fail "$kind: $said"
    done
}

no_option_makes_a_mount_namespace() {
    local found
    found=$(grep -rnE "^($(tr -d '\n' <<<"$OWN_MOUNTS"))=" contrib/systemd) && fail "$found"
    found=$(grep -nE '^(After|Wants|Requires|BindsTo|RequiresMountsFor)=' "contrib/systemd/$UNIT") && fail "$found"
    return 0
}

# The score is 0 (nothing is possible) to 10; systemd multiplies the limit by ten.
the_unit_is_exposed_as_little_as_it_says() {
    needs systemd-analyze
    local kind limit said
    for kind in plain:70 no-hooks:50; do
        limit=${kind#*:} kind=${kind%:*}
        said=$(systemd-analyze security --no-pager --offline=true --threshold="$limit" "$(unit_copy "$kind")" 2>&1) ||
            fail "$said"
        echo "# $kind: $(sed -n 's/.*Overall exposure level[^:]*: //p' <<<"$said")"
    done
}

scripts_are_shell() {
    local script
    for script in contrib/openrc/* contrib/freebsd/*; do
        sh -n "$script"
    done
    # What upstart runs is between `script` and `end script`.
    if grep '^ *script' contrib/upstart/*.conf; then fail "there are scripts now: check them too"; fi
}

the_property_list_is_valid() {
    needs python3
    python3 - contrib/launchd/*.plist <<'PYTHON'
import pathlib, plistlib, sys
path = pathlib.Path(sys.argv[1])
job = plistlib.loads(path.read_bytes())
assert job["Label"] == path.stem, job["Label"]
assert job["ProgramArguments"][0].endswith("/mount_status_monitor"), job["ProgramArguments"]
known = {"Label", "ProgramArguments", "RunAtLoad", "KeepAlive", "ThrottleInterval", "ExitTimeOut", "ProcessType",
         "StandardErrorPath", "AbandonProcessGroup", "WorkingDirectory"}
assert set(job) <= known, set(job) - known
PYTHON
}

# The packages and not an installation: OpenRC would take this machine over.
openrc_packages() {
    local to=target/service/openrc
    if [ ! -e $to/usr ]; then
        command -v apt-get >/dev/null || skip "needs apt-get, for OpenRC"
        rm -rf $to $to.deb
        mkdir -p $to.deb
        (cd $to.deb && apt-get download -qq openrc libeinfo1 librc1) >/dev/null 2>&1 || skip "needs the packages of OpenRC"
        local package
        for package in "$to.deb"/*.deb; do dpkg -x "$package" "$to.deb/all"; done
        # As on a machine whose /bin is /usr/bin.
        mkdir -p "$to.deb/all/usr"
        cp -a "$to.deb"/all/{bin,lib,sbin} "$to.deb/all/usr/"
        mv "$to.deb/all" $to
    fi
    readlink -f $to
}

openrc_runs_it() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    local packages
    packages=$(openrc_packages) || { echo "$packages"; exit 77; }
    tests/service/openrc.sh "$packages" "$programs/mount_status_monitor"
}
