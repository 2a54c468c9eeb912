//! The process of an attempt.

use super::wire::{self, AttemptMessage, AttemptRequest};
use crate::children::daemon_channel::{DaemonChannel, exit_with_error};
use platform::process::{self, ChildRole, send_to_daemon};

/// Becomes the process of an attempt: does this work for the request of the daemon, and ends. Must be called first in
/// `main`.
pub fn serve(work: impl FnOnce(&AttemptRequest, &mut dyn FnMut(AttemptMessage))) -> ! {
    let mut channel = DaemonChannel::init(ChildRole::Attempt);
    let request: AttemptRequest = loop {
        channel.wait(None);
        if let Some(packet) = channel.receive() {
            break wire::decode(packet).unwrap_or_else(|| exit_with_error());
        }
    };
    // A daemon that has ended does not end an attempt half-way.
    let mut send = |message: AttemptMessage| {
        if let Ok(packet) = wire::encode(&message) {
            let _ = send_to_daemon(&packet);
        }
    };
    work(&request, &mut send);
    send(AttemptMessage::Finished);
    process::exit_now(0)
}
