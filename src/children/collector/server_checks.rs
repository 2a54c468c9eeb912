//! Contacts each server once, however many of its mounts are dead. Each check runs in its own thread, and all requests
//! within a few seconds share its result.

use super::endpoint::ServerEndpoint;
use super::server_check::check_server;
use platform::DeviceNumber;
use platform::evidence::{ServerCheck, ServerResponse};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a response is reused: the mounts of one server die within seconds of each other.
const REUSE_TIME: Duration = Duration::from_secs(3);
/// Maximum number of servers contacted at the same time, each by a thread that waits at most a few seconds.
const MAX_CONCURRENT: usize = 16;
/// Maximum number of responses kept.
const MAX_KEPT: usize = 256;

type ReportFn = Box<dyn Fn(&[DeviceNumber], ServerCheck) + Send + Sync>;

enum CheckState {
    /// A thread waits for the response and will report it for these file systems.
    Running(Vec<DeviceNumber>),
    Done(Instant, ServerResponse),
}

/// The recent checks of servers.
#[derive(Clone)]
pub(super) struct ServerChecks(Arc<Shared>);

struct Shared {
    states: Mutex<HashMap<ServerEndpoint, CheckState>>,
    /// Called with each response, from any thread.
    report: ReportFn,
}

impl ServerChecks {
    pub(super) fn new(report: impl Fn(&[DeviceNumber], ServerCheck) + Send + Sync + 'static) -> ServerChecks {
        ServerChecks(Arc::new(Shared { states: Mutex::default(), report: Box::new(report) }))
    }

    /// Starts a check, or shares one that is running or recent.
    pub(super) fn request(&self, device: DeviceNumber, endpoint: ServerEndpoint, timeout: Duration) {
        let now = Instant::now();
        let mut states = self.lock();
        match states.get_mut(&endpoint) {
            Some(CheckState::Running(devices)) => return devices.push(device),
            Some(CheckState::Done(at, response)) if now - *at < REUSE_TIME => {
                let response = response.clone();
                drop(states);
                return self.report(&[device], endpoint, response);
            }
            Some(CheckState::Done(..)) | None => {}
        }
        let is_running = |state: &CheckState| matches!(state, CheckState::Running(_));
        let running = states.values().filter(|state| is_running(state)).count();
        if states.len() >= MAX_KEPT {
            states.retain(|_, state| is_running(state));
        }
        states.insert(endpoint, CheckState::Running(vec![device]));
        drop(states);
        let checks = self.clone();
        let work = move || checks.finish(endpoint, check_server(endpoint, timeout));
        let started =
            running < MAX_CONCURRENT && thread::Builder::new().name("server".into()).spawn(work).is_ok();
        if !started {
            self.finish(endpoint, ServerResponse::NotChecked);
        }
    }

    fn finish(&self, endpoint: ServerEndpoint, response: ServerResponse) {
        let before = match response {
            ServerResponse::NotChecked => self.lock().remove(&endpoint),
            _ => self.lock().insert(endpoint, CheckState::Done(Instant::now(), response.clone())),
        };
        if let Some(CheckState::Running(devices)) = before {
            self.report(&devices, endpoint, response);
        }
    }

    fn report(&self, devices: &[DeviceNumber], endpoint: ServerEndpoint, response: ServerResponse) {
        let ServerEndpoint { service, address, .. } = endpoint;
        (self.0.report)(devices, ServerCheck { service, address, response });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServerEndpoint, CheckState>> {
        self.0.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::evidence::Service;
    use std::net::TcpListener;
    use std::sync::mpsc;

    const RECEIVE_TIMEOUT: Duration = Duration::from_secs(30);

    /// A server that accepts connections and never replies.
    fn listener() -> (TcpListener, ServerEndpoint) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, ServerEndpoint { service: Service::Nfs(3), address, is_udp: false })
    }

    #[test]
    fn mounts_of_one_server_share_one_connection() {
        let (listener, endpoint) = listener();
        let (sender, receiver) = mpsc::channel();
        let checks = ServerChecks::new(move |devices, check| {
            for device in devices {
                sender.send((*device, check.clone())).unwrap();
            }
        });
        for minor in 0..300 {
            checks.request(DeviceNumber { major: 0, minor }, endpoint, Duration::from_millis(300));
        }
        for _ in 0..300 {
            let (_, check) = receiver.recv_timeout(RECEIVE_TIMEOUT).unwrap();
            assert!(matches!(check.response, ServerResponse::NoReply(_)), "{check:?}");
        }
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_ok());
        assert!(listener.accept().is_err(), "one connection");
    }

    #[test]
    fn servers_beyond_the_concurrency_limit_are_not_checked() {
        let listeners: Vec<_> = (0..MAX_CONCURRENT + 3).map(|_| listener()).collect();
        let (sender, receiver) = mpsc::channel();
        let checks = ServerChecks::new(move |_, check| sender.send(check.response).unwrap());
        for (minor, (_, endpoint)) in (0..).zip(&listeners) {
            checks.request(DeviceNumber { major: 0, minor }, *endpoint, Duration::from_secs(2));
        }
        let responses = listeners.iter().map(|_| receiver.recv_timeout(RECEIVE_TIMEOUT).unwrap());
        assert_eq!(responses.filter(|response| *response == ServerResponse::NotChecked).count(), 3);
    }
}
