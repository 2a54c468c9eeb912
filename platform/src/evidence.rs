//! What can be learned of a dead mount without touching it, as plain data. It travels from the collector process to
//! the daemon, so it is serializable; what people read is made of it elsewhere.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// Tasks that are named; the others are counted. A person looks at a few and then at `ps`.
pub const MAX_NAMED_TASKS: usize = 10;

/// What a look brought.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Observation<T> {
    /// This.
    Found(T),
    /// This user may not look.
    NeedsRoot,
    /// The kernel or the system does not tell: too old, not mounted, not there.
    Unknown,
}

impl<T> Observation<T> {
    /// What was found, if anything was.
    pub fn found(&self) -> Option<&T> {
        match self {
            Observation::Found(found) => Some(found),
            Observation::NeedsRoot | Observation::Unknown => None,
        }
    }
}

/// Everything that was learned so far. What was not looked at (yet) is `None`.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The thread that asked and got no answer, while it was there.
    pub probe: Option<Observation<StuckThread>>,
    /// The server behind a network mount.
    pub server: Option<ServerCheck>,
    /// What the NFS client has sent and received.
    pub traffic: Option<Observation<Traffic>>,
    /// The last word of the kernel log about the server.
    pub kernel_log: Option<Observation<LogLine>>,
    /// Requests that wait in a FUSE connection.
    pub fuse_waiting: Option<Observation<u64>>,
    /// The process that serves a FUSE mount.
    pub fuse_server: Option<Observation<FuseServer>>,
    /// Tasks that are blocked on the mount.
    pub tasks: Option<Observation<BlockedTasks>>,
}

impl Evidence {
    /// Takes over what a later look brought.
    pub fn merge(&mut self, later: Evidence) {
        let Evidence { probe, server, traffic, kernel_log, fuse_waiting, fuse_server, tasks } = later;
        // The thread is killed at the verdict: what was seen of it while it was there stays.
        replace(&mut self.probe, probe);
        replace(&mut self.server, server);
        replace(&mut self.traffic, traffic);
        replace(&mut self.kernel_log, kernel_log);
        replace(&mut self.fuse_waiting, fuse_waiting);
        replace(&mut self.fuse_server, fuse_server);
        replace(&mut self.tasks, tasks);
    }

    /// Is nothing known at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Evidence::default()
    }
}

fn replace<T>(old: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *old = new;
    }
}

/// Where a thread is stuck.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StuckThread {
    /// Its state, a letter as in `proc_pid_stat(5)`.
    pub state: char,
    /// The kernel function that it waits in.
    pub wait_channel: Option<String>,
    /// The functions of its kernel stack, the innermost first; that needs root.
    pub stack: Observation<Vec<String>>,
}

/// The server behind a network mount, and whether it answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerCheck {
    /// What it speaks: `NFS` or `SMB`.
    pub service: Service,
    /// Where it is, by the mount's options.
    pub address: SocketAddr,
    /// What came of it.
    pub response: ServerResponse,
}

/// A protocol of storage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Service {
    /// Asked by a call of its NULL procedure, of this version.
    Nfs(u32),
    /// A connection is all that is tried.
    Smb,
}

impl Service {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Service::Nfs(_) => "NFS",
            Service::Smb => "SMB",
        }
    }
}

/// What a server said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ServerResponse {
    /// No connection within this time.
    NoConnection(Duration),
    /// Its machine refuses: nothing listens there.
    Refused,
    /// There is no way to it.
    Unreachable(crate::Errno),
    /// It takes the connection and then says nothing, for this long.
    NoReply(Duration),
    /// It takes a connection; more was not tried.
    Connects,
    /// It answers.
    Replies,
    /// It was not asked: too many servers at a time.
    NotChecked,
}

/// What an NFS client counts for one mount (`/proc/self/mountstats`), over all of its connections.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests that were sent, repetitions among them.
    pub sent: u64,
    /// Replies that came.
    pub received: u64,
    /// Since anything was sent or received.
    pub idle: Duration,
}

/// A line of the kernel log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// The line, without its time.
    pub text: String,
    /// How long ago it was written.
    pub age: Duration,
}

/// The process that serves a FUSE mount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FuseServer {
    /// It is there.
    Process {
        /// Its number.
        pid: u32,
        /// Its name, any bytes.
        name: Vec<u8>,
        /// Its state, a letter as in `proc_pid_stat(5)`.
        state: char,
    },
    /// Nobody here holds the connection: it is gone, or lives where this process cannot see it.
    NotSeen,
}

/// Who waits for a mount.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockedTasks {
    /// How many threads.
    pub count: u32,
    /// Some of the processes that they belong to, ordered by their numbers.
    pub named: Vec<BlockedTask>,
    /// Threads that wait for a file system of this kind, nobody knows which one of several that are dead.
    pub unassigned: u32,
    /// Was every task of the system looked at, or did the time run out?
    pub complete: bool,
    /// Only tasks of this process's user could be looked at.
    pub of_user_only: bool,
}

/// A process with a blocked thread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockedTask {
    /// Its number.
    pub pid: u32,
    /// The name of its blocked thread, any bytes.
    pub name: Vec<u8>,
    /// When it started, in ticks since boot: tells it from another that gets its number later.
    pub started: u64,
    /// For how long it has been seen to be blocked.
    pub seen_for: Duration,
}

/// Who would have to answer: kinds of file systems whose waiting tasks look alike in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Family {
    /// `nfs`, `nfs4`.
    Nfs,
    /// `cifs`, `smb3`.
    Smb,
    /// Anything with a user-space server.
    Fuse,
    /// All others, which are told apart by open files and directories alone.
    Other,
}

impl Family {
    /// The family of a file system type.
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

/// A file system whose blocked tasks and FUSE server are looked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Suspect {
    /// Its device number.
    pub device_number: crate::DeviceNumber,
    /// The table's ids of its mounts.
    pub mount_ids: Vec<u32>,
    /// Its kind.
    pub family: Family,
    /// Does it hang, and no other of its kind? Then tasks that wait for this kind wait for this one.
    pub alone: bool,
}
