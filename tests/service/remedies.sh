# shellcheck shell=bash disable=SC2016,SC2086,SC2154 # run sets the variables; `wait_until` evaluates its arguments later
# Sourced by run, after booted.sh: remedies of the daemon under systemd, with both drop-ins. They use its machine.

# shellcheck disable=SC2034 # for run
REMEDY_TESTS="attempt_without_rights_names_the_drop_in
    attempt_in_a_mount_namespace_of_its_own_names_the_drop_in
    mount_of_a_unit_is_mounted_again mount_of_fstab_is_mounted_again
    bound_units_need_consent_and_stay_active"

# From the death to a mount that was verified: this, after `after`.
REMEDY_LIMIT_MS=10000
REMEDY_AFTER_MS=1000

# A file of the machine.
write_in_machine() {
    in_machine sh -c 'mkdir -p "${1%/*}" && cat >"$1"' sh "$1"
}

# What a FUSE file system that mount(8) mounts needs. Its server stays, in the control group of mount(8).
provide_fuse_helper() {
    in_machine test ! -e /usr/sbin/mount.fuse.fault || return 0
    in_machine sh -c 'mkdir /tmp/upper /tmp/work &&
        mount -t overlay -o lowerdir=/usr/sbin,upperdir=/tmp/upper,workdir=/tmp/work helpers /usr/sbin' ||
        skip "/usr/sbin cannot be extended by a helper of mount(8)"
    write_in_machine /usr/sbin/mount.fuse.fault <<'HELPER'
#!/bin/sh
(echo "mount $2 allow_other fsname=$1 subtype=fault"; exec sleep 10000) | setsid /usr/local/bin/faultfs >/dev/null 2>&1 &
until grep -q " $2 .* fuse.fault " /proc/self/mountinfo; do sleep 0.02; done
HELPER
    in_machine chmod 755 /usr/sbin/mount.fuse.fault
}

# Starts the daemon with both drop-ins, the further settings of $2, and a rule with this list of `allow`.
start_remedies() {
    require_machine
    provide_fuse_helper
    in_machine systemctl stop $SERVICE
    write_rule "$1"
    # Consent from other tests, and the number of their attempts.
    in_machine rm -rf /run/mount_status_monitor/remedy
    {
        cat "contrib/systemd/$SERVICE.service.d/no-hooks.conf" "contrib/systemd/$SERVICE.service.d/remedies.conf"
        echo 'Environment="OPTIONS=--timeout 1 --poll-interval 1 --mount-points-include ^/mnt/r/"'
        echo "${2-}"
    } | drop_in
    in_machine systemctl start $SERVICE
}

write_rule() {
    write_in_machine /etc/mount_status_monitor/config.toml <<RULE
[[rule]]
mountpoint = "/mnt/r/*"
fstype = "fuse*"
remedy = { mode = "act", after = "${REMEDY_AFTER_MS}ms", allow = [$1] }
RULE
}

# A unit /mnt/r/NAME, mounted.
mount_unit() {
    write_in_machine "/run/systemd/system/mnt-r-$1.mount" <<UNIT
[Mount]
What=nowhere:/$1
Where=/mnt/r/$1
Type=fuse.fault
UNIT
    in_machine systemctl daemon-reload
    in_machine systemctl start "mnt-r-$1.mount"
}

wait_until_watched() {
    wait_until 5 "the mount is watched" eval 'in_machine mount_status_monitor status | grep -q "^ok .* /mnt/r/'"$1"'$"'
}

# The ids of the mounts at this path.
mount_ids() {
    in_machine cat /proc/self/mountinfo | awk -v path="$1" '$5 == path { print $1 }'
}

remedied() {
    journal --since "@$2" | grep -q "^Mount remedied: $1 "
}

# Waits for the end of a remedy for PATH, which died now and had this mount id; measures it.
assert_remedied_in_time() {
    local path=$1 before=$2 start=$3 after took
    wait_until 30 "$path is remedied" remedied "$path" "$((start / 1000))" || fail "$(journal -n 30)"
    took=$(($(now_ms) - start))
    echo "# $path responds after $took ms, with after = ${REMEDY_AFTER_MS} ms"
    [ $took -le $((REMEDY_AFTER_MS + REMEDY_LIMIT_MS + slack)) ] || fail "too late"
    after=$(mount_ids "$path")
    [[ $after =~ ^[0-9]+$ ]] || fail "not one mount: $after"
    [ "$after" != "$before" ] || fail "it is the old mount"
    in_machine stat -f "$path" >/dev/null
    assert_no_server_in_our_group
}

