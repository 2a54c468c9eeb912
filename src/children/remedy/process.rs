//! The child: makes one step, and ends. If its parent ends meanwhile, the step is finished and recorded all the same; at
//! the deadline it ends by itself, with the programs that it started.

use super::steps::carry_out;
use super::wire::{self, Message, Request};
use crate::children::daemon_channel::{DaemonChannel, exit_with_error};
use platform::process::{self, ChildRole, kill_own_group, send_to_daemon};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Descriptors that follow a request: the locks of the server and of the machine, which are only held, and the output of
/// programs.
pub(super) const DESCRIPTORS: usize = 3;
/// The parent kills a child at the deadline. Without a parent it ends by itself, a little later.
const OWN_GRACE: Duration = Duration::from_secs(2);

/// Runs until the step is made.
pub(in crate::children) fn run() -> ! {
    let mut channel = DaemonChannel::init(ChildRole::Remedy);
    let request: Request = loop {
        channel.wait(None);
        if let Some(packet) = channel.receive() {
            break wire::decode(packet).unwrap_or_else(|| exit_with_error());
        }
    };
    let mut descriptors: Vec<OwnedFd> = (0..DESCRIPTORS).map(|_| channel.receive_descriptor()).collect();
    let Some(output) = descriptors.pop() else { exit_with_error() };
    let deadline = request.timeout + OWN_GRACE;
    let (sender, finished) = mpsc::channel();
    let work = move || {
        let said = carry_out(&request, &output);
        drop(output);
        let _ = sender.send(said); // the other end waits
    };
    if thread::Builder::new().name("step".into()).spawn(work).is_err() {
        exit_with_error();
    }
    match finished.recv_timeout(deadline) {
        Ok(said) => {
            report(&Message::Finished(said));
            process::exit_now(0) // with the locks
        }
        Err(_) => kill_own_group(),
    }
}

/// Tells the parent, if it still exists.
pub(super) fn report(message: &Message) {
    if let Ok(packet) = wire::encode(message) {
        let _ = send_to_daemon(&packet);
    }
}
