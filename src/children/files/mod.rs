//! Work on files that an operator names: the configuration, the text file, sockets, secrets, and what the system reads
//! to look up a name. Such a path may lead to storage that hangs, and a thread that waits there keeps its process from
//! ending. So no thread of the daemon touches such a path: a child does.
//!
//! ```text
//!   a thread of the daemon                                child: may wait for storage, forever
//!   FileWorker, FileSession --- request --> packets ------> process --> execute: replace, socket, config_files, ...
//!     ^                                                       |
//!     +------ reply, descriptor, or the deadline <------------+
//! ```
//!
//! * [`FileWorker`] is one use of files. At the deadline its child is killed. If it cannot be killed, it is left behind,
//!   and no other is started for this use until it is gone.
//! * [`FileWatcher`] reports changes of the configuration files, [`StderrCopier`] writes standard error to its file.
//! * `helper` is the daemon's end of one child; `request` and `fields` are the protocol.

mod config_files;
mod copier;
mod execute;
mod fields;
mod helper;
pub(super) mod process;
mod replace;
mod request;
mod saved_state;
mod socket;
mod trust;
mod units;
mod walk;
mod watch;
mod watcher;
mod worker;

pub use copier::StderrCopier;
pub use helper::{left_behind, use_children};
pub use watcher::FileWatcher;
pub use worker::{
    ConfigFiles, ConfigItem, ConfigItemKind, FileFingerprint, FileSession, FileWorker, OpenedState,
    SocketIdentity, StateText,
};
