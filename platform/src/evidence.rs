//! What can be learned about a dead mount without touching it, as plain data. It is sent from the collector to the
//! daemon, so it is serializable.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Maximum number of tasks that are named; the others are only counted. An operator needs a few examples.
pub const MAX_NAMED_TASKS: usize = 10;

/// The result of one observation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Observation<T> {
    Found(T),
    /// This user lacks the permission.
    NeedsRoot,
    /// The system does not provide it: it is too old, or a file is missing or not mounted.
    Unknown,
}

impl<T> Observation<T> {
    pub fn found(&self) -> Option<&T> {
        match self {
            Observation::Found(found) => Some(found),
            Observation::NeedsRoot | Observation::Unknown => None,
        }
    }
}

/// Everything known so far. What was not observed (yet) is `None`.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The thread of the hung probe, while it existed.
    pub probe: Option<Observation<StuckThread>>,
    /// The server behind a network mount.
    pub server: Option<ServerCheck>,
    /// The counters of the NFS client.
    pub traffic: Option<Observation<Traffic>>,
    /// The last line of the kernel log about the server.
    pub kernel_log: Option<Observation<LogLine>>,
    /// Requests waiting in the FUSE connection.
    pub fuse_waiting: Option<Observation<u64>>,
    /// The process that serves a FUSE mount.
    pub fuse_server: Option<Observation<FuseServer>>,
    /// Tasks that are blocked on the mount.
    pub tasks: Option<Observation<BlockedTasks>>,
}

impl Evidence {
    /// Adds later observations, which replace earlier ones of the same kind.
    pub fn merge(&mut self, later: Evidence) {
        let earlier = std::mem::take(self);
        *self = Evidence {
            probe: later.probe.or(earlier.probe),
            server: later.server.or(earlier.server),
            traffic: later.traffic.or(earlier.traffic),
            kernel_log: later.kernel_log.or(earlier.kernel_log),
            fuse_waiting: later.fuse_waiting.or(earlier.fuse_waiting),
            fuse_server: later.fuse_server.or(earlier.fuse_server),
            tasks: later.tasks.or(earlier.tasks),
        };
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Evidence::default()
    }
}

/// Where a thread is stuck.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StuckThread {
    /// A letter as in proc_pid_stat(5).
    pub state: char,
    /// The kernel function in which it waits.
    pub wait_channel: Option<String>,
    /// The functions of its kernel stack, innermost first; needs root.
    pub stack: Observation<Vec<String>>,
}

/// The server behind a network mount, and whether it replies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerCheck {
    pub service: Service,
    /// From the mount's options.
    pub address: SocketAddr,
    pub response: ServerResponse,
}

/// The protocol of a server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Service {
    /// Of this version; checked by a call of the NULL procedure.
    Nfs(u32),
    /// Checked only by connecting.
    Smb,
}

impl Service {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Service::Nfs(_) => "NFS",
            Service::Smb => "SMB",
        }
    }
}

/// How a server responded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ServerResponse {
    /// No connection within this time.
    NoConnection(Duration),
    /// Nothing listens there.
    Refused,
    Unreachable(crate::Errno),
    /// It accepts the connection but has not replied for this long.
    NoReply(Duration),
    /// It accepts a connection; nothing more was tried.
    Connects,
    Replies,
    /// Too many servers were being checked.
    NotChecked,
}

/// The counters of an NFS client for one mount (`/proc/self/mountstats`), summed over its connections.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// Sent requests, repetitions included.
    pub sent: u64,
    /// Received replies.
    pub received: u64,
    /// Time since the last transmission.
    pub idle: Duration,
}

/// A line of the kernel log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// Without its time.
    pub text: String,
    pub age: Duration,
}

/// The process that serves a FUSE mount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FuseServer {
    Process {
        pid: u32,
        /// Any bytes.
        name: Vec<u8>,
        /// A letter as in proc_pid_stat(5).
        state: char,
    },
    /// No visible process holds the connection.
    NotSeen,
}

/// The tasks that wait for a mount.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockedTasks {
    /// Number of threads.
    pub count: u32,
    /// Some of their processes, ordered by process id.
    pub named: Vec<BlockedTask>,
    /// Threads that wait for a file system of this family while several of them are dead.
    pub unassigned: u32,
    /// Whether all tasks were inspected within the time limit.
    pub complete: bool,
    /// Only tasks of this process's user could be inspected.
    pub of_user_only: bool,
}

/// A process with a blocked thread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockedTask {
    pub pid: u32,
    /// Of its blocked thread; any bytes.
    pub name: Vec<u8>,
    /// Start time in ticks since boot, because process ids are reused.
    pub started: u64,
    /// How long it has been observed as blocked.
    pub seen_for: Duration,
}

