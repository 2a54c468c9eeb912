# Remedies: the plan, what --act does, and whether anything but the dead mount has changed.

# Nothing is done before the machine has been up for five minutes.
settle() {
    read -r up _ </proc/uptime
    [ "${up%.*}" -ge 310 ] || sleep $((310 - ${up%.*}))
}

# A mount that fstab knows, so that it can be mounted again.
in_fstab() { # PATH
    awk -v path="$1" '$2 == path { print $1, $2, $3, $4, 0, 0 }' /proc/self/mounts |
        sed 's/,addr=[^, ]*//; s/,clientaddr=[^, ]*//; s/,mountaddr=[^, ]*//' >>/etc/fstab
}

# The id and superblock of the topmost mount at the path.
mounted() { # PATH
    awk -v path="$1" '$5 == path { found = $1 " " $3 } END { print found }' /proc/self/mountinfo
}

# All other mounts of this namespace.
others() { # PATH
    awk -v path="$1" '$5 != path' /proc/self/mountinfo
}

# Remembers what is mounted before a remedy.
before() { # PATH
    VICTIM=$1
    WAS=$(mounted "$1")
    others "$1" >/tmp/others
}

# The plan is in /tmp/plan, one line of JSON, and a line for each event with --act. INSIDE: a command that enters the
# network namespace of the client.
INSIDE=
remedy() { # EXPECTED-STATUS PATH [OPTION...]
    expected=$1
    shift
    try_remedy "$@"
    [ $status = "$expected" ] || fail "remedy $*: status $status, not $expected"
}

# Sets status.
try_remedy() { # PATH [OPTION...]
    # shellcheck disable=SC2086 # several words, or none
    timeout 1000 $INSIDE "/guest/bin/$SELF" remedy --json "$@" >/tmp/plan 2>&1
    status=$?
    sed 's/^/    /' /tmp/plan
}

# A kernel without unique ids: the plan says so, and nothing is done.
refused_without_ids() { # PATH [OPTION...]
    case $(uname -r) in 6.1.*) ;; *) return 1 ;; esac
    before "$1"
    remedy 2 "$@" --act
    planned '"refused":true' '"guard":"no_unique_ids","steps":null' 'unique ids exist from Linux 6.8 on'
    nothing_done
    note "refused: no unique ids"
}

planned() { # TEXT...: the plan or the events have all of them
    for text; do grep -q -F -- "$text" /tmp/plan || fail "not in the plan: $text"; done
}

not_planned() { # TEXT...
    for text; do ! grep -q -F -- "$text" /tmp/plan || fail "in the plan: $text"; done
}

steps() { # STEP...: the plan has exactly these
    has=$(grep -o '"step":"[a-z_]*","purpose"' /tmp/plan | sed 's/"step":"\([a-z_]*\)".*/\1/' | tr '\n' ' ')
    [ "$has" = "$* " ] || fail "the steps are $has, not $*"
}

nothing_else_changed() {
    others "$VICTIM" >/tmp/others.now
    cmp -s /tmp/others /tmp/others.now || fail "other mounts have changed: $(diff /tmp/others /tmp/others.now)"
}

nothing_done() {
    not_planned '"event":"call"'
    [ "$(mounted "$VICTIM")" = "$WAS" ] || fail "$VICTIM was $WAS and is $(mounted "$VICTIM")"
    nothing_else_changed
}

# Replaced by a new mount of the server, which works: what is written arrives there.
replaced() { # PATH DIRECTORY-OF-THE-SERVER
    is=$(mounted "$1")
    if [ "${is% *}" = "${WAS% *}" ] || [ "${is#* }" = "${WAS#* }" ]; then fail "$1 was $WAS and is $is"; fi
    [ "$(awk -v path="$1" '$5 == path' /proc/self/mountinfo | wc -l)" = 1 ] || fail "$1 is mounted twice"
    echo "$1" >"$1/after" || fail "$1 does not work"
    [ "$(cat "$2/after")" = "$1" ] || fail "$1 is another file system"
    nothing_else_changed
}

# An empty, read-only directory has its place.
placeholder() { # PATH
    [ -z "$(ls -A "$1")" ] || fail "$1 is not empty"
    # shellcheck disable=SC2188 # creates a file
    ! { >"$1/file"; } 2>/dev/null || fail "$1 is writable"
    nothing_else_changed
}

# Somebody writes into the path all the time: none of it may reach the directory underneath.
writer() { # PATH
    while :; do
        timeout -s KILL 2 sh -c "echo x >$1/written" 2>/dev/null &
        sleep 0.2
    done &
    WRITER=$!
}

# At last the mount goes: if the writer can be seen underneath then, it could have been before.
nothing_written_underneath() { # PATH
    mkdir -p /tmp/underneath
    mount --bind /mnt /tmp/underneath
    place=/tmp/underneath/${1#/mnt/}
    found=$(ls -A "$place")
    umount -i -l "$1"
    sleep 2
    control=$(ls -A "$place")
    kill -9 "$WRITER"
    sleep 2.5
    umount /tmp/underneath
    rm -f "$1/written"
    [ -z "$found" ] || fail "written into the directory underneath: $found"
    [ "$control" = written ] || fail "the writer cannot be seen"
}
