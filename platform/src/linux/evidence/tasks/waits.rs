//! What a task waits for, from the names of the kernel functions in which it waits.

use crate::evidence::Family;
use crate::linux::procfs::{stack_functions, without_suffix};

/// Functions in which most tasks of a machine sleep. The list only saves time: tasks in other functions are inspected.
const IDLE_FUNCTIONS: &[&str] = &[
    "0", // running, or may not be inspected
    "anon_pipe_read",
    "do_epoll_wait",
    "do_nanosleep",
    "do_poll",
    "do_select",
    "do_signal_stop",
    "do_sigtimedwait",
    "do_wait",
    "ep_poll",
    "eventfd_read",
    "fuse_dev_do_read",
    "futex_do_wait",
    "futex_wait_queue",
    "futex_wait_queue_me",
    "hrtimer_nanosleep",
    "inet_csk_accept",
    "inotify_read",
    "kthread_worker_fn",
    "kthreadd",
    "n_tty_read",
    "pipe_read",
    "pipe_wait_readable",
    "poll_schedule_timeout",
    "rescuer_thread",
    "sigsuspend",
    "sk_wait_data",
    "smpboot_thread_fn",
    "unix_stream_data_wait",
    "unix_stream_read_generic",
    "wait_woken",
    "worker_thread",
    "__skb_wait_for_more_packets",
];

/// Whether a task that sleeps here waits for something other than storage.
pub(super) fn is_idle(channel: &str) -> bool {
    IDLE_FUNCTIONS.contains(&without_suffix(channel))
}

/// Whether a blocked task wakes up occasionally here: throttled writers check repeatedly whether they may continue.
pub(super) fn is_polling(channel: &str) -> bool {
    channel.starts_with("balance_dirty_pages")
}

/// The family that a function waits for, if its name shows that.
pub(super) fn family_of(function: &str) -> Option<Family> {
    let function = function.trim_start_matches('_');
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| function.starts_with(prefix));
    if begins(&["fuse_dev_do_"]) {
        None // a server waiting for requests
    } else if begins(&["request_wait_answer", "fuse_", "virtio_fs_"]) {
        Some(Family::Fuse)
    } else if begins(&["nfs_", "nfs3_", "nfs4_", "rpc_", "rpcauth_", "xprt_", "nlmclnt_"]) {
        Some(Family::Nfs)
    } else if begins(&["cifs_", "smb2_", "SMB2_", "smb3_", "wait_for_response", "wait_for_free_credits"]) {
        Some(Family::Smb)
    } else {
        None
    }
}

/// The family of the innermost function that has one.
pub(super) fn family_of_stack(stack: &str) -> Option<Family> {
    stack_functions(stack.as_bytes()).iter().find_map(|function| family_of(function))
}

#[cfg(target_pointer_width = "64")]
#[allow(clippy::unnecessary_cast)] // narrower on x32
const MMAP: i64 = libc::SYS_mmap as i64;
#[cfg(not(target_pointer_width = "64"))]
const MMAP: i64 = libc::SYS_mmap2 as i64;

/// The descriptor that a system call works on, from the text of proc_pid_syscall(5): the fifth argument of `mmap`, the
/// first of the others. A larger number is a path or a constant.
pub(super) fn file_of(call: &str) -> Option<u32> {
    let mut fields = call.split_ascii_whitespace();
    let number: i64 = fields.next()?.parse().ok().filter(|&number| number >= 0)?;
    let is_map = number == MMAP;
    let argument = fields.nth(if is_map { 4 } else { 0 })?.strip_prefix("0x")?;
    let value = u32::from_str_radix(argument, 16).ok()?;
    // The default of `fs.nr_open`.
    (value < 1 << 20).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_show_the_family_or_idleness() {
        for (function, family) in [
            ("request_wait_answer", Some(Family::Fuse)),
            ("__fuse_simple_request", Some(Family::Fuse)),
            ("fuse_dev_do_read.constprop.0", None),
            ("rpc_wait_bit_killable", Some(Family::Nfs)),
            ("nfs4_do_reclaim", Some(Family::Nfs)),
            ("nfsd_read", None),
            ("wait_for_response", Some(Family::Smb)),
            ("folio_wait_bit_common", None),
            ("", None),
        ] {
            assert_eq!(family_of(function), family, "{function}");
        }
        assert!(is_idle("poll_schedule_timeout.constprop.0") && is_idle("futex_do_wait"));
        assert!(!is_idle("") && !is_idle("request_wait_answer") && !is_idle("io_schedule"));
        let stack = "[<0>] folio_wait_bit_common+0x1/0x2\n[<0>] nfs_wb_folio+0x1/0x2\n[<0>] vfs_read+0x1/0x2";
        assert_eq!(family_of_stack(stack), Some(Family::Nfs));
    }

    #[test]
    fn descriptor_is_read_from_the_arguments() {
        assert_eq!(
            file_of("0 0x3 0x7f27c0000ca0 0x1001000 0x56242de35440 0x7 0x8 0x7f27c8211730 0x7f"),
            Some(3)
        );
        let map = format!("{} 0x0 0x1000 0x1 0x2 0x7 0x0 0x7ffd 0x7f", MMAP);
        assert_eq!(file_of(&map), Some(7));
        for text in [
            "332 0xffffff9c 0x7ffef3d16a21 0x900 0xfff 0x0 0x0 0x1 0x2",
            "2 0x7ffef3d16a21 0x0 0x0 0x0 0x0 0x0 0x1 0x2",
            "running",
            "-1 0x3 0x7f",
            "",
            "x 0x3",
            "0",
            "0 3",
        ] {
            assert_eq!(file_of(text), None, "{text}");
        }
    }
}
