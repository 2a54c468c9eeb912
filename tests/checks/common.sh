# shellcheck shell=bash
# Shared by the checks. Sourced. The output has the format of libtest, for tests/run.
passed=0 failed=0 ignored=0

# report TEST STATUS [WHAT]: STATUS is an exit status, or `ignored`.
report() {
    case $2 in
    ignored)
        ignored=$((ignored + 1))
        echo "test checks::$1 ($3) ... ignored"
        ;;
    0)
        passed=$((passed + 1))
        echo "test checks::$1 ... ok${3:+, $3}"
        ;;
    *)
        failed=$((failed + 1))
        echo "test checks::$1 ... FAILED${3:+, $3}"
        ;;
    esac
}

finish() {
    echo "test result: $([ "$failed" = 0 ] && echo ok || echo FAILED). $passed passed; $failed failed; $ignored ignored"
    exit $((failed > 0))
}

# need TEST COMMAND: without the command, the check is skipped.
need() {
    command -v "$2" >/dev/null && return
    report "$1" ignored "needs $2"
    finish
}

# python_tools FOLDER PACKAGE==VERSION...: installs packages from PyPI once, below target/FOLDER, which is then in $tools.
# Prints why it cannot.
python_tools() {
    local packages=${*:2} log status
    tools=${CARGO_TARGET_DIR:-target}/$1
    [ "$(cat "$tools/packages" 2>/dev/null)" != "$packages" ] || return 0
    log=$(mktemp) || return 1
    # shellcheck disable=SC2086 # several packages
    python3 -m venv "$tools" >"$log" 2>&1 &&
        timeout 300 "$tools/bin/pip" install -q --only-binary :all: $packages >"$log" 2>&1 &&
        echo "$packages" >"$tools/packages"
    status=$?
    [ $status = 0 ] || echo "pip cannot install $packages: $(tail -n 1 "$log")"
    rm -f "$log"
    return $status
}
