//! Running hooks, what they have logged, and events for them.

use crate::common::{slack, wait_until};
use crate::samples::{failure, nfs_mount};
use mount_status_monitor::monitor::{Event, Reason};
use mount_status_monitor::output::hooks::{EVENTS, Hook, HookAction, Hooks};
use mount_status_monitor::render::metrics::HookStats;
use mount_status_monitor::render::{Message, Priority, messages};
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

pub(crate) struct HookFixture {
    pub(crate) handle: Hooks,
    lines: Arc<Mutex<Vec<(Priority, String)>>>,
}

impl HookFixture {
    pub(crate) fn start(hooks: Vec<Hook>) -> HookFixture {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let logged = Arc::clone(&lines);
        let log =
            Arc::new(move |priority, text: &str| logged.lock().unwrap().push((priority, text.to_owned())));
        let handle = Hooks::start(&hooks, log).unwrap();
        HookFixture { handle, lines }
    }

    /// Offers the event that this mount is hung.
    pub(crate) fn offer_failure(&self, path: &str) {
        self.handle.offer(&failure_event(path), None, "critical");
    }

    /// Offers this event for this many mounts: `/mnt/0` and so on.
    pub(crate) fn offer_failures(&self, mounts: usize) {
        (0..mounts).for_each(|n| self.offer_failure(&format!("/mnt/{n}")));
    }

    /// Stops the hooks, which must not take longer.
    pub(crate) fn stop_within(&self, limit: Duration) {
        let begun = Instant::now();
        self.handle.stop(limit);
        assert!(begun.elapsed() < limit + slack(), "{:?}", begun.elapsed());
    }

    /// Waits for a logged line with this prefix.
    pub(crate) fn wait_for_line(&self, prefix: &str, limit: Duration) -> (Priority, String) {
        let mut found = None;
        wait_until(limit, &format!("{prefix} …; logged so far: {:?}", self.lines()), || {
            found = self.lines().into_iter().find(|(_, text)| text.starts_with(prefix));
            found.is_some()
        });
        found.unwrap()
    }

    pub(crate) fn lines(&self) -> Vec<(Priority, String)> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn stats(&self, name: &str) -> HookStats {
        self.handle.counters().into_iter().find(|hook| hook.name == name).unwrap()
    }

    /// The number of events of this hook with this outcome.
    pub(crate) fn runs(&self, name: &str, outcome: &str) -> u64 {
        self.stats(name).runs.iter().find(|(known, _)| *known == outcome).unwrap().1
    }

    /// The numbers of events of this hook by outcome: ok, failed, timeout, dropped.
    pub(crate) fn outcomes(&self, name: &str) -> Vec<u64> {
        self.stats(name).runs.iter().map(|(_, count)| *count).collect()
    }

    pub(crate) fn wait_until_idle(&self, limit: Duration) {
        let is_idle = self.handle.wait_until_idle(limit + slack());
        assert!(is_idle, "not done within {limit:?}: {:?}", self.lines());
    }
}

/// A hook that selects all events.
pub(crate) fn hook(name: &str, action: HookAction, timeout: Duration) -> Hook {
    let events = EVENTS.map(str::to_owned);
    Hook::new(name, Some(&events), action, Some(timeout)).unwrap()
}

/// A script for a shell, with this file as `$1`.
pub(crate) fn script(text: &str, file: &Path) -> HookAction {
    let words = ["/bin/sh".into(), "-c".into(), text.into(), "sh".into(), file.as_os_str().to_owned()];
    HookAction::command(words.to_vec()).unwrap()
}

pub(crate) fn command(words: &[&str]) -> HookAction {
    HookAction::command(words.iter().map(OsString::from).collect()).unwrap()
}

pub(crate) fn failure_event(path: &str) -> Arc<Message> {
    let event = Event::Failed { mount: nfs_mount(path), failure: failure(Reason::Hung) };
    let (priority, text) = messages::line(&event);
    Arc::new(Message { time: SystemTime::now(), priority, text, event: Some(event) })
}
