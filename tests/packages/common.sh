# shellcheck shell=bash
# Shared by the suites. Sourced.

debian_suite=bookworm
# shellcheck disable=SC2034 # used by the suites
debian_root=$PWD/target/packages/$debian_suite
# shellcheck disable=SC2034
name=mount_status_monitor
# shellcheck disable=SC2034
package=mount-status-monitor

begin() {
    passed=0 failed=0 ignored=0
}

# report SUITE TEST ok|FAILED|ignored [WHY]
report() {
    case $3 in
    ok) passed=$((passed + 1)) ;;
    FAILED) failed=$((failed + 1)) ;;
    ignored) ignored=$((ignored + 1)) ;;
    esac
    echo "test $1::$2 ... $3${4:+, $4}"
}

# check SUITE TEST...: runs each test function in a subshell. Its trace is printed when it fails.
check() {
    local suite=$1 test log
    shift
    log=$(mktemp)
    why=$log.why
    for test; do
        (
            set -eux
            "$test"
        ) >"$log" 2>&1
        case $? in
        0) report "$suite" "$test" ok ;;
        77) report "$suite" "$test" ignored "$(cat "$why")" ;;
        *)
            report "$suite" "$test" FAILED
            tail -n 40 "$log" | sed 's/^/    | /'
            ;;
        esac
    done
    rm -f "$log" "$why"
}

skip() {
    echo "$*" >"$why"
    exit 77
}

fail() {
    echo "$*"
    exit 1
}

finish() {
    echo "test result: $([ "$failed" = 0 ] && echo ok || echo FAILED). $passed passed; $failed failed; $ignored ignored"
    [ "$failed" = 0 ]
}

# scratch: mounts a tmpfs. Only called in a mount namespace.
scratch() {
    scratch=/mnt
    mount -t tmpfs -o mode=755 scratch $scratch
}

# debian LOWER ROOT: mounts a clean Debian at ROOT, with /proc, /run and /dev. Changes are discarded.
debian() {
    local lower=$1 root=$2 device
    mkdir -p "$root" "$root.upper" "$root.work"
    mount -t overlay -o "lowerdir=$lower,upperdir=$root.upper,workdir=$root.work" clean "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755 run "$root/run"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for device in null zero full random urandom; do
        : >"$root/dev/$device"
        mount --bind /dev/$device "$root/dev/$device"
    done
    ln -s /proc/self/fd "$root/dev/fd"
}

# in_root ROOT COMMAND...: with a clean environment and a timeout.
in_root() {
    local root=$1
    shift
    timeout -k 1 120 chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
