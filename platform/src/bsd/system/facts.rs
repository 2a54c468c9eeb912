//! System constants that the code relies on, for a comparison with the C headers.
//!
//! This code is never run: `tests/cross` links it, finds the facts in the binary by their mark, writes a C program with
//! a `_Static_assert` for each, and compiles it with the system's headers.

use crate::bsd::events;
use crate::bsd::record::{Flag, MNT_RDONLY};
use std::mem::offset_of;

/// A C expression and its expected value. `tests/cross-build/facts` reads this layout and the mark.
#[repr(C)]
#[derive(Clone, Copy)]
struct Fact {
    mark: [u8; 8],
    value: i64,
    expression: [u8; 64],
}

const fn fact(expression: &str, value: i64) -> Fact {
    let mut bytes = [0; 64];
    let mut n = 0;
    while n < expression.len() {
        bytes[n] = expression.as_bytes()[n];
        n += 1;
    }
    Fact { mark: *b"MSMFACT1", value, expression: bytes }
}

const fn of_flags<const N: usize>(flags: &[Flag; N]) -> [Fact; N] {
    let mut facts = [fact("MNT_RDONLY", MNT_RDONLY as i64); N];
    let mut n = 0;
    while n < N {
        facts[n] = fact(flags[n].name, flags[n].bit as i64);
        n += 1;
    }
    facts
}

macro_rules! facts {
    ($name:ident: $($rest:tt)*) => {
        #[used]
        static $name: [Fact; facts!(@list $($rest)*).len()] = facts!(@list $($rest)*);
    };
    (@list $($c:literal = $value:expr,)*) => { [$(fact($c, $value as i64)),*] };
    (@list $c:literal $type:ty: $($field:ident)*) => {
        [
            fact(concat!("sizeof(", $c, ")"), size_of::<$type>() as i64),
            $(fact(concat!("offsetof(", $c, ", ", stringify!($field), ")"), offset_of!($type, $field) as i64),)*
        ]
    };
}

#[used]
static FLAGS: [Fact; super::FLAGS.len()] = of_flags(&super::FLAGS);

facts! { STATFS: "struct statfs" libc::statfs:
f_bsize f_blocks f_bfree f_bavail f_files f_ffree f_fsid f_flags f_fstypename f_mntonname f_mntfromname }
facts! { FSID: "fsid_t" libc::fsid_t: }
facts! { KEVENT: "struct kevent" libc::kevent: ident filter flags fflags data udata }
facts! { CALLS:
    "MNT_NOWAIT" = libc::MNT_NOWAIT,
    "MNT_FORCE" = libc::MNT_FORCE,
    "EVFILT_FS" = libc::EVFILT_FS,
    "EV_ADD" = libc::EV_ADD,
    "EV_CLEAR" = libc::EV_CLEAR,
    "VQ_NOTRESP" = events::VQ_NOTRESP,
    "VQ_MOUNT" = events::VQ_MOUNT,
    "VQ_UNMOUNT" = events::VQ_UNMOUNT,
    "VQ_DEAD" = events::VQ_DEAD,
    "sizeof(((struct statfs *)0)->f_flags)" = size_of_val(&unsized_statfs().f_flags),
    "sizeof(((struct statfs *)0)->f_mntonname)" = size_of_val(&unsized_statfs().f_mntonname),
    "ESTALE" = libc::ESTALE,
    "ENOTCONN" = libc::ENOTCONN,
}

/// For the sizes of its fields.
const fn unsized_statfs() -> libc::statfs {
    // SAFETY: integers and bytes, for which zero is valid.
    unsafe { std::mem::zeroed() }
}

#[cfg(target_os = "macos")]
facts! { UPDATE: "VQ_UPDATE" = events::VQ_UPDATE,
    "PROC_PIDTASKALLINFO" = libc::PROC_PIDTASKALLINFO,
    "PROC_PIDLISTFDS" = libc::PROC_PIDLISTFDS,
    "sizeof(struct proc_fdinfo)" = size_of::<libc::proc_fdinfo>(),
}
#[cfg(target_os = "macos")]
facts! { TASK: "struct proc_taskallinfo" libc::proc_taskallinfo: pbsd ptinfo }

#[cfg(target_os = "freebsd")]
facts! { SYSCTL: "KERN_PROC_PID" = libc::KERN_PROC_PID, "KERN_PROC_NFDS" = libc::KERN_PROC_NFDS, }
#[cfg(target_os = "freebsd")]
facts! { PROCESS: "struct kinfo_proc" libc::kinfo_proc: ki_rssize ki_size ki_start ki_numthreads }
