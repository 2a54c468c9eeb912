//! What happened to the mount table during a call.

use super::super::mount_events::{MountEvent, MountEvents};
use crate::MountKey;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

/// What a [`ChangeWindow`] has seen, in order.
#[derive(Debug)]
pub struct WindowChanges(Vec<MountEvent>);

impl WindowChanges {
    /// The mounts that left, moved ones too.
    #[must_use]
    pub fn detached(&self) -> Vec<MountKey> {
        self.0.iter().filter(|event| event.is_detached).map(|event| MountKey(event.id)).collect()
    }

    /// Those that came after this one had left, and then left too: one of them may have had its place.
    #[must_use]
    pub fn detached_after(&self, key: MountKey) -> Vec<MountKey> {
        let left = self.0.iter().position(|event| event.id == key.0 && event.is_detached);
        let later = left.map_or(&[][..], |left| &self.0[left + 1..]);
        let came = |id| later.iter().position(|event| event.id == id && event.is_attached);
        let came_and_left =
            |n: usize| later[n].is_detached && came(later[n].id).is_some_and(|came| came <= n);
        (0..later.len()).filter(|n| came_and_left(*n)).map(|n| MountKey(later[n].id)).collect()
    }
}

/// Tells which mounts left the table since it was opened, also those that came and went. Two tables, from before and after,
/// do not show these.
#[derive(Debug)]
pub struct ChangeWindow(MountEvents);

impl ChangeWindow {
    /// # Errors
    /// The kernel does not report changes of mounts (before 6.15).
    pub fn open() -> io::Result<ChangeWindow> {
        let namespace = File::open("/proc/self/ns/mnt")?;
        MountEvents::of(namespace.as_fd()).map(ChangeWindow)
    }

    /// The mounts that left, moved ones too; `None` if there were too many changes.
    #[must_use]
    pub fn close(mut self) -> Option<WindowChanges> {
        self.0.read();
        self.0.take().map(WindowChanges)
    }
}
