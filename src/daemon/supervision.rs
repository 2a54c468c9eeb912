//! Notifications for the service manager (sd_notify): ready, reloading, stopping, the watchdog's keep-alive and a
//! status line. The event loop sends them itself, so they prove that it runs. Sending never waits: messages that the
//! manager does not accept now stay pending.

use super::cost_throttle::CostThrottle;
use crate::monitor::Time;
use platform::service::ServiceManager;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::time::Duration;

const MIN_STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// With very many mounts the status line costs milliseconds; this limits it to 1/100 of a core.
const STATUS_COST_FACTOR: u32 = 100;
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Keep-alives per watchdog timeout: one may be late.
const SIGNS_PER_WATCHDOG: u32 = 2;

pub(super) struct ServiceNotifier {
    manager: Option<ServiceManager>,
    watchdog_due: Option<Time>,
    /// States that were not sent to the manager yet. A newer message of the same kind replaces an older one.
    pending: BTreeMap<State, String>,
    status: String,
    status_throttle: CostThrottle,
    send_not_before: Time,
    /// An error was returned, and nothing has been sent since.
    is_failing: bool,
}

/// In the order in which they are sent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Reloading,
    Ready,
    Stopping,
}

impl ServiceNotifier {
    pub(super) fn new(manager: Option<ServiceManager>) -> ServiceNotifier {
        // The first keep-alive is due at once: the timeout runs since the program was started.
        let watchdog_due = manager.as_ref().and_then(ServiceManager::watchdog).map(|_| Time::default());
        ServiceNotifier {
            manager,
            watchdog_due,
            pending: BTreeMap::new(),
            status: String::new(),
            status_throttle: CostThrottle::new(MIN_STATUS_INTERVAL, STATUS_COST_FACTOR),
            send_not_before: Time::default(),
            is_failing: false,
        }
    }

    /// Called at the start, and at the end of each reload, whether the configuration was applied or refused.
    pub(super) fn ready(&mut self) {
        self.pending.insert(State::Ready, "READY=1".to_owned());
        self.status_throttle.mark_changed();
    }

    /// The manager recognises its own request by the time.
    pub(super) fn reloading(&mut self, monotonic_usec: u64) {
        let message = format!("RELOADING=1\nMONOTONIC_USEC={monotonic_usec}");
        self.pending.insert(State::Reloading, message);
    }

    /// Sent once, immediately: the daemon does not wait for it.
    pub(super) fn stopping(&mut self) {
        self.pending = [(State::Stopping, "STOPPING=1\nSTATUS=Stopping".to_owned())].into();
        self.status_throttle = CostThrottle::new(MIN_STATUS_INTERVAL, STATUS_COST_FACTOR);
        self.send_not_before = Time::default();
    }

    pub(super) fn mark_changed(&mut self) {
        self.status_throttle.mark_changed();
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.manager.as_ref()?;
        let state = (!self.pending.is_empty()).then_some(self.send_not_before);
        let status = self.status_throttle.next_deadline().map(|at| at.max(self.send_not_before));
        [state, status, self.watchdog_due].into_iter().flatten().min()
    }