/// File systems whose waiting tasks look alike in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Family {
    /// `nfs`, `nfs4`.
    Nfs,
    /// `cifs`, `smb3`.
    Smb,
    /// Any type with a user-space server.
    Fuse,
    /// All other types: tasks are assigned only by open files and directories.
    Other,
}

impl Family {
    #[must_use]
    pub fn from_fstype(fstype: &[u8]) -> Family {
        match fstype {
            b"nfs" | b"nfs4" => Family::Nfs,
            b"cifs" | b"smb3" => Family::Smb,
            _ if crate::system::kind_of(fstype) == crate::FsKind::Fuse => Family::Fuse,
            _ => Family::Other,
        }
    }
}

/// A file system whose blocked tasks and FUSE server are searched for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Suspect {
    pub device_number: crate::DeviceNumber,
    /// The ids of its mounts in the mount table.
    pub mount_ids: Vec<u32>,
    pub family: Family,
    /// It is the only hung one of its family, so tasks that wait for this family wait for it.
    pub only_hung: bool,
}

/// The limits of a scan of all tasks.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimits {
    /// Maximum number of inspected tasks.
    pub tasks: usize,
    /// No more tasks are inspected after this.
    pub until: Instant,
}

impl ScanLimits {
    #[cfg_attr(any(feature = "interval", not(target_os = "linux")), allow(dead_code))]
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// What the kernel logged about storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KernelHint {
    Server(ServerStatusHint),
    Stall(StalledStorage),
}

/// Storage for which something waits, when the kernel names it in no way in which mounts do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StalledStorage {
    Ceph,
    Lustre,
    /// A task waits, it is not known for what.
    Any,
}

/// What a file system client in the kernel logged about its server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerStatusHint {
    /// The name as in the mount's device (`server` of `server:/export`).
    pub server: Vec<u8>,
    /// True if it responds again.
    pub responds: bool,
}

/// The mount namespaces other than the watched one that have a file system mounted.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holders {
    /// Ordered by process id.
    pub namespaces: Vec<Holder>,
    /// `shared:N` of the watched mount.
    pub peer_group: Option<u32>,
    /// Whether all processes were looked at within the limits, and all namespaces that these or the mount tables show.
    pub complete: bool,
    /// The namespaces of other users' processes are not known.
    pub of_user_only: bool,
}

/// A mount namespace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// Its inode number, as in `mnt:[N]`.
    pub namespace: u64,
    /// The process with the lowest id in it; of its name any bytes.
    pub pid: u32,
    pub name: Vec<u8>,
    pub processes: usize,
    /// One of its processes is in a process id namespace or a user namespace other than those of process 1, or its
    /// namespaces may not be read. A container that shares both with the host does not count.
    pub in_container: bool,
    /// Where the file system is mounted in it, in the order of its table: once at least.
    pub mounts: Vec<HeldMount>,
}

/// A mount of the file system in another mount namespace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldMount {
    pub mountpoint: Vec<u8>,
    /// An unmount of the watched mount reaches it: its parent receives the events of the watched mount's parent, and it is
    /// at the same place there. Also if that cannot be excluded.
    pub is_propagated: bool,
    /// Something is mounted on it that is not on the watched mount.
    pub has_mounts_below: bool,
}

/// A process and its name, which is any bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamedProcess {
    pub pid: u32,
    pub name: Vec<u8>,
}

/// The processes that use a file system.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Users {
    /// With an open file on it, or their working or root directory. Memory maps without an open file do not count, and
    /// neither does what is open on a detached mount other than the one that was asked about.
    pub processes: usize,
    /// Some of them.
    pub named: Vec<NamedProcess>,
    /// Whether all were looked at within the limits.
    pub complete: bool,
    /// The files of other users' processes are not known.
    pub of_user_only: bool,
}

/// What the kernel has stacked on files. Names are any bytes.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StackedFiles {
    /// Each loop device, with the devices that use it, itself first.
    pub loops: Vec<(NamedFile, Vec<BlockDevice>)>,
    pub swaps: Vec<NamedFile>,
    /// Directories that the NFS server of the kernel exports.
    pub exports: Vec<NamedFile>,
    /// Files and directories of the kernel that exist and could not be read, or not to their end.
    pub not_read: Vec<Vec<u8>>,
}

/// A file or directory in use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamedFile {
    pub path: Vec<u8>,
    /// The loop device, or the client of an export.
    pub user: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockDevice {
    pub name: Vec<u8>,
    /// Its name in the device mapper.
    pub mapped_name: Option<Vec<u8>>,
    pub number: crate::DeviceNumber,
}
