# shellcheck shell=bash disable=SC2016,SC2086,SC2154 # run sets the variables; `wait_until` evaluates its arguments later
# Sourced by run, after booted.sh: the commands of docs/getting-started.md, in their order, in its machine.

# shellcheck disable=SC2034 # for run
FIRST_STEPS_TESTS="first_steps_are_as_documented"

# The commands of the document: the text of the block N of the language sh.
block() {
    awk -v wanted="$1" '/^```sh$/ { n++; inside = 1; next } /^```$/ { inside = 0 } inside && n == wanted' \
        docs/getting-started.md
}

# step TEXT...: runs the next block in a shell of the machine. Each text, a regular expression, must be in its output.
step() {
    local text log=$scratch/step
    count=$((count + 1))
    block $count >"$scratch/block"
    [ -s "$scratch/block" ] || fail "the document has no block $count"
    # The statuses of single commands differ: a dead mount is 1.
    in_machine bash -s <"$scratch/block" >"$log" 2>&1 || true
    sed 's/^/> /' "$scratch/block"
    sed 's/^/  /' "$log"
    if grep -E 'command not found|No such file|[Ee]rror:' "$log"; then fail "a command of block $count failed"; fi
    for text; do
        grep -qE "$text" "$log" || fail "block $count does not print: $text"
    done
}

first_steps_are_as_documented() {
    require_machine
    require_command bindfs
    in_machine systemctl stop $SERVICE
    in_machine rm -rf /etc/mount_status_monitor
    drop_in <<<'[Service]'
    in_machine systemctl start $SERVICE
    in_machine mkdir -p /srv /mnt /var/tmp
    # The other tests have left many mounts.
    wait_until 10 "the first run ends" eval 'in_machine mount_status_monitor status | grep -q "^ok .* /usr/local$"'
    local count=0
    step '^active$' '^ok .* /usr/local$'                                         # installed
    step 'conf.d/page.toml'                                                      # a program to call
    wait_until 5 "the hook is configured" eval 'journal | grep -q "^Configuration reloaded: hooks"'
    step '^hook .* accepted' '^critical: Drill: '                                # tried
    step '^ok .* /mnt/photos$'                                                   # a mount
    step                                                                         # broken
    step '^hung .* /mnt/photos$'                                                 # asked
    wait_until 10 "the program is called" in_machine grep -q failed /var/tmp/pages
    step 'Mount failed health-check: /mnt/photos \(hung' '^critical: Mount failed' 'mount_up\{.*/mnt/photos.* 0$' # told
    step 'bindfs\[[0-9]+\]' 'stopped' 'kill -CONT [0-9]+'                        # why
    step                                                                         # repaired
    wait_until 10 "the program is called again" in_machine grep -q recovered /var/tmp/pages
    step '^ok .* /mnt/photos$' '^critical: Mount recovered: /mnt/photos \(after' # asked again
    step                                                                         # cleaned up
    block $((count + 1)) | grep . && fail "a block is not run"
    if in_machine grep ' /mnt/photos ' /proc/self/mountinfo; then fail "it is still mounted"; fi
    in_machine test ! -e /var/tmp/pages
}
