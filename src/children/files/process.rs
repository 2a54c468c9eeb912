//! The child process. Its main thread receives requests, another executes them one after the other: so the process
//! ends with the daemon although an operation hangs, if the kernel can interrupt it.

use super::execute::execute;
use super::fields::{CHANGED, LAST, MAX_BYTES, packets};
use super::request::{Reply, Request, encode_result};
use super::{config_files, watch::ChangeReporter};
use crate::children::daemon_channel::{self, DaemonChannel, exit_with_error};
use platform::process::{self, ChildRole, send_descriptor_to_daemon};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// Maximum number of requests that wait: the daemon sends one at a time.
const MAX_WAITING: usize = 1;
/// A child that copies log lines may write the last ones for this long after the end of the daemon.
const COPY_GRACE: Duration = Duration::from_secs(1);

/// Runs until the daemon closes its end of the channel.
pub(in crate::children) fn run() -> ! {
    let mut channel = DaemonChannel::init(ChildRole::Files);
    let (requests, to_execute) = mpsc::sync_channel(MAX_WAITING);
    let (end, ended) = mpsc::channel::<()>();
    let execute = move || {
        execute_all(&to_execute);
        drop(end);
    };
    if thread::Builder::new().name("files".into()).spawn(execute).is_err() {
        exit_with_error();
    }
    let mut grace = Duration::ZERO;
    let mut packed = Vec::new();
    loop {
        channel.wait(None);
        let is_complete = match channel.receive_or_end() {
            Some([]) => {
                let _ = ended.recv_timeout(grace); // nothing is sent: the other end is dropped, or time is up
                process::exit_now(0)
            }
            None => false,
            Some([mark, part @ ..]) if packed.len() + part.len() <= MAX_BYTES => {
                packed.extend_from_slice(part);
                *mark == LAST
            }
            Some(_) => exit_with_error(),
        };
        if is_complete {
            let Some(request) = Request::decode(&std::mem::take(&mut packed)) else { exit_with_error() };
            let descriptors = (0..request.descriptors()).map(|_| channel.receive_descriptor()).collect();
            if request == Request::Copy {
                grace = COPY_GRACE;
            }
            if requests.send((request, descriptors)).is_err() {
                exit_with_error();
            }
        }
    }
}

fn execute_all(requests: &Receiver<(Request, Vec<OwnedFd>)>) {
    let mut reporter = None;
    while let Ok((request, descriptors)) = requests.recv() {
        let is_copy = request == Request::Copy;
        send_result(&match request {
            Request::Watch { path, others } => watch(&mut reporter, &path, &others),
            request => execute(request, descriptors),
        });
        if is_copy {
            return; // it ends with the daemon
        }
    }
}

fn watch(reporter: &mut Option<ChangeReporter>, path: &Path, others: &[PathBuf]) -> io::Result<Reply> {
    let reporter = match reporter {
        Some(reporter) => reporter,
        none => none.insert(ChangeReporter::start(|| daemon_channel::send(&[CHANGED]))?),
    };
    reporter.set_paths(&config_files::watched_paths(path, others)).map(|()| Reply::default())
}

fn send_result(result: &io::Result<Reply>) {
    packets(&encode_result(result)).for_each(|packet| daemon_channel::send(&packet));
    if let Ok(Reply { descriptor: Some(descriptor), .. }) = result
        && send_descriptor_to_daemon(descriptor.as_fd()).is_err()
    {
        process::exit_now(0);
    }
}
