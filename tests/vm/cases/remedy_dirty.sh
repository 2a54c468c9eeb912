# What was written and is not on the server is counted by the plan. Force loses exactly that; without force it reaches the
# server later.
# shellcheck source=tests/vm/guest/lib/remedy.sh
. /guest/lib/remedy.sh
: >/etc/fstab
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
settle
for what in forced detached; do
    nfs $what 3
    path=/mnt/$what
    dd if=/dev/zero of=$path/early bs=4096 count=8 2>/dev/null && sync
    # Opened before the outage; the writer waits when it closes the file.
    rm -f /tmp/opened /tmp/write
    sh -c "exec 6>$path/late; touch /tmp/opened; until [ -e /tmp/write ]; do sleep 0.05; done
        exec dd if=/dev/zero bs=4096 count=16 >&6 2>/dev/null" &
    wait_for_file /tmp/opened
    break_drop
    touch /tmp/write
    sleep 1
    if refused_without_ids $path --allow silent_server,not_mounted_again; then lab_repair; continue; fi
    before $path
    case $what in forced) steps=force,detach ;; *) steps=detach ;; esac
    remedy 1 $path --act --steps $steps --allow silent_server,not_mounted_again
    planned '"unwritten_bytes":65536' '"users":1'
    case $what in
    forced) planned 'what was written and has not reached the server is lost' '"flags":"MNT_FORCE"' ;;
    detached) not_planned 'is lost' '"flags":"MNT_FORCE"' ;;
    esac
    placeholder $path
    lab_repair
    sleep 180
    note "$what: $(stat -c %s /srv/a/$what/late) bytes"
    [ "$(stat -c %s /srv/a/$what/early)" = 32768 ] || fail "what was on the server has changed"
    size=$(stat -c %s /srv/a/$what/late)
    case $what in
    forced) [ "$size" = 0 ] || fail "$size bytes were not lost" ;;
    detached) [ "$size" = 65536 ] || fail "$size bytes have reached the server" ;;
    esac
done
