# Results of a case.

note() { # TEXT: for the table
    echo "$*" >>/tmp/notes
}

fail() { # TEXT: the end of a case
    note "FAILED: $*"
    echo "    FAILED: $*"
    exit 1
}

skip() { # TEXT: a requirement is missing
    note "$*"
    exit 77
}

not_applicable() { # TEXT: this kernel lacks the feature under test
    note "$*"
    exit 78
}

# Formats hundredths of a second.
seconds() {
    echo "$(($1 / 100)).$((($1 % 100) / 10))s"
}

# Prints the state of the guest after a failed case.
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
