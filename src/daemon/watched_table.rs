//! The mount table at the start: watched, and read once. Commands choose mounts from it, and the daemon goes on from there.

use super::MOUNTS;
use super::clock::Clock;
use super::table_reader::TableReader;
use crate::config::Config;
use anyhow::Context as _;
use mio::Poll;
use platform::{MountNamespace, MountTable, MountWatch};
use std::time::Duration;

pub struct WatchedTable {
    pub(super) poll: Poll,
    pub(super) clock: Clock,
    pub(super) reader: TableReader,
    /// `None` for our own.
    pub(super) namespace: Option<MountNamespace>,
    pub(super) table: MountTable,
}

impl WatchedTable {
    /// The table is watched before it is read, so that no change is missed.
    pub fn read(config: &Config, namespace: Option<MountNamespace>) -> anyhow::Result<WatchedTable> {
        let poll = Poll::new().context("cannot create an event queue")?;
        let clock = Clock::start();
        let own = platform::OWN_MOUNT_TABLE;
        let watch = match &namespace {
            None => MountWatch::open(own.as_ref(), config.mount_source)
                .with_context(|| format!("cannot open {own} ({})", platform::MOUNT_TABLE_HINT))?,
            Some(namespace) => namespace
                .watch(config.mount_source)
                .context("cannot open the table of the mount namespace")?,
        };
        let mut reader =
            TableReader::new(watch, poll.registry(), MOUNTS).context("cannot wait for mounts")?;
        let table = reader.read_first(clock).context("cannot read the mount table")?;
        Ok(WatchedTable { poll, clock, reader, namespace, table })
    }

    /// The start of the daemon by the clock that all daemons of this run of the machine share.
    pub fn clock_start(&self) -> Duration {
        platform::monotonic_time().saturating_sub(self.clock.now().since_start())
    }

    /// The number of the watched mount namespace; `None` for our own.
    pub fn namespace(&self) -> Option<u64> {
        self.namespace.as_ref().map(MountNamespace::inode)
    }

    pub fn table(&self) -> &MountTable {
        &self.table
    }
}
