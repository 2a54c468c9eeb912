//! What the service manager is told: that we are ready, that we reload, that we stop, that the loop turns, and a line
//! for people. It is told by the loop itself, for nothing else could vouch for it, and never waited for: what it does
//! not take now is owed to it.

use crate::monitor::Time;
use platform::service::ServiceManager;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// The line for people is at most this late, and not renewed more often.
const LEAST_GAP: Duration = Duration::from_secs(1);
/// With very many mounts the line costs milliseconds: it may take one part in a hundred of a core.
const GAP_PER_COST: u32 = 100;
/// When the service manager did not take a message, it is offered again after this.
const OFFER_AGAIN: Duration = Duration::from_secs(1);
/// Signs of life come this many times as often as they have to: one may be late.
const SIGNS_PER_WATCHDOG: u32 = 2;

pub(super) struct ServiceNotifier {
    manager: Option<ServiceManager>,
    /// When the next sign of life is due.
    sign_due: Option<Time>,
    owed: Owed,
    reloading: bool,
    /// The last line that it took.
    line: String,
    health_revision: u64,
    /// The line is not renewed before this.
    line_not_before: Time,
    /// Nothing is offered before this.
    offer_not_before: Time,
    /// An error was told and is not over.
    failing: bool,
}

/// What it was not told yet.
#[derive(Default)]
struct Owed {
    /// The last of the reloads that it does not know of: by this clock it knows which of its own requests is meant.
    reloading: Option<u64>,
    ready: bool,
    line: bool,
    stopping: bool,
}

impl ServiceNotifier {
    /// For a daemon whose `manager`, if there is one, hears nothing before [`ServiceNotifier::ready`].
    pub(super) fn new(manager: Option<ServiceManager>) -> ServiceNotifier {
        // At once: that may be what is waited for since long before this program began.
        let sign_due = manager.as_ref().and_then(ServiceManager::watchdog).map(|_| Time::default());
        ServiceNotifier {
            manager,
            sign_due,
            owed: Owed::default(),
            reloading: false,
            line: String::new(),
            health_revision: 0,
            line_not_before: Time::default(),
            offer_not_before: Time::default(),
            failing: false,
        }
    }

    /// The daemon does what it is there for.
    pub(super) fn ready(&mut self) {
        self.owed.ready = true;
        self.owed.line = true;
    }

    /// A reload begins, at this time of the clock that never jumps.
    pub(super) fn reloading(&mut self, monotonic_usec: u64) {
        self.owed.reloading = Some(monotonic_usec);
        self.reloading = true;
    }

    /// No reload is under way: the last one is over, whether the new configuration is in force or was refused.
    pub(super) fn reloaded(&mut self) {
        if std::mem::take(&mut self.reloading) {
            self.ready();
        }
    }

    /// The end has begun. There is no second try: nobody waits for this.
    pub(super) fn stopping(&mut self) {
        self.owed = Owed { stopping: true, ..Owed::default() };
        self.offer_not_before = Time::default();
    }

    /// The loop has turned; mounts have changed their health this often.
    pub(super) fn turned(&mut self, health_revision: u64) {
        self.owed.line |= health_revision != self.health_revision;
        self.health_revision = health_revision;
    }

    /// Something was reported: the line may be another.
    pub(super) fn changed(&mut self) {
        self.owed.line = true;
    }

    /// When the loop has to turn for this.
    pub(super) fn next(&self) -> Option<Time> {
        self.manager.as_ref()?;
        let owed = &self.owed;
        let states =
            (owed.reloading.is_some() || owed.ready || owed.stopping).then_some(self.offer_not_before);
        let line = owed.line.then_some(self.line_not_before.max(self.offer_not_before));
        [states, line, self.sign_due].into_iter().flatten().min()
    }

    /// Tells what is owed and due. `line` makes the line, `cost` tells how long that took. What the operator should
    /// know of a service manager that cannot be told is returned, once.
    pub(super) fn tell(
        &mut self,
        now: Time,
        line: impl FnOnce() -> String,
        cost: impl FnOnce() -> Duration,
    ) -> Option<io::Error> {
        if self.next().is_none_or(|next| next > now) {
            return None;
        }
        match self.offer(now, line, cost) {
            Ok(()) => {
                self.failing = false;
                None
            }
            Err(error) => {
                self.offer_not_before = now + OFFER_AGAIN;
                // One that is busy or hangs is no error: it gets what it is owed when it reads again.
                let told =
                    error.kind() == ErrorKind::WouldBlock || std::mem::replace(&mut self.failing, true);
                (!told).then_some(error)
            }
        }
    }

    fn offer(
        &mut self,
        now: Time,
        line: impl FnOnce() -> String,
        cost: impl FnOnce() -> Duration,
    ) -> io::Result<()> {
        let Some(manager) = &self.manager else { return Ok(()) };
        if let (Some(patience), true) = (manager.watchdog(), self.sign_due.is_some_and(|due| due <= now)) {
            let usual = patience / SIGNS_PER_WATCHDOG;
            self.sign_due = Some(now + usual.min(OFFER_AGAIN));
            manager.send("WATCHDOG=1")?;
            self.sign_due = Some(now + usual);
        }
        if now < self.offer_not_before {
            return Ok(());
        }
        self.owed.pay(manager)?;
        if self.owed.line && self.line_not_before <= now {
            let text = line();
            self.line_not_before = now + LEAST_GAP.max(cost().saturating_mul(GAP_PER_COST));
            if text != self.line {
                manager.send(&format!("STATUS={text}"))?;
                self.line = text;
            }
            self.owed.line = false;
        }
        Ok(())
    }
}

