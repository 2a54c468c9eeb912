//! What a plan is made from. The code that gathers it touches no path of the mount, and says why a fact could not be
//! known.

use super::planner::Situation;
use crate::monitor::{Reason, server_name};
use platform::{Call, DeviceNumber, Errno, FsKind, Mount, MountKey, evidence::Family};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A fact, or why it is not known.
pub type Known<T> = Result<T, String>;

/// The superblock decides what a step does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SuperblockKind {
    Fuse,
    Nfs,
    Ceph,
    Smb,
    /// There is no remedy for it.
    Other,
}

#[derive(Clone, PartialEq, Debug)]
pub struct RemedyFacts {
    /// As the table has it now.
    pub mount: Arc<Mount>,
    /// `shared:N` of the mount itself.
    pub peer_group: Option<u64>,
    /// `None` if the mount is not dead.
    pub death: Option<Death>,
    pub confirmation: Confirmation,
    pub server: Server,
    /// Of a FUSE mount: the process that serves it.
    pub fuse_server: Known<FuseServer>,
    /// Mounts on directories of this one.
    pub below: Vec<Below>,
    /// The mounts above it, up to the root.
    pub ancestors: Vec<Ancestor>,
    /// Other mounts of its superblock, in this mount namespace.
    pub siblings: Vec<Sibling>,
    /// The same superblock in other mount namespaces.
    pub copies: Known<Vec<MountCopy>>,
    /// What uses its files in a way that ends badly, one text each: loop devices, swap, overlay layers, exports.
    pub stacked: Known<Vec<String>>,
    /// Processes with open files or a working directory on it.
    pub users: Known<usize>,
    /// Bytes that were written and are not on the server yet.
    pub unwritten: Known<u64>,
    /// Paths that must never be lost, besides those of the system: the program, its files, the home of root.
    pub kept: Vec<KeptPath>,
    pub origin: Origin,
    /// Units of systemd that stop when the mount goes (`BindsTo=`).
    pub bound_units: Known<Vec<Unit>>,
    pub machine: Machine,
    pub kernel: Kernel,
}

/// When and how it died.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Death {
    /// The identity of the mount then.
    pub key: MountKey,
    pub reason: Reason,
    pub errno: Option<Errno>,
    pub call: Option<Call>,
    pub lasted: Duration,
    /// How long `statfs` has returned `ESTALE` and nothing else, twice at least; zero otherwise.
    pub stale_for: Duration,
}

/// What a probe that began after the decision to act found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Confirmation {
    /// There was no such probe, or it has not ended.
    None,
    /// It is dead for this reason.
    Dead {
        reason: Reason,
        prober_ended: bool,
    },
    Responds,
}

/// The server behind the mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Mounts with equal names have one server. A mount without a server's name is its own server.
    pub name: Option<Vec<u8>>,
    pub answers: Known<bool>,
    /// Mount points of other superblocks of this server.
    pub others: Vec<PathBuf>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FuseServer {
    Running {
        pid: u32,
    },
    Stopped {
        pid: u32,
    },
    Gone,
    /// The mount is not FUSE.
    NotFuse,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Below {
    pub mountpoint: PathBuf,
    pub kind: BelowKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BelowKind {
    /// The kernel made it when a path crossed into another file system of the same server: it goes with its parent.
    SameServer,
    AutofsTrigger,
    Other,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ancestor {
    pub mountpoint: PathBuf,
    pub is_dead: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sibling {
    pub mountpoint: PathBuf,
    pub health: SiblingHealth,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SiblingHealth {
    Dead,
    Responds,
    /// It is not probed.
    Unknown,
}

/// A mount of the same superblock in another mount namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountCopy {
    /// The inode number of the namespace.
    pub namespace: u64,
    /// The name and the process id of one of its processes.
    pub process: String,
    pub mountpoint: PathBuf,
    /// An unmount here reaches it. Others stay dead.
    pub is_propagated: bool,
    pub has_mounts_below: bool,
    pub in_container: bool,
}

/// A path that must not become unreachable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptPath {
    /// What it is, such as `the program`.
    pub what: &'static str,
    pub path: PathBuf,
}

/// What mounted it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A line of fstab, or the `.mount` unit that was made from one.
    Fstab {
        line: usize,
    },
    /// A `.mount` unit with a file of its own.
    MountUnit {
        name: String,
    },
    /// A unit whose process serves the mount, such as a service with sshfs.
    Service {
        name: String,
    },
    /// autofs makes it at the next access.
    Autofs {
        trigger: PathBuf,
    },
    Unknown,
}

/// A unit of systemd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unit {
    pub name: String,
    pub is_active: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    pub uptime: Duration,
    /// Since the last suspension ended.
    pub resumed: Option<Duration>,
    pub is_shutting_down: bool,
    pub has_systemd: bool,
    /// The mount is in a mount namespace other than that of the system's first process.
    pub is_foreign_namespace: bool,
}

/// What the kernel can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Ids of mounts that are never used again (6.8).
    pub has_unique_ids: bool,
    /// `MOVE_MOUNT_BENEATH` (6.5).
    pub moves_beneath: bool,
    /// The `shutdown` file of NFS ends this superblock alone, not all of the server.
    pub shuts_down_one_superblock: bool,
}

