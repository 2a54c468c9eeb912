//! Classifies the outcome of a probe.

use crate::monitor::{LastResponse, Time};
use platform::{Call, Errno, ProbeOutcome, Usage};
use std::time::Duration;

/// Inconclusive outcomes in a row that count as a failure: it is unlikely that each probe is interrupted, or that the
/// machine lacks memory each time.
const MAX_INCONCLUSIVE: u32 = 3;
/// Probes in a row that reach another mount before the mount counts as hidden.
const MAX_WRONG_MOUNT: u32 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Classification {
    /// The mount responds.
    Alive(Option<Usage>),
    /// The mount counts as hung and responded after its timeout: the next probe decides. Otherwise storage near the edge
    /// of its timeout would fail and recover repeatedly.
    TooLate,
    Failed(Call, Errno),
    /// The probe was refused, as far as is known by the kernel itself: the storage was not reached.
    Denied(Call, Errno),
    /// The path leads to another mount, so the table is out of date.
    WrongMount,
    /// The path has led to another mount repeatedly.
    Hidden,
    /// The outcome says nothing about the mount.
    Inconclusive,
}

/// What decides besides the outcome.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Context {
    is_dead: bool,
    /// The mount counts as hung, and this response took longer than its timeout.
    is_late: bool,
    /// The mount gave a good answer before.
    has_responded: bool,
    /// No directory's permissions keep a probe from its mount.
    searches_every_directory: bool,
    /// Inconclusive outcomes since the last good one, and wrong mounts in a row, before this outcome.
    inconclusive: u32,
    wrong_mount: u32,
}

impl Context {
    /// Who probes does not change, so the kernel does not refuse what it permitted before: the server does (an evicted
    /// client, an expired ticket). Only the search of the path can be refused anew by a directory's permissions.
    fn is_refused_by_storage(&self, call: Call) -> bool {
        self.has_responded && (call != Call::Identify || self.searches_every_directory)
    }
}

pub(crate) fn classify(outcome: &ProbeOutcome, context: Context) -> Classification {
    let is_repeated = |before: u32, limit: u32| before >= limit - 1;
    match *outcome {
        ProbeOutcome::Alive(_) | ProbeOutcome::DataAlive { .. } if context.is_late => Classification::TooLate,
        ProbeOutcome::Alive(usage) | ProbeOutcome::DataAlive { usage, .. } => {
            Classification::Alive(Some(usage))
        }
        ProbeOutcome::WrongMount if is_repeated(context.wrong_mount, MAX_WRONG_MOUNT) && !context.is_dead => {
            Classification::Hidden
        }
        ProbeOutcome::WrongMount => Classification::WrongMount,
        ProbeOutcome::Failed { call, errno } if call.is_of_data() && is_refusal_of_data(errno) => {
            Classification::Denied(call, errno)
        }
        ProbeOutcome::Failed { call, errno } => match errno {
            // A server without this call has responded.
            Errno::ENOSYS | Errno::EOPNOTSUPP if context.is_late => Classification::TooLate,
            Errno::ENOSYS | Errno::EOPNOTSUPP => Classification::Alive(None),
            Errno::EACCES | Errno::EPERM if context.is_refused_by_storage(call) => {
                Classification::Failed(call, errno)
            }
            // The kernel itself refuses, or cannot handle the path: the storage was not reached.
            Errno::EACCES | Errno::EPERM | Errno::ENAMETOOLONG => Classification::Denied(call, errno),
            // `umount -f` interrupts a probe with 512 (NFS), a signal with EINTR; the machine lacks memory or files.
            Errno::EINTR | Errno::RESTART | Errno::ENOMEM | Errno::ENFILE | Errno::EMFILE
                if !is_repeated(context.inconclusive, MAX_INCONCLUSIVE) =>
            {
                Classification::Inconclusive
            }
            _ => Classification::Failed(call, errno),
        },
    }
}

/// Whether an error of a data-path probe is no failure of the storage: the file is not as the rule says, may not be
/// accessed, or has no room.
fn is_refusal_of_data(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EACCES
            | Errno::EAGAIN
            | Errno::EDQUOT
            | Errno::EEXIST
            | Errno::EFBIG
            | Errno::EINVAL
            | Errno::EISDIR
            | Errno::ELOOP
            | Errno::ENAMETOOLONG
            | Errno::ENOENT
            | Errno::ENOSPC
            | Errno::ENOSYS
            | Errno::ENOTDIR
            | Errno::ENXIO
            | Errno::EOPNOTSUPP
            | Errno::EPERM
            | Errno::EROFS
            | Errno::ETXTBSY
            | Errno::EXDEV
    )
}

/// The earlier responses of one mount that affect the classification of the next.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct ResponseHistory {
    pub(crate) last_response: Option<LastResponse>,
    /// It gave a good answer since it was mounted.
    has_responded: bool,
    inconclusive: u32,
    wrong_mount: u32,
    /// `ST_RDONLY` of the last response that contradicted the table.
    contradicting_read_only: Option<bool>,
}

