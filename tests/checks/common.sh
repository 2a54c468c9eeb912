# shellcheck shell=bash
# Shared by the checks. Sourced. Results have the format of libtest, for tests/run.

# result TEST STATUS [WHAT]: prints the result of a check that has one test, and ends it.
result() {
    local word=ok passed=1 failed=0
    [ "$2" = 0 ] || word=FAILED passed=0 failed=1
    echo "test checks::$1 ... $word${3:+, $3}"
    echo "test result: $word. $passed passed; $failed failed; 0 ignored"
    exit "$2"
}

# skip TEST WHY: ends a check that cannot run here.
skip() {
    echo "test checks::$1 ($2) ... ignored"
    echo "test result: ok. 0 passed; 0 failed; 1 ignored"
    exit 0
}
