//! Notifications for the service manager (sd_notify): ready, reloading, stopping, the watchdog's sign of life and a status
//! line. Sent by the loop itself, which is what they vouch for. Sending never waits: what the manager does not take now is
//! pending.

use crate::monitor::Time;
use platform::service::ServiceManager;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Between two status lines.
const MIN_STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// With very many mounts the status line costs milliseconds: at most one part in a hundred of a core.
const STATUS_INTERVAL_PER_COST: u32 = 100;
/// After the manager did not take a message.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Signs of life for each watchdog timeout: one may be late.
const SIGNS_PER_WATCHDOG: u32 = 2;

pub(super) struct ServiceNotifier {
    manager: Option<ServiceManager>,
    watchdog_due: Option<Time>,
    pending: Pending,
    is_reloading: bool,
    /// The last status line that was sent.
    status: String,
    health_revision: u64,
    status_not_before: Time,
    send_not_before: Time,
    /// An error was returned and nothing was sent since.
    is_failing: bool,
}

#[derive(Default)]
struct Pending {
    /// `MONOTONIC_USEC` of the last reload, by which the manager recognises its own request.
    reloading: Option<u64>,
    ready: bool,
    stopping: bool,
    status: bool,
}

impl ServiceNotifier {
    pub(super) fn new(manager: Option<ServiceManager>) -> ServiceNotifier {
        // The first sign of life is due at once: the timeout runs since the program was started.
        let watchdog_due = manager.as_ref().and_then(ServiceManager::watchdog).map(|_| Time::default());
        ServiceNotifier {
            manager,
            watchdog_due,
            pending: Pending::default(),
            is_reloading: false,
            status: String::new(),
            health_revision: 0,
            status_not_before: Time::default(),
            send_not_before: Time::default(),
            is_failing: false,
        }
    }

    pub(super) fn ready(&mut self) {
        self.pending.ready = true;
        self.pending.status = true;
    }

    pub(super) fn reloading(&mut self, monotonic_usec: u64) {
        self.pending.reloading = Some(monotonic_usec);
        self.is_reloading = true;
    }

    /// The reload is over, whether the configuration was applied or refused.
    pub(super) fn reloaded(&mut self) {
        if std::mem::take(&mut self.is_reloading) {
            self.ready();
        }
    }

    /// Sent once, at once: the daemon does not wait for it.
    pub(super) fn stopping(&mut self) {
        self.pending = Pending { stopping: true, ..Pending::default() };
        self.send_not_before = Time::default();
    }

    pub(super) fn set_revision(&mut self, health_revision: u64) {
        self.pending.status |= health_revision != self.health_revision;
        self.health_revision = health_revision;
    }

    /// The status line may be out of date.
    pub(super) fn mark_changed(&mut self) {
        self.pending.status = true;
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.manager.as_ref()?;
        let Pending { reloading, ready, stopping, status } = self.pending;
        let states = (reloading.is_some() || ready || stopping).then_some(self.send_not_before);
        let status = status.then_some(self.status_not_before.max(self.send_not_before));
        [states, status, self.watchdog_due].into_iter().flatten().min()
    }

    /// Sends what is due. `status` makes the status line and says how long that took.
    ///
    /// # Errors
    /// The first failure in a row. A manager that is busy or hangs is none: it gets what is pending when it reads again.
    pub(super) fn send_due(
        &mut self,
        now: Time,
        status: impl FnOnce() -> (String, Duration),
    ) -> io::Result<()> {
        if self.next_deadline().is_none_or(|next| next > now) {
            return Ok(());
        }
        let Err(error) = self.send(now, status) else {
            self.is_failing = false;
            return Ok(());
        };
        self.send_not_before = now + RETRY_INTERVAL;
        let is_known = error.kind() == ErrorKind::WouldBlock || std::mem::replace(&mut self.is_failing, true);
        if is_known { Ok(()) } else { Err(error) }
    }

    fn send(&mut self, now: Time, status: impl FnOnce() -> (String, Duration)) -> io::Result<()> {
        let Some(manager) = &self.manager else { return Ok(()) };
        if let (Some(timeout), Some(true)) = (manager.watchdog(), self.watchdog_due.map(|due| due <= now)) {
            let interval = timeout / SIGNS_PER_WATCHDOG;
            self.watchdog_due = Some(now + interval.min(RETRY_INTERVAL));
            manager.send("WATCHDOG=1")?;
            self.watchdog_due = Some(now + interval);
        }
        if now < self.send_not_before {
            return Ok(());
        }
        let pending = &mut self.pending;
        if let Some(usec) = pending.reloading {
            manager.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"))?;
            pending.reloading = None;
        }
        if pending.ready {
            manager.send("READY=1")?;
            pending.ready = false;
        }
        if pending.stopping {
            manager.send("STOPPING=1\nSTATUS=Stopping")?;
            pending.stopping = false;
        }
        if pending.status && self.status_not_before <= now {
            let (status, cost) = status();
            self.status_not_before =
                now + MIN_STATUS_INTERVAL.max(cost.saturating_mul(STATUS_INTERVAL_PER_COST));
            if status != self.status {
                manager.send(&format!("STATUS={status}"))?;
                self.status = status;
            }
            pending.status = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// A notifier, and the manager's end of its socket.
    fn notifier(watchdog: Option<Duration>) -> (ServiceNotifier, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ServiceNotifier::new(Some(ServiceManager::new(ours, watchdog).unwrap())), theirs)
    }

    /// The same, after READY and the status line `a` at 0.
    fn ready_notifier(watchdog: Option<Duration>) -> (ServiceNotifier, UnixDatagram) {
        let (mut notifier, manager) = notifier(watchdog);
        notifier.ready();
        send(&mut notifier, at(0), "a").unwrap();
        received(&manager);
        (notifier, manager)
    }

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    fn send(notifier: &mut ServiceNotifier, now: Time, status: &str) -> io::Result<()> {
        notifier.send_due(now, || (status.to_owned(), Duration::ZERO))
    }

    fn received(manager: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut receive =
            || manager.recv(&mut buffer).map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned());
        std::iter::from_fn(|| receive().ok()).collect()
    }