impl SuperblockKind {
    /// The option that keeps a new mount off the dead superblock, where one exists.
    pub const fn fresh_option(self) -> &'static str {
        match self {
            SuperblockKind::Ceph => "noshare",
            SuperblockKind::Smb => "nosharesock",
            _ => "nosharecache",
        }
    }
}

impl RemedyFacts {
    /// Nothing but the mount is known, which forbids nearly everything.
    pub fn of(mount: Arc<Mount>) -> RemedyFacts {
        fn unknown<T>() -> Known<T> {
            Err("it was not looked at".to_owned())
        }
        RemedyFacts {
            peer_group: None,
            death: None,
            confirmation: Confirmation::None,
            server: Server::of(&mount),
            fuse_server: if mount.kind() == FsKind::Fuse { unknown() } else { Ok(FuseServer::NotFuse) },
            below: Vec::new(),
            ancestors: Vec::new(),
            siblings: Vec::new(),
            copies: unknown(),
            stacked: unknown(),
            users: unknown(),
            unwritten: unknown(),
            kept: Vec::new(),
            origin: Origin::Unknown,
            bound_units: unknown(),
            machine: Machine {
                uptime: Duration::ZERO,
                resumed: None,
                is_shutting_down: false,
                has_systemd: false,
                is_foreign_namespace: false,
            },
            kernel: Kernel { has_unique_ids: false, moves_beneath: false, shuts_down_one_superblock: false },
            mount,
        }
    }

    /// As if the mount were dead like this for `after`, and nothing else forbade a remedy: to explain a rule.
    #[must_use]
    pub fn supposing(self, situation: Situation, after: Duration) -> RemedyFacts {
        let (reason, errno) = match situation {
            Situation::NotDead => return RemedyFacts { death: None, ..self },
            Situation::Stale => (Reason::Stale, Some(Errno::ESTALE)),
            Situation::FuseServerGone => (Reason::Disconnected, Some(Errno::ENOTCONN)),
            Situation::CephEvicted => (Reason::Error, Some(Errno::ESHUTDOWN)),
            Situation::FuseHung
            | Situation::FuseStopped
            | Situation::ServerAnswers
            | Situation::ServerSilent => (Reason::Hung, None),
            Situation::Other => (Reason::IoError, Some(Errno::EIO)),
        };
        let stale_for = if reason == Reason::Stale { after } else { Duration::ZERO };
        let death =
            Death { key: self.mount.key, reason, errno, call: Some(Call::Statfs), lasted: after, stale_for };
        RemedyFacts {
            death: Some(death),
            confirmation: Confirmation::Dead { reason, prober_ended: true },
            server: Server { answers: Ok(situation != Situation::ServerSilent), ..self.server },
            fuse_server: match situation {
                Situation::FuseServerGone => Ok(FuseServer::Gone),
                Situation::FuseHung => Ok(FuseServer::Running { pid: 0 }),
                Situation::FuseStopped => Ok(FuseServer::Stopped { pid: 0 }),
                _ => self.fuse_server,
            },
            copies: self.copies.or(Ok(Vec::new())),
            stacked: self.stacked.or(Ok(Vec::new())),
            bound_units: self.bound_units.or(Ok(Vec::new())),
            machine: Machine {
                uptime: Duration::MAX,
                resumed: None,
                is_shutting_down: false,
                ..self.machine
            },
            ..self
        }
    }

    pub fn superblock_kind(&self) -> SuperblockKind {
        superblock_kind(&self.mount)
    }

    pub fn superblock(&self) -> DeviceNumber {
        self.mount.device_number
    }

    /// Mounts of one server are remedied one after another. Without a name, it is the superblock.
    pub fn server_id(&self) -> Vec<u8> {
        self.server.name.clone().unwrap_or_else(|| self.superblock().to_string().into_bytes())
    }
}

impl Server {
    /// The server of a mount as its device names it, with nothing else known.
    pub fn of(mount: &Mount) -> Server {
        let name = server_name(mount).map(<[u8]>::to_vec);
        Server { name, answers: Err("it was not asked".to_owned()), others: Vec::new() }
    }
}

fn superblock_kind(mount: &Mount) -> SuperblockKind {
    match Family::from_fstype(mount.fstype.as_encoded_bytes()) {
        Family::Nfs => SuperblockKind::Nfs,
        Family::Smb => SuperblockKind::Smb,
        Family::Fuse => SuperblockKind::Fuse,
        Family::Other if *mount.fstype == *"ceph" => SuperblockKind::Ceph,
        Family::Other => SuperblockKind::Other,
    }
}
