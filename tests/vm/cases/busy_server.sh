# A healthy but busy server: nothing is reported. While answers arrive there is no sign, and so no probe caused by one,
# also when each answer is late and tasks wait all the time. With 5 % loss answers may stay away for a second: such waits
# cost probes, no more.
#
# MSM_BUSY_SECONDS of ./run: the length of the first two parts, and half of the third.
PART=${busy_seconds:-15}
witness

busy() { # starts loops that write and read
    loops=
    for version in 3 4.2; do
        (while sleep 0.3; do dd if=/dev/zero of="/mnt/busy-$version/x" bs=16k count=8 conv=fsync; done) 2>/dev/null &
        loops="$loops $!"
        (while sleep 0.3; do dd if="/mnt/busy-$version/read" of=/dev/null bs=16k iflag=direct; done) 2>/dev/null &
        loops="$loops $!"
    done
}

part() { # NAME SECONDS MAXIMUM-OF-SIGN-PROBES
    before=$(metric mountstatus_sign_probes_total)
    sent=$(operations)
    sleep "$2"
    expect_no_line "Mount failed"
    expect_metric 0 dead_mountpoints
    count=$(($(metric mountstatus_sign_probes_total) - before))
    note "$1: $count sign probes in $2s, $(($(operations) - sent)) requests;"
    [ $count -le "$3" ] || fail "$count probes of a server that answers ($1)"
}

# READ and WRITE requests that were answered.
operations() {
    awk '$1 == "READ:" || $1 == "WRITE:" { n += $2 } END { print n + 0 }' /proc/self/mountstats
}

shape() { # NETEM-ARGUMENTS...: in both directions
    tc qdisc replace dev vb root netem "$@" && tc -n b qdisc replace dev eth0 root netem "$@"
}

for version in 3 4.2; do
    nfs "busy-$version" $version hard b
    dd if=/dev/zero of="/srv/b/busy-$version/read" bs=16k count=8 2>/dev/null
done
modprobe sch_netem || skip "no netem"
# The default settings.
daemon --poll-interval 60 --signs-interval 2s
busy
part "at full speed" "$PART" 0
expect_no_line "Mount is slow"
shape delay 50ms limit 10000
part "answers after 0.1 s" "$PART" 0
shape loss 5% limit 10000
part "5 % loss" $((PART * 2)) "$PART"
tc qdisc del dev vb root
tc -n b qdisc del dev eth0 root
# shellcheck disable=SC2086 # several
kill -9 $loops
expect_only_dead
expect_metric 0 mountstatus_probers_stranded
stop_daemon