    #[test]
    fn without_a_manager_nothing_is_due() {
        let mut notifier = ServiceNotifier::new(None);
        notifier.ready();
        assert_eq!(notifier.next_deadline(), None);
        send(&mut notifier, at(0), "a").unwrap();
    }

    #[test]
    fn nothing_is_sent_before_the_daemon_is_ready() {
        let (mut notifier, manager) = notifier(None);
        send(&mut notifier, at(0), "a").unwrap();
        assert_eq!((received(&manager), notifier.next_deadline()), (vec![], None));
        notifier.ready();
        assert_eq!(notifier.next_deadline(), Some(at(0)));
        send(&mut notifier, at(5), "a").unwrap();
        assert_eq!(received(&manager), ["READY=1", "STATUS=a"]);
        assert_eq!(notifier.next_deadline(), None);
    }

    #[test]
    fn changed_status_is_sent_at_most_once_per_interval() {
        let (mut notifier, manager) = ready_notifier(None);
        notifier.mark_changed();
        send(&mut notifier, at(10), "b").unwrap();
        assert_eq!((received(&manager), notifier.next_deadline()), (vec![], Some(at(1_000))));
        send(&mut notifier, at(1_000), "b").unwrap();
        assert_eq!(received(&manager), ["STATUS=b"]);
        notifier.set_revision(7);
        send(&mut notifier, at(3_000), "b").unwrap();
        assert_eq!((received(&manager), notifier.next_deadline()), (vec![], None));
        notifier.set_revision(7);
        assert_eq!(notifier.next_deadline(), None);
    }

    #[test]
    fn expensive_status_is_made_rarely() {
        let (mut notifier, _manager) = notifier(None);
        notifier.ready();
        notifier.send_due(at(0), || ("a".into(), Duration::from_millis(50))).unwrap();
        notifier.mark_changed();
        assert_eq!(notifier.next_deadline(), Some(at(5_000)));
    }

    #[test]
    fn signs_of_life_are_sent_at_half_of_the_watchdog_timeout() {
        let (mut notifier, manager) = notifier(Some(Duration::from_secs(30)));
        assert_eq!(notifier.next_deadline(), Some(at(0)));
        send(&mut notifier, at(1), "a").unwrap();
        assert_eq!(received(&manager), ["WATCHDOG=1"]);
        assert_eq!(notifier.next_deadline(), Some(at(15_001)));
        send(&mut notifier, at(9_000), "a").unwrap();
        assert_eq!(received(&manager), [""; 0]);
        send(&mut notifier, at(15_001), "a").unwrap();
        assert_eq!(received(&manager), ["WATCHDOG=1"]);
    }

    #[test]
    fn a_reload_has_the_time_of_its_request() {
        let (mut notifier, manager) = ready_notifier(None);
        notifier.reloading(123);
        notifier.reloaded();
        notifier.reloaded();
        send(&mut notifier, at(1), "a").unwrap();
        assert_eq!(received(&manager), ["RELOADING=1\nMONOTONIC_USEC=123", "READY=1"]);
    }

    #[test]
    fn stopping_is_sent_at_once_and_alone() {
        let (mut notifier, manager) = ready_notifier(None);
        notifier.mark_changed();
        notifier.stopping();
        send(&mut notifier, at(1), "a").unwrap();
        assert_eq!(received(&manager), ["STOPPING=1\nSTATUS=Stopping"]);
    }

    /// Process 1 hangs on a mount and does not read.
    #[test]
    fn manager_that_does_not_read_gets_the_last_state_only() {
        let (mut notifier, manager) = ready_notifier(Some(Duration::from_secs(30)));
        while notifier.manager.as_ref().unwrap().send("X=1").is_ok() {}
        for n in 1..=100 {
            notifier.reloading(n);
            notifier.reloaded();
            send(&mut notifier, at(20_000 + n), "b").expect("a busy manager is no error");
        }
        assert_eq!(notifier.next_deadline(), Some(at(21_001)), "it is tried again, but not at once");
        received(&manager);
        send(&mut notifier, at(22_000), "b").unwrap();
        let expected = ["WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=100", "READY=1", "STATUS=b"];
        assert_eq!(received(&manager), expected);
    }

    #[test]
    fn manager_that_is_gone_is_one_error() {
        let (mut notifier, manager) = notifier(None);
        drop(manager);
        notifier.ready();
        assert!(send(&mut notifier, at(0), "a").is_err());
        assert!(send(&mut notifier, at(1_000), "a").is_ok());
        assert_eq!(notifier.next_deadline(), Some(at(2_000)));
    }
}
