# shellcheck shell=bash disable=SC2154 # run has the variables
# Sourced by run: validates the files in contrib with the tools that read them.

# shellcheck disable=SC2034 # for run
FILE_TESTS="unit_is_valid unit_creates_no_mount_namespace unit_exposure_is_below_the_limit
    init_scripts_have_valid_syntax openrc_manages_the_service launchd_property_list_is_valid"

UNIT=mount_status_monitor.service
# Options that give a service its own mount namespace (exec_needs_mount_namespace in systemd).
OWN_MOUNTS='Root(Directory|Image|Hash|Verity)|(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec)Paths|Bind(ReadOnly)?Paths|
MountImages|ExtensionImages|ExtensionDirectories|TemporaryFileSystem|MountFlags|MountAPIVFS|Private(Tmp|Devices|Mounts|
IPC|Network|Users|PIDs|BPF)|Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Proc|Hostname|
Clock)|ProcSubset|LogNamespace|NetworkNamespacePath|IPCNamespacePath|DynamicUser'

# Copies the unit (`plain`), or the unit with no-hooks.conf, or with both drop-ins (`remedies`), with the path of the built
# program.
unit_copy() {
    local to=$scratch/unit.$1
    mkdir -p "$to"
    sed "s,^ExecStart=,&$programs/," "contrib/systemd/$UNIT" >"$to/$UNIT"
    [ "$1" = plain ] || cp -r "contrib/systemd/$UNIT.d" "$to/"
    [ "$1" = remedies ] || rm -f "$to/$UNIT.d/remedies.conf"
    echo "$to/$UNIT"
}

unit_is_valid() {
    require_command systemd-analyze
    local kind output
    for kind in plain no-hooks remedies; do
        # The man page is installed by the package only.
        output=$(systemd-analyze verify --man=no "$(unit_copy $kind)" 2>&1) || fail "$kind: $output"
        [ -z "$output" ] || fail "$kind: $output"
    done
}

unit_creates_no_mount_namespace() {
    local found
    found=$(grep -rnE "^($(tr -d '\n' <<<"$OWN_MOUNTS"))=" contrib/systemd) && fail "$found"
    found=$(grep -nE '^(After|Wants|Requires|BindsTo|RequiresMountsFor)=' "contrib/systemd/$UNIT") && fail "$found"
    return 0
}

# The exposure is 0 (least) to 10; the threshold is ten times that.
unit_exposure_is_below_the_limit() {
    require_command systemd-analyze
    local kind limit output
    for kind in plain:70 no-hooks:50 remedies:65; do
        limit=${kind#*:} kind=${kind%:*}
        output=$(systemd-analyze security --no-pager --offline=true --threshold="$limit" "$(unit_copy "$kind")" 2>&1) ||
            fail "$output"
        echo "# $kind: $(sed -n 's/.*Overall exposure level[^:]*: //p' <<<"$output")"
    done
}

init_scripts_have_valid_syntax() {
    local script
    for script in contrib/openrc/* contrib/freebsd/*; do
        sh -n "$script"
    done
    # Upstart scripts are between `script` and `end script`.
    if grep '^ *script' contrib/upstart/*.conf; then fail "the job contains scripts now: check them, too"; fi
}

launchd_property_list_is_valid() {
    require_command python3
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

# Unpacks the packages instead of installing them, because OpenRC would replace the init system of this machine.
openrc_packages() {
    local to=target/service/openrc
    if [ ! -e $to/usr ]; then
        command -v apt-get >/dev/null || skip "needs apt-get, for OpenRC"
        rm -rf $to $to.deb
        mkdir -p $to.deb
        (cd $to.deb && apt-get download -qq openrc libeinfo1 librc1) >/dev/null 2>&1 || skip "needs the packages of OpenRC"
        local package
        for package in "$to.deb"/*.deb; do dpkg -x "$package" "$to.deb/all"; done
        # As on a system with merged /usr.
        mkdir -p "$to.deb/all/usr"
        cp -a "$to.deb"/all/{bin,lib,sbin} "$to.deb/all/usr/"
        mv "$to.deb/all" $to
    fi
    readlink -f $to
}

openrc_manages_the_service() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    local packages
    packages=$(openrc_packages) || { echo "$packages"; exit 77; }
    tests/service/openrc.sh "$packages" "$programs/mount_status_monitor"
}
