//! Hooks, what they told people, and events for them.

use crate::common::{slack, wait_until};
use mount_status_monitor::monitor::{Event, Failure, Reason};
use mount_status_monitor::output::hooks::Hook;
use mount_status_monitor::output::hooks::HookAction;
use mount_status_monitor::output::hooks::HookCount;
use mount_status_monitor::output::hooks::HookSettings;
use mount_status_monitor::output::hooks::Hooks;
use mount_status_monitor::output::hooks::settings::EVENTS;
use mount_status_monitor::render::Message;
use mount_status_monitor::render::Priority;
use mount_status_monitor::render::messages;
use platform::{DeviceNumber, Mount, MountKey};
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

pub(crate) struct Told {
    pub(crate) hooks: Hooks,
    lines: Arc<Mutex<Vec<(Priority, String)>>>,
}

impl Told {
    pub(crate) fn start(hooks: Vec<Hook>) -> Told {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let tell =
            Arc::new(move |priority, text: &str| kept.lock().unwrap().push((priority, text.to_owned())));
        let settings = HookSettings::new(hooks).unwrap();
        Told { hooks: Hooks::start(settings, tell).unwrap(), lines }
    }

    pub(crate) fn failed(&self, path: &str) {
        self.hooks.offer(&failed(Path::new(path)), None, "critical");
    }

    /// Waits for a line that begins like this.
    pub(crate) fn line(&self, begins: &str, limit: Duration) -> (Priority, String) {
        let mut found = None;
        wait_until(limit + slack(), &format!("{begins} …; told so far: {:?}", self.lines()), || {
            found = self.lines().into_iter().find(|(_, text)| text.starts_with(begins));
            found.is_some()
        });
        found.unwrap()
    }

    pub(crate) fn lines(&self) -> Vec<(Priority, String)> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, name: &str) -> HookCount {
        let counts = self.hooks.counters();
        counts.into_iter().find(|hook| hook.name == name).unwrap()
    }

    pub(crate) fn done(&self, limit: Duration) {
        assert!(self.hooks.finish(limit + slack()), "not done within {limit:?}: {:?}", self.lines());
    }
}

/// A hook that is told everything.
pub(crate) fn hook(name: &str, action: HookAction, timeout: Duration) -> Hook {
    let events = EVENTS.map(str::to_owned);
    Hook::new(name, Some(&events), action, Some(timeout)).unwrap()
}

/// A script for a shell, whose `$1` is this file.
pub(crate) fn script(text: &str, file: &Path) -> HookAction {
    let words = ["/bin/sh".into(), "-c".into(), text.into(), "sh".into(), file.as_os_str().to_owned()];
    HookAction::command(words.to_vec()).unwrap()
}

pub(crate) fn command(words: &[&str]) -> HookAction {
    HookAction::command(words.iter().map(OsString::from).collect()).unwrap()
}

pub(crate) fn failed(path: &Path) -> Arc<Message> {
    let mount = Mount {
        key: MountKey(1),
        id: 1,
        parent: 0,
        device_number: DeviceNumber { major: 0, minor: 42 },
        root: "/".into(),
        mountpoint: path.into(),
        fstype: "nfs4".into(),
        device: "host:/dir".into(),
        options: "rw".into(),
        super_options: "rw".into(),
    };
    let failure = Failure {
        reason: Reason::Hung,
        errno: None,
        call: None,
        waited: Duration::from_secs(3),
        blocked_by: None,
        evidence: None,
    };
    message(Event::Failed { mount: Arc::new(mount), failure })
}

pub(crate) fn message(event: Event) -> Arc<Message> {
    let (priority, text) = messages::line(&event);
    Arc::new(Message { time: SystemTime::now(), priority, text, event: Some(event) })
}
