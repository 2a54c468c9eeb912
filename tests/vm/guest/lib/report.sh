# What a case says of itself.

note() { # TEXT: for the table
    echo "$*" >>/tmp/notes
}

fail() { # TEXT: the end of a case
    note "FAILED: $*"
    echo "    FAILED: $*"
    exit 1
}

skip() { # TEXT: something is missing that could be here
    note "$*"
    exit 77
}

not_here() { # TEXT: this kernel does not have what the case is about
    note "$*"
    exit 78
}

# Hundredths of a second in words.
seconds() {
    echo "$(($1 / 100)).$((($1 % 100) / 10))s"
}

# What one wants to see of a guest in which a case failed.
diagnose() {
    echo "    --- mounts"
    grep -E ' /mnt/| autofs ' /proc/self/mountinfo | sed 's/^/    /'
    echo "    --- stuck"
    for stat in /proc/[0-9]*/task/*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        rest=${line##*) }
        case $rest in D*) echo "    ${line%%)*}) D $(cat "${stat%stat}wchan" 2>/dev/null)" ;; esac
    done
    echo "    --- kernel"
    dmesg | tail -8 | sed 's/^/    /'
    echo "    --- daemon"
}