    /// Sends what is due. `status` makes the status line and returns how long that took. Only the first of several
    /// consecutive failures is an error. A busy or hung manager is not an error: it gets pending messages when it reads
    /// again.
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
        while let Some(pending) = self.pending.first_entry() {
            manager.send(pending.get())?;
            pending.remove();
        }
        if self.status_throttle.is_due(now) {
            let (status, cost) = status();
            if status != self.status {
                manager.send(&format!("STATUS={status}"))?;
                self.status = status;
            }
            self.status_throttle.finish(now, cost);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    const NOTHING: &[String] = &[];

    struct Fixture {
        notifier: ServiceNotifier,
        manager: UnixDatagram,
    }

    impl Fixture {
        fn new(watchdog: Option<Duration>) -> Fixture {
            let (ours, manager) = UnixDatagram::pair().unwrap();
            manager.set_nonblocking(true).unwrap();
            let service = ServiceManager::new(ours, watchdog).unwrap();
            Fixture { notifier: ServiceNotifier::new(Some(service)), manager }
        }

        /// After READY and the status line `a` at 0.
        fn ready(watchdog: Option<Duration>) -> Fixture {
            let mut fixture = Fixture::new(watchdog);
            fixture.notifier.ready();
            fixture.send(0, "a");
            fixture
        }

        fn send_due(&mut self, ms: u64, status: &str) -> io::Result<()> {
            self.notifier.send_due(at(ms), || (status.to_owned(), Duration::ZERO))
        }

        /// What the manager receives when what is due at that time is sent.
        fn send(&mut self, ms: u64, status: &str) -> Vec<String> {
            self.send_due(ms, status).expect("the manager is there");
            self.received()
        }

        fn received(&self) -> Vec<String> {
            let mut buffer = [0; 4096];
            std::iter::from_fn(|| {
                let length = self.manager.recv(&mut buffer).ok()?;
                Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
            })
            .collect()
        }

        fn next(&self) -> Option<Time> {
            self.notifier.next_deadline()
        }
    }

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    #[test]
    fn nothing_is_due_without_a_manager_or_before_the_daemon_is_ready() {
        let mut notifier = ServiceNotifier::new(None);
        notifier.ready();
        assert_eq!(notifier.next_deadline(), None);
        let mut fixture = Fixture::new(None);
        assert_eq!(fixture.send(0, "a"), NOTHING);
        assert_eq!(fixture.next(), None);
        fixture.notifier.ready();
        assert_eq!(fixture.next(), Some(at(0)));
        assert_eq!(fixture.send(5, "a"), ["READY=1", "STATUS=a"]);
        assert_eq!(fixture.next(), None);
    }

    #[test]
    fn changed_status_is_sent_at_most_once_per_interval() {
        let mut fixture = Fixture::ready(None);
        fixture.notifier.mark_changed();
        assert_eq!(fixture.send(10, "b"), NOTHING);
        assert_eq!(fixture.next(), Some(at(1_000)));
        assert_eq!(fixture.send(1_000, "b"), ["STATUS=b"]);
        fixture.notifier.mark_changed();
        assert_eq!(fixture.send(3_000, "b"), NOTHING);
        assert_eq!(fixture.next(), None);
    }

    #[test]
    fn signs_of_life_are_sent_at_half_of_the_watchdog_timeout() {
        let mut fixture = Fixture::new(Some(Duration::from_secs(30)));
        assert_eq!(fixture.next(), Some(at(0)));
        assert_eq!(fixture.send(1, "a"), ["WATCHDOG=1"]);
        assert_eq!(fixture.next(), Some(at(15_001)));
        assert_eq!(fixture.send(9_000, "a"), NOTHING);
        assert_eq!(fixture.send(15_001, "a"), ["WATCHDOG=1"]);
    }

    #[test]
    fn reload_has_the_time_of_its_request_and_stopping_is_sent_at_once_and_alone() {
        let mut fixture = Fixture::ready(None);
        fixture.notifier.reloading(123);
        fixture.notifier.ready();
        assert_eq!(fixture.send(1, "a"), ["RELOADING=1\nMONOTONIC_USEC=123", "READY=1"]);
        fixture.notifier.mark_changed();
        fixture.notifier.stopping();
        assert_eq!(fixture.send(2, "a"), ["STOPPING=1\nSTATUS=Stopping"]);
    }

    /// Process 1 hangs on a mount and does not read.
    #[test]
    fn manager_that_does_not_read_gets_the_last_state_only() {
        let mut fixture = Fixture::ready(Some(Duration::from_secs(30)));
        while fixture.notifier.manager.as_ref().unwrap().send("X=1").is_ok() {}
        for n in 1..=100 {
            fixture.notifier.reloading(n);
            fixture.notifier.ready();
            fixture.send_due(20_000 + n, "b").expect("being busy is no error");
        }
        assert_eq!(fixture.next(), Some(at(21_001)), "it is tried again, but not at once");
        fixture.received();
        let expected = ["WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=100", "READY=1", "STATUS=b"];
        assert_eq!(fixture.send(22_000, "b"), expected);
    }

    #[test]
    fn manager_that_is_gone_is_one_error() {
        let mut fixture = Fixture::new(None);
        fixture.manager = UnixDatagram::unbound().unwrap();
        fixture.notifier.ready();
        assert!(fixture.send_due(0, "a").is_err());
        assert!(fixture.send_due(1_000, "a").is_ok());
        assert_eq!(fixture.next(), Some(at(2_000)));
    }
}