# A FUSE server in the control group of the daemon would end with it, and have its limits.
assert_no_server_in_our_group() {
    local group
    group=/sys/fs/cgroup/system.slice/$SERVICE.service
    in_machine sh -c 'for pid in $(cat "$1/cgroup.procs"); do cat "/proc/$pid/comm"; done' sh "$group" >"$scratch/group"
    grep -q . "$scratch/group" || fail "the control group is empty"
    if grep faultfs "$scratch/group"; then fail "a FUSE server is in the control group of the daemon"; fi
}

clean_up() {
    in_machine systemctl stop $SERVICE
    in_machine rm -f /etc/mount_status_monitor/config.toml
    local path
    in_machine systemctl stop 'mnt-r-*.mount' || true # what is dead may be busy
    for path in $(in_machine cat /proc/self/mountinfo | awk '$5 ~ "^/mnt/r/" { print $5 }'); do
        in_machine umount -l "$path"
    done
    drop_in <<<'[Service]'
}

kill_server_of_unit() {
    in_machine systemctl kill --signal=KILL "$1"
}

mount_of_a_unit_is_mounted_again() {
    local before start
    start_remedies ''
    mount_unit unit
    wait_until_watched unit
    before=$(mount_ids /mnt/r/unit)
    start=$(now_ms)
    kill_server_of_unit mnt-r-unit.mount
    assert_remedied_in_time /mnt/r/unit "$before" "$start"
    in_machine systemctl is-active mnt-r-unit.mount
    clean_up
}

mount_of_fstab_is_mounted_again() {
    local before start pid
    require_machine
    write_in_machine /etc/fstab <<<'nowhere:/fstab /mnt/r/fstab fuse.fault noauto 0 0'
    start_remedies ''
    in_machine mkdir -p /mnt/r/fstab
    in_machine systemd-run --quiet --scope --unit=first mount /mnt/r/fstab
    wait_until_watched fstab
    before=$(mount_ids /mnt/r/fstab)
    start=$(now_ms)
    kill_server_of_unit first.scope
    assert_remedied_in_time /mnt/r/fstab "$before" "$start"
    clean_up
    in_machine rm /etc/fstab
}

bound_units_need_consent_and_stay_active() {
    local before start
    start_remedies ''
    mount_unit bound
    wait_until_watched bound
    write_in_machine /run/systemd/system/user-of-mount.service <<UNIT
[Unit]
BindsTo=mnt-r-bound.mount
After=mnt-r-bound.mount
[Service]
ExecStart=sleep infinity
UNIT
    in_machine systemctl daemon-reload
    in_machine systemctl start user-of-mount
    before=$(mount_ids /mnt/r/bound)
    kill_server_of_unit mnt-r-bound.mount
    wait_until 20 "it is refused" eval 'journal | grep -q "^Remedy .*: /mnt/r/bound (units_active.*user-of-mount.service"'
    [ "$(mount_ids /mnt/r/bound)" = "$before" ]
    start=$(now_ms)
    write_rule '"units"'
    in_machine systemctl reload $SERVICE
    assert_remedied_in_time /mnt/r/bound "$before" "$start"
    in_machine systemctl is-active user-of-mount
    in_machine systemctl stop user-of-mount
    clean_up
}

# $1: settings of the unit, $2: what the line says.
assert_refused_by_rights() {
    local before
    require_machine
    provide_fuse_helper
    # Before the start: a mount namespace of its own may not get later mounts.
    mount_unit rights
    start_remedies '' "$1"
    wait_until_watched rights
    before=$(mount_ids /mnt/r/rights)
    kill_server_of_unit mnt-r-rights.mount
    wait_until 20 "it is refused" eval 'journal -n 20 | grep -q "^Remedy .*: /mnt/r/rights (rights: .*'"$2"'.*remedies.conf"' ||
        fail "$(journal -n 20)"
    [ "$(mount_ids /mnt/r/rights)" = "$before" ]
    clean_up
    in_machine systemctl reset-failed
}

attempt_without_rights_names_the_drop_in() {
    local name
    for name in CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_DAC_OVERRIDE CAP_KILL; do
        assert_refused_by_rights "CapabilityBoundingSet=~$name" "lacks $name"
    done
    assert_refused_by_rights 'SystemCallFilter=~umount2 mount move_mount' 'umount2, mount, move_mount'
}

attempt_in_a_mount_namespace_of_its_own_names_the_drop_in() {
    assert_refused_by_rights 'PrivateTmp=yes' 'mount namespace of its own'
}