impl Owed {
    fn pay(&mut self, manager: &ServiceManager) -> io::Result<()> {
        if let Some(usec) = self.reloading {
            manager.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"))?;
            self.reloading = None;
        }
        if self.ready {
            manager.send("READY=1")?;
            self.ready = false;
        }
        if self.stopping {
            manager.send("STOPPING=1\nSTATUS=Stopping")?;
            self.stopping = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// A notifier, and the other end of its socket.
    fn notifier(watchdog: Option<Duration>) -> (ServiceNotifier, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ServiceNotifier::new(Some(ServiceManager::new(ours, watchdog).unwrap())), theirs)
    }

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    fn tell(notifier: &mut ServiceNotifier, now: Time, line: &str) -> Option<ErrorKind> {
        notifier.tell(now, || line.to_owned(), || Duration::ZERO).map(|error| error.kind())
    }

    fn heard(theirs: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| {
            theirs.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned())
        })
        .collect()
    }

    fn fill(notifier: &ServiceNotifier) {
        while notifier.manager.as_ref().unwrap().send("X=1").is_ok() {}
    }

    #[test]
    fn without_a_manager_nothing_is_due() {
        let mut notifier = ServiceNotifier::new(None);
        notifier.ready();
        assert_eq!(notifier.next(), None);
        assert_eq!(tell(&mut notifier, at(0), "a"), None);
    }

    #[test]
    fn nothing_is_said_before_it_is_ready() {
        let (mut notifier, theirs) = notifier(None);
        tell(&mut notifier, at(0), "a");
        assert_eq!((heard(&theirs), notifier.next()), (vec![], None));
        notifier.ready();
        assert_eq!(notifier.next(), Some(at(0)));
        tell(&mut notifier, at(5), "a");
        assert_eq!(heard(&theirs), ["READY=1", "STATUS=a"]);
        assert_eq!(notifier.next(), None);
    }

    #[test]
    fn the_line_is_told_when_it_is_another_and_not_too_often() {
        let (mut notifier, theirs) = notifier(None);
        notifier.ready();
        tell(&mut notifier, at(0), "a");
        heard(&theirs);
        notifier.changed();
        tell(&mut notifier, at(10), "b");
        assert_eq!((heard(&theirs), notifier.next()), (vec![], Some(at(1_000))));
        tell(&mut notifier, at(1_000), "b");
        assert_eq!(heard(&theirs), ["STATUS=b"]);
        notifier.turned(7);
        tell(&mut notifier, at(3_000), "b");
        assert_eq!((heard(&theirs), notifier.next()), (vec![], None));
        notifier.turned(7);
        assert_eq!(notifier.next(), None);
    }

    #[test]
    fn a_line_that_costs_much_is_made_seldom() {
        let (mut notifier, _theirs) = notifier(None);
        notifier.ready();
        notifier.tell(at(0), || "a".into(), || Duration::from_millis(50));
        notifier.changed();
        assert_eq!(notifier.next(), Some(at(5_000)));
    }

    #[test]
    fn signs_of_life_come_at_half_of_the_patience_and_only_when_the_loop_turns() {
        let (mut notifier, theirs) = notifier(Some(Duration::from_secs(30)));
        assert_eq!(notifier.next(), Some(at(0)));
        tell(&mut notifier, at(1), "a");
        assert_eq!((heard(&theirs), notifier.next()), (vec!["WATCHDOG=1".to_owned()], Some(at(15_001))));
        tell(&mut notifier, at(9_000), "a");
        assert_eq!(heard(&theirs), [""; 0]);
        tell(&mut notifier, at(15_001), "a");
        assert_eq!(heard(&theirs), ["WATCHDOG=1"]);
    }

    #[test]
    fn a_reload_is_known_by_the_time_of_its_beginning() {
        let (mut notifier, theirs) = notifier(None);
        notifier.ready();
        tell(&mut notifier, at(0), "a");
        heard(&theirs);
        notifier.reloading(123);
        notifier.reloaded();
        notifier.reloaded();
        tell(&mut notifier, at(1), "a");
        assert_eq!(heard(&theirs), ["RELOADING=1\nMONOTONIC_USEC=123", "READY=1"]);
    }

    #[test]
    fn the_end_is_told_at_once() {
        let (mut notifier, theirs) = notifier(None);
        notifier.ready();
        tell(&mut notifier, at(0), "a");
        heard(&theirs);
        notifier.changed();
        notifier.stopping();
        tell(&mut notifier, at(1), "a");
        assert_eq!(heard(&theirs), ["STOPPING=1\nSTATUS=Stopping"]);
    }

    /// Process 1 hangs on a mount and does not read.
    #[test]
    fn a_manager_that_does_not_read_is_owed_the_last_state_only() {
        let (mut notifier, theirs) = notifier(Some(Duration::from_secs(30)));
        notifier.ready();
        tell(&mut notifier, at(0), "a");
        fill(&notifier);
        for n in 1..=100 {
            notifier.reloading(n);
            notifier.reloaded();
            assert_eq!(tell(&mut notifier, at(20_000 + n), "b"), None, "it is busy, which is no error");
        }
        assert_eq!(notifier.next(), Some(at(21_001)), "it is offered again, but not at once");
        heard(&theirs);
        tell(&mut notifier, at(22_000), "b");
        let expected = ["WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=100", "READY=1", "STATUS=b"];
        assert_eq!(heard(&theirs), expected);
    }

    #[test]
    fn a_manager_that_is_gone_is_told_of_once() {
        let (mut notifier, theirs) = notifier(None);
        drop(theirs);
        notifier.ready();
        assert!(tell(&mut notifier, at(0), "a").is_some());
        assert_eq!(tell(&mut notifier, at(1_000), "a"), None);
        assert_eq!(notifier.next(), Some(at(2_000)));
    }
}
