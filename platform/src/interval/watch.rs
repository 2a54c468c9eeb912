//! The mount table, read from its text when the timer is ready.

use super::mountinfo;
use crate::portable::interval_timer::IntervalTimer;
use crate::portable::whole_table_only;
use crate::{Changes, MountSource, MountTable, MountTree};
use mio::Interest;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often the table is read. This is the maximum delay of a report; 10,000 mounts cost two percent of a core.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// The table of the mount namespace of this process.
pub const OWN_MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// The mount table, and an event in each interval.
#[derive(Debug)]
pub struct MountWatch {
    path: PathBuf,
    timer: IntervalTimer,
}

impl MountWatch {
    /// Opens the table at `path`. There is only one way to read it.
    ///
    /// # Errors
    /// The table cannot be opened; no thread can be started.
    pub fn open(path: &Path, _: MountSource) -> io::Result<MountWatch> {
        fs::File::open(path)?;
        let timer = IntervalTimer::start(READ_INTERVAL)?;
        Ok(MountWatch { path: path.into(), timer })
    }

    /// Reads the whole table. Unchanged entries are those of `known`.
    ///
    /// # Errors
    /// Those of `read(2)`; `InvalidData` quoting an invalid line.
    pub fn read(&mut self, known: &MountTree) -> io::Result<MountTable> {
        let text = fs::read(&self.path)?;
        let mut mounts = Vec::with_capacity(known.len());
        for line in mountinfo::lines(&text) {
            let line = line?;
            mounts.push(match known.get(line.reusable_key()) {
                Some(entry) if line.matches(entry) => Arc::clone(entry),
                _ => Arc::new(line.to_mount(line.reusable_key())),
            });
        }
        Ok(MountTable::new(mounts))
    }

    /// Returns what an event means. Must be called after each event. Never blocks.
    pub fn take_changes(&mut self) -> Changes {
        Changes { table: self.timer.take_ready(), server_not_responding: false }
    }
}

whole_table_only!(MountWatch);
impl_source!(MountWatch, |watch| watch.timer, Interest::READABLE);
