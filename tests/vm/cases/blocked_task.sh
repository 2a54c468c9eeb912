# Only a FUSE file system is watched, and signs are off: the kernel reports a blocked task, and the mount is probed at once.
# shellcheck source=tests/vm/guest/lib/fuse.sh
. /guest/lib/fuse.sh
[ -e /proc/sys/kernel/hung_task_timeout_secs ] || not_applicable "this kernel does not report blocked tasks"
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
