# The daemon replaces a stale mount by itself, within the time of its rule and ten seconds. NFS 4.2.
# shellcheck source=tests/vm/guest/lib/remedy.sh
. /guest/lib/remedy.sh
: >/etc/fstab
nfs gone 4.2
nfs stays 4.2
in_fstab /mnt/gone
settle
cat >/tmp/remedy.toml <<EOF
[[rule]]
mountpoint = "/mnt/gone"
fstype = "nfs*"
remedy = { mode = "act", after = "20s" }
EOF
daemon --config /tmp/remedy.toml
before /mnt/gone
writer /mnt/gone
at a exportfs -u '*:/srv/a/gone'
rm -rf /srv/a/gone
export_dir a gone
at a exportfs -f
expect_dead /mnt/gone
case $(uname -r) in
6.1.*)
    expect 60 "Remedy refused: /mnt/gone (no_unique_ids"
    kill -9 "$WRITER"
    [ "$(mounted /mnt/gone)" = "$WAS" ] || fail "it was touched"
    nothing_else_changed
    stop_daemon
    note "refused: no unique ids"
    exit
    ;;
esac
expect 60 "Mount remedied: /mnt/gone ("
logged() { lines | grep -m1 -F "] $1: /mnt/gone (" | sed 's/^\[\([0-9]*\)\..*/\1/'; }
took=$(($(logged "Mount remedied") - $(logged "Mount failed health-check")))
if [ $took -lt 19 ] || [ $took -gt 30 ]; then fail "remedied $took s after its death"; fi
note "remedied $took s after its death"
stop_daemon
replaced /mnt/gone /srv/a/gone
nothing_written_underneath /mnt/gone
