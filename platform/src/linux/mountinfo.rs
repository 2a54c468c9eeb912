//! Parser of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)), byte for byte.
