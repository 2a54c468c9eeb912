//! The mount table, read from its text whenever the timer says so.

use super::mountinfo;
use crate::portable::ticker::Ticker;
use crate::{Changes, MountTable};
use mio::{Interest, Registry, Token, event::Source};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often the table is read: a mount is told of this late at most, and 10,000 mounts cost two percent of a processor.
const INTERVAL: Duration = Duration::from_secs(1);

/// The table of the mount namespace that this process is in.
pub const OWN_MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// The mount table, and an event each second.
#[derive(Debug)]
pub struct MountWatch {
    path: PathBuf,
    table: MountTable,
    ticker: Ticker,
}

impl MountWatch {
    /// Will read the table at `path`.
    ///
    /// # Errors
    /// No thread can be started; the table is not there.
    pub fn open(path: &Path) -> io::Result<MountWatch> {
        fs::File::open(path)?;
        let ticker = Ticker::start(INTERVAL, || true)?;
        Ok(MountWatch { path: path.into(), table: MountTable::default(), ticker })
    }

    /// Reads the whole table. Entries that did not change are the same `Arc` as in the reading before.
    ///
    /// # Errors
    /// Those of `read(2)`; a line that cannot be understood is an error that quotes it.
    pub fn read(&mut self) -> io::Result<MountTable> {
        let text = fs::read(&self.path)?;
        let mut mounts = Vec::with_capacity(self.table.len());
        for line in mountinfo::lines(&text) {
            let line = line?;
            mounts.push(match self.table.get(line.own_key()) {
                Some(entry) if line.says(entry) => Arc::clone(entry),
                _ => Arc::new(line.to_mount(line.own_key())),
            });
        }
        self.table = MountTable::new(mounts);
        Ok(self.table.clone())
    }

    /// The same: there is no cheaper way.
    ///
    /// # Errors
    /// As [`MountWatch::read`].
    pub fn refresh(&mut self) -> io::Result<MountTable> {
        self.read()
    }

    /// Does the last reading lack anything? No.
    #[must_use]
    pub fn full_read_due(&self) -> bool {
        false
    }

    /// What to do after an event: to be called after each. Never waits.
    pub fn take_changes(&mut self) -> Changes {
        Changes { table: self.ticker.take(), server_not_responding: false }
    }
}

impl Source for MountWatch {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.ticker.register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.ticker.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.ticker.deregister(registry)
    }
}
