# A FUSE file system of the guest that hangs on command. A case that sources this is skipped where it was not built.
[ -x /guest/bin/faultfs ] || skip "faultfs was not built"
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
