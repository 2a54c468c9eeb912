# The server comes back after the plan, while the probe that must confirm it waits: nothing is done, although everything is
# allowed. NFS 3 and 4.2.
# shellcheck source=tests/vm/guest/lib/remedy.sh
. /guest/lib/remedy.sh
: >/etc/fstab
printf '%s\n' 'timeout = "60s"' >/etc/patient.toml
for version in 3 4.2; do
    nfs "back-$version" $version
    in_fstab "/mnt/back-$version"
done
settle
for version in 3 4.2; do
    path=/mnt/back-$version
    break_drop
    if refused_without_ids $path --allow silent_server,not_mounted_again; then lab_repair; continue; fi
    before $path
    rm -f /tmp/acted
    {
        timeout 1000 "/guest/bin/$SELF" remedy --json --config /etc/patient.toml $path --act \
            --allow silent_server,not_mounted_again >/tmp/plan 2>&1
        echo $? >/tmp/acted
    } &
    until grep -q '"situation"' /tmp/plan; do sleep 0.1; done
    [ ! -e /tmp/acted ] || fail "no time to come back"
    planned '"situation":"server_silent"' '"refused":false'
    lab_repair
    until [ -e /tmp/acted ]; do sleep 0.1; done
    sed 's/^/    /' /tmp/plan
    [ "$(cat /tmp/acted)" = 2 ] || fail "status $(cat /tmp/acted)"
    planned '"guard":"recovered","steps":null'
    nothing_done
    # And when it is asked again, nothing is to be done.
    remedy 0 $path --act
    planned '"situation":"not_dead"'
    nothing_done
done
