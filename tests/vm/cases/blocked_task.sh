# Only a FUSE file system is watched, and signs are off: the kernel reports a blocked task, and the mount is probed at once.
[ -x /guest/bin/faultfs ] || skip "faultfs was not built"
[ -e /proc/sys/kernel/hung_task_timeout_secs ] || not_applicable "this kernel does not report blocked tasks"
mkdir -p /mnt/fuse
mkfifo /tmp/orders.$$
: >/tmp/answers.$$
/guest/bin/faultfs </tmp/orders.$$ >>/tmp/answers.$$ &
exec 9>/tmp/orders.$$
set_fault() { # COMMAND: waits until it is executed
    before=$(wc -l </tmp/answers.$$)
    echo "$*" >&9
    until [ "$(wc -l </tmp/answers.$$)" -gt "$before" ]; do sleep 0.05; done
    tail -n1 /tmp/answers.$$ | grep -q '^ok' || fail "$(tail -n1 /tmp/answers.$$)"
}
set_fault mount /mnt/fuse allow_other
daemon --poll-interval 600 --signs-interval 0
set_fault mute /mnt/fuse
# A task whose request the server has read can no longer be killed, and only such a task is reported.
stat -f /mnt/fuse >/dev/null 2>&1 &
sleep 1
kill -9 $!
sleep 1
expect_no_line "Mount failed"
echo 20 >/proc/sys/kernel/hung_task_timeout_secs
dmesg -c >/dev/null
# Reported after one to two times 20 s.
wait_for 60 "Mount failed health-check: /mnt/fuse (hung" || reported=no
echo 0 >/proc/sys/kernel/hung_task_timeout_secs
dmesg | grep -q 'INFO: task stat:[0-9]* blocked' || fail "the kernel reported no task: $(dmesg | tail -n 3)"
[ -z "${reported:-}" ] || fail "no probe because of a blocked task"
expect_only_dead /mnt/fuse
expect_metric 1 mountstatus_sign_probes_total
mark
set_fault ok /mnt/fuse
set_fault release /mnt/fuse
expect_recovered 20 /mnt/fuse
stop_daemon
