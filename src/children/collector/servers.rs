//! Each server is asked once, however many mounts it has: by a thread of its own, whose answer is everybody's who
//! wants it within some seconds.

use super::server;
use platform::DeviceNumber;
use platform::evidence::{ServerCheck, ServerResponse, Service};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// An answer is good for this long: mounts of one server die within seconds of each other.
const FRESH: Duration = Duration::from_secs(3);
/// Servers that are asked at a time, each by a thread that waits for at most some seconds.
const MAX_ASKED: usize = 16;
/// Answers that are kept.
const MAX_KEPT: usize = 256;

type Key = (Service, SocketAddr, bool);
type Tell = Box<dyn Fn(&[DeviceNumber], ServerCheck) + Send + Sync>;

enum State {
    /// These want to know.
    Asking(Vec<DeviceNumber>),
    Answered(Instant, ServerResponse),
}

/// All servers that were asked lately.
#[derive(Clone)]
pub(super) struct Servers(Arc<Shared>);

struct Shared {
    states: Mutex<HashMap<Key, State>>,
    /// Called with each answer, from any thread.
    tell: Tell,
}

impl Servers {
    pub(super) fn new(tell: impl Fn(&[DeviceNumber], ServerCheck) + Send + Sync + 'static) -> Servers {
        Servers(Arc::new(Shared { states: Mutex::default(), tell: Box::new(tell) }))
    }

    /// Asks, unless that is under way or was done just now.
    pub(super) fn ask(&self, device: DeviceNumber, key: Key, patience: Duration) {
        let now = Instant::now();
        let mut states = self.lock();
        match states.get_mut(&key) {
            Some(State::Asking(devices)) => return devices.push(device),
            Some(State::Answered(at, answer)) if now - *at < FRESH => {
                let answer = answer.clone();
                drop(states);
                return self.tell(&[device], key, answer);
            }
            Some(State::Answered(..)) | None => {}
        }
        let asked = states.values().filter(|state| matches!(state, State::Asking(_))).count();
        if states.len() >= MAX_KEPT {
            states.retain(|_, state| matches!(state, State::Asking(_)));
        }
        states.insert(key, State::Asking(vec![device]));
        drop(states);
        let (service, address, is_udp) = key;
        let servers = self.clone();
        let work = move || {
            let answer = server::ask(service, address, is_udp, patience);
            servers.answered(key, answer);
        };
        let may = asked < MAX_ASKED;
        if !may || thread::Builder::new().name("server".into()).spawn(work).is_err() {
            self.answered(key, ServerResponse::NotChecked);
        }
    }

    fn answered(&self, key: Key, answer: ServerResponse) {
        let before = match answer {
            ServerResponse::NotChecked => self.lock().remove(&key),
            _ => self.lock().insert(key, State::Answered(Instant::now(), answer.clone())),
        };
        if let Some(State::Asking(devices)) = before {
            self.tell(&devices, key, answer);
        }
    }

    fn tell(&self, devices: &[DeviceNumber], (service, address, _): Key, answer: ServerResponse) {
        (self.0.tell)(devices, ServerCheck { service, address, response: answer });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.0.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::mpsc;

    #[test]
    fn three_hundred_mounts_of_one_server_are_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        let servers = Servers::new(move |devices, check| {
            for device in devices {
                tell.send((*device, check.clone())).unwrap();
            }
        });
        let device = |minor| DeviceNumber { major: 0, minor };
        let key = (Service::Nfs(3), address, false);
        for minor in 0..300 {
            servers.ask(device(minor), key, Duration::from_millis(300));
        }
        let limit = Duration::from_secs(30);
        let told: Vec<_> = (0..300).map(|_| told.recv_timeout(limit).unwrap()).collect();
        assert!(
            told.iter().all(|(_, check)| matches!(check.response, ServerResponse::NoReply(_))),
            "{:?}",
            told[0]
        );
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_ok());
        assert!(listener.accept().is_err(), "one connection");
    }

    #[test]
    fn servers_at_a_time_are_limited() {
        let listeners: Vec<TcpListener> =
            (0..MAX_ASKED + 3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let (tell, told) = mpsc::channel();
        let servers = Servers::new(move |_, check| tell.send(check).unwrap());
        for (minor, listener) in (0..).zip(&listeners) {
            let key = (Service::Nfs(3), listener.local_addr().unwrap(), false);
            servers.ask(DeviceNumber { major: 0, minor }, key, Duration::from_secs(2));
        }
        let answers: Vec<_> =
            listeners.iter().map(|_| told.recv_timeout(Duration::from_secs(30)).unwrap().response).collect();
        let refused = answers.iter().filter(|answer| **answer == ServerResponse::NotChecked).count();
        assert_eq!(refused, 3);
    }
}