impl ResponseHistory {
    pub(crate) fn record(
        &mut self,
        now: Time,
        outcome: &ProbeOutcome,
        took: Duration,
        is_dead: bool,
        is_late: bool,
        searches_every_directory: bool,
    ) -> Classification {
        let ResponseHistory { has_responded, inconclusive, wrong_mount, .. } = *self;
        let context =
            Context { is_dead, is_late, has_responded, searches_every_directory, inconclusive, wrong_mount };
        let classification = classify(outcome, context);
        match classification {
            Classification::Alive(usage) => {
                (self.has_responded, self.inconclusive, self.wrong_mount) = (true, 0, 0);
                self.last_response = Some(LastResponse { at: now, took, usage });
            }
            Classification::Failed(..) => {
                self.wrong_mount = 0;
                self.last_response = Some(LastResponse { at: now, took, usage: None });
            }
            Classification::Denied(..) => self.wrong_mount = 0,
            Classification::WrongMount => self.wrong_mount = self.wrong_mount.saturating_add(1),
            Classification::Inconclusive => self.inconclusive += 1,
            Classification::Hidden | Classification::TooLate => {}
        }
        classification
    }

    /// It gave a good answer to an earlier daemon.
    pub(crate) fn restore_response(&mut self) {
        self.has_responded = true;
    }

    /// Does a response contradict the table, for the first time in this way? The kernel makes a file system read-only
    /// without an event (`errors=remount-ro`).
    pub(crate) fn is_new_contradiction(&mut self, read_only: bool, in_table: bool) -> bool {
        read_only != in_table && self.contradicting_read_only.replace(read_only) != Some(read_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(errno: Errno) -> ProbeOutcome {
        ProbeOutcome::Failed { call: Call::Statfs, errno }
    }

    fn data(errno: Errno) -> ProbeOutcome {
        ProbeOutcome::Failed { call: Call::Write, errno }
    }

    #[test]
    fn classification_of_every_kind_of_outcome() {
        use Classification::{Alive, Denied, Failed, Hidden, Inconclusive, TooLate, WrongMount};
        let alive = ProbeOutcome::Alive(Usage::default());
        let data_alive = ProbeOutcome::DataAlive { usage: Usage::default(), past_cache: true };
        let none = Context::default();
        let known = Context { has_responded: true, ..none };
        let path_refused = ProbeOutcome::Failed { call: Call::Identify, errno: Errno::EACCES };
        let late = Context { is_late: true, is_dead: true, ..none };
        let dead = Context { is_dead: true, wrong_mount: 7, ..none };
        for (outcome, context, expected) in [
            (alive, none, Alive(Some(Usage::default()))),
            (alive, late, TooLate),
            (failed(Errno::ENOSYS), none, Alive(None)),
            (failed(Errno::ENOSYS), late, TooLate),
            (failed(Errno::EIO), none, Failed(Call::Statfs, Errno::EIO)),
            (failed(Errno::EIO), late, Failed(Call::Statfs, Errno::EIO)),
            (failed(Errno::EACCES), none, Denied(Call::Statfs, Errno::EACCES)),
            (failed(Errno::EACCES), known, Failed(Call::Statfs, Errno::EACCES)),
            (failed(Errno::EPERM), known, Failed(Call::Statfs, Errno::EPERM)),
            (failed(Errno::ENAMETOOLONG), known, Denied(Call::Statfs, Errno::ENAMETOOLONG)),
            (failed(Errno::ESHUTDOWN), none, Failed(Call::Statfs, Errno::ESHUTDOWN)),
            (path_refused, known, Denied(Call::Identify, Errno::EACCES)),
            (
                path_refused,
                Context { searches_every_directory: true, ..known },
                Failed(Call::Identify, Errno::EACCES),
            ),
            (
                path_refused,
                Context { searches_every_directory: true, ..none },
                Denied(Call::Identify, Errno::EACCES),
            ),
            (data_alive, none, Alive(Some(Usage::default()))),
            (data_alive, late, TooLate),
            (data(Errno::ENOSPC), known, Denied(Call::Write, Errno::ENOSPC)),
            (data(Errno::EDQUOT), known, Denied(Call::Write, Errno::EDQUOT)),
            (data(Errno::EROFS), known, Denied(Call::Write, Errno::EROFS)),
            (data(Errno::EACCES), known, Denied(Call::Write, Errno::EACCES)),
            (data(Errno::ENOENT), known, Denied(Call::Write, Errno::ENOENT)),
            (failed(Errno::ENOSPC), known, Failed(Call::Statfs, Errno::ENOSPC)),
            (data(Errno::EIO), known, Failed(Call::Write, Errno::EIO)),
            (data(Errno::ESTALE), known, Failed(Call::Write, Errno::ESTALE)),
            (data(Errno::EINTR), known, Inconclusive),
            (failed(Errno::EINTR), none, Inconclusive),
            (failed(Errno::EINTR), Context { inconclusive: 2, ..none }, Failed(Call::Statfs, Errno::EINTR)),
            (ProbeOutcome::WrongMount, none, WrongMount),
            (ProbeOutcome::WrongMount, Context { wrong_mount: 1, ..none }, Hidden),
            (ProbeOutcome::WrongMount, dead, WrongMount),
        ] {
            assert_eq!(classify(&outcome, context), expected, "{outcome:?} {context:?}");
        }
    }

    #[test]
    fn contradiction_is_new_once_for_each_flag() {
        let mut history = ResponseHistory::default();
        let new: Vec<bool> = [(true, false), (true, false), (false, false), (false, true), (false, true)]
            .map(|(read_only, in_table)| history.is_new_contradiction(read_only, in_table))
            .into();
        assert_eq!(new, [true, false, false, true, false]);
    }
}
