//! The clients that follow the events, and up to which event each has read. A drill learns from it who got its event.

use super::drill::{Outcome, Receipt};
use super::lock;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Clones share the clients. Their number is limited by the permits of the HTTP server.
#[derive(Clone, Default, Debug)]
pub(super) struct EventClients(Arc<Mutex<Clients>>);

#[derive(Default, Debug)]
struct Clients {
    last_id: u64,
    present: BTreeSet<u64>,
    drill: Option<Delivery>,
}

/// The event of a drill on its way to the clients.
#[derive(Debug)]
struct Delivery {
    /// The number of the event.
    number: u64,
    waiting: BTreeSet<u64>,
    has_reader: bool,
    receipt: Receipt,
}

/// A client; it is gone when this is dropped.
#[derive(Debug)]
pub(super) struct EventClient {
    id: u64,
    clients: EventClients,
}

impl EventClients {
    pub(super) fn add(&self) -> EventClient {
        let mut clients = lock(&self.0);
        clients.last_id += 1;
        let id = clients.last_id;
        clients.present.insert(id);
        EventClient { id, clients: self.clone() }
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.0).present.len()
    }

    /// Adds the event, of which `add` returns the number, and waits for the present clients to read it.
    pub(super) fn deliver(&self, receipt: Receipt, add: impl FnOnce() -> u64) {
        let mut clients = lock(&self.0);
        let waiting = clients.present.clone();
        clients.drill = Some(Delivery { number: add(), waiting, has_reader: false, receipt });
        clients.settle();
    }
}

impl Clients {
    /// The client has read the event of the drill, or never will.
    fn remove_from_drill(&mut self, id: u64, has_read: bool) {
        if let Some(drill) = &mut self.drill
            && drill.waiting.remove(&id)
        {
            drill.has_reader |= has_read;
            self.settle();
        }
    }

    /// Ends the drill once no client is left.
    fn settle(&mut self) {
        if let Some(drill) = self.drill.take_if(|drill| drill.waiting.is_empty()) {
            let outcome = if drill.has_reader { Outcome::Sent } else { Outcome::NobodyListening(None) };
            drill.receipt.finish(outcome);
        }
    }
}

impl EventClient {
    /// It was sent all events up to this number.
    pub(super) fn advance(&self, last: u64) {
        let mut clients = lock(&self.clients.0);
        if clients.drill.as_ref().is_some_and(|drill| drill.number <= last) {
            clients.remove_from_drill(self.id, true);
        }
    }
}

impl Drop for EventClient {
    fn drop(&mut self) {
        let mut clients = lock(&self.clients.0);
        clients.present.remove(&self.id);
        clients.remove_from_drill(self.id, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::drill::Drill;
    use crate::render::drill::DrillResult;

    fn result(drill: &Drill) -> DrillResult {
        drill.set_dispatched();
        drill.report().unwrap().outputs[0].result
    }

    #[test]
    fn drill_is_sent_once_each_present_client_has_read_it_or_is_gone() {
        let clients = EventClients::default();
        let [reader, quitter] = [clients.add(), clients.add()];
        let drill = Drill::new("/x".into());
        clients.deliver(drill.expect("events", ""), || 7);
        let _later = clients.add();
        reader.advance(6);
        drop(quitter);
        assert_eq!((result(&drill), clients.count()), (DrillResult::TimedOut, 2));
        reader.advance(8);
        assert_eq!(result(&drill), DrillResult::Sent);
    }

    #[test]
    fn nobody_listens_without_a_client_that_reads() {
        let clients = EventClients::default();
        for has_client in [false, true] {
            let client = has_client.then(|| clients.add());
            let drill = Drill::new("/x".into());
            clients.deliver(drill.expect("events", ""), || 1);
            drop(client);
            assert_eq!(result(&drill), DrillResult::NobodyListening);
        }
    }
}
