//! The parent's end of one child: the request, what the child says, the deadline, and its end.

use super::judge::StepOutcome;
use super::wire::{self, CallRecord, Message, Request, Response, Said};
use platform::MountKey;
use platform::process::{
    Channel, Child, ExitStatus, Launcher, MAX_PACKET, read_available, send_descriptor, wait_writable,
};
use platform::remedy::RemedyLock;
use std::io::{self, ErrorKind, PipeReader};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// A killed child that can be killed ends within this time: an NFS call does within milliseconds, and forced requests of
/// many tasks end one after the other.
const END_TIMEOUT: Duration = Duration::from_secs(1);
const REAP_INTERVAL: Duration = Duration::from_millis(2);
/// The output of a program is taken at least this often, so that it does not wait for a full pipe.
const OUTPUT_INTERVAL: Duration = Duration::from_millis(100);
/// Of the output of a program: its first lines say what is wrong.
const MAX_OUTPUT: usize = 4096;
/// Calls of one step, retries too.
const MAX_CALLS: usize = 100;

/// A step that has ended, or whose child was left behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepReport {
    pub outcome: StepOutcome,
    pub end: ChildEnd,
    /// In order. One without a duration did not return.
    pub calls: Vec<CallRecord>,
    /// Mounts that were made below the dead one in the moment of the unmount, and went with it.
    pub also_detached: Vec<MountKey>,
    /// What a program that mounts has written.
    pub output: Vec<u8>,
    pub responses: Vec<Response>,
}

impl StepReport {
    pub(crate) fn without_child(outcome: StepOutcome) -> StepReport {
        StepReport {
            outcome,
            end: ChildEnd::NotNeeded,
            calls: Vec::new(),
            also_detached: Vec::new(),
            output: Vec::new(),
            responses: Vec::new(),
        }
    }
}

/// How the child of a step ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChildEnd {
    /// By itself, after the step.
    Finished,
    /// By itself, before the end of the step.
    Died(ExitStatus),
    /// It was killed at the deadline.
    Killed,
    /// It was killed and still exists.
    Stranded,
    /// There is none: it could not be started.
    NotStarted(String),
    /// There is none: no call was to be made.
    NotNeeded,
}

/// A child that could not be killed, or a program that it started.
#[derive(Debug)]
pub(super) struct StrandedStep {
    pub(super) server: String,
    /// A program that is left has none of its own.
    _locks: Arc<[RemedyLock; 2]>,
    child: Child,
    output: PipeReader,
}

impl StrandedStep {
    /// Whether no process of the step exists any more: the output is closed by the last one.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_reap().is_some() && is_closed(self.output.as_fd(), &mut Vec::new())
    }
}

pub(super) struct Run {
    pub(super) said: Option<Said>,
    pub(super) end: ChildEnd,
    pub(super) calls: Vec<CallRecord>,
    pub(super) output: Vec<u8>,
    pub(super) stranded: Option<StrandedStep>,
}

impl Run {
    fn not_started(error: &io::Error) -> Run {
        let end = ChildEnd::NotStarted(error.to_string());
        Run { said: None, end, calls: Vec::new(), output: Vec::new(), stranded: None }
    }
}

/// Carries out a request in a new child, which holds these locks. `on_call` sees each call before it is made and after.
pub(super) fn run(
    launcher: &Launcher,
    request: &Request,
    server: &str,
    locks: &Arc<[RemedyLock; 2]>,
    on_call: &mut dyn FnMut(&CallRecord),
) -> Run {
    let deadline = Instant::now() + request.timeout;
    let started = || -> io::Result<_> {
        let packet = wire::encode(request)?;
        let (output, writer) = io::pipe()?;
        let (child, channel) = launcher.spawn()?;
        Ok((packet, output, writer, child, channel))
    };
    let (packet, output, writer, child, channel) = match started() {
        Ok(started) => started,
        Err(error) => return Run::not_started(&error),
    };
    let mut running = Running { child, channel, output, said: None, calls: Vec::new(), text: Vec::new() };
    let descriptors = [locks[0].as_fd(), locks[1].as_fd(), writer.as_fd()];
    let result = running.send(&packet, &descriptors, deadline);
    drop(writer);
    let is_in_time = result.is_ok() && running.listen(deadline, on_call);
    running.end(server, locks, is_in_time)
}

struct Running {
    child: Child,
    channel: Channel,
    output: PipeReader,
    said: Option<Said>,
    calls: Vec<CallRecord>,
    text: Vec<u8>,
}

impl Running {
    fn send(&mut self, packet: &[u8], descriptors: &[BorrowedFd<'_>], deadline: Instant) -> io::Result<()> {
        retry(&mut self.channel, deadline, |channel| channel.send(packet))?;
        retry(&mut self.channel, deadline, Channel::flush)?;
        for descriptor in descriptors {
            retry(&mut self.channel, deadline, |channel| send_descriptor(channel, *descriptor))?;
        }
        Ok(())
    }

    /// Until the child has finished or ended (true), or the deadline.
    fn listen(&mut self, deadline: Instant, on_call: &mut dyn FnMut(&CallRecord)) -> bool {
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            match self.channel.receive(&mut buffer) {
                Ok(0) => return true,
                Ok(length) => {
                    if self.take(&buffer[..length], on_call) {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    is_closed(self.output.as_fd(), &mut self.text);
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    let _ = self.channel.wait_readable(Some(left.min(OUTPUT_INTERVAL)));
                }
                Err(_) => return true,
            }
        }
    }

    /// Whether this was the last message.
    fn take(&mut self, packet: &[u8], on_call: &mut dyn FnMut(&CallRecord)) -> bool {
        match wire::decode(packet) {
            Some(Message::Calling(call)) => {
                on_call(&call);
                if self.calls.len() < MAX_CALLS {
                    self.calls.push(call);
                }
                false
            }
            Some(Message::Called(call)) => {
                on_call(&call);
                if let Some(last) = self.calls.last_mut().filter(|last| last.at == call.at) {
                    *last = call;
                }
                false
            }
            Some(Message::Finished(said)) => {
                self.said = Some(said);
                true
            }
            None => true, // a bug: the child is ended, and the table tells
        }
    }

    /// Waits for the end of the child, and kills it unless it ends by itself after it has finished.
    fn end(mut self, server: &str, locks: &Arc<[RemedyLock; 2]>, is_in_time: bool) -> Run {
        let has_finished = self.said.is_some();
        let mut is_killed = !has_finished;
        if is_killed {
            self.child.kill_group(); // before it is reaped: a child that died may have left a program behind
        }
        let mut status = self.wait_for_end();
        if status.is_none() && !is_killed {
            is_killed = true;
            self.child.kill_group();
            status = self.wait_for_end();
        }
        // A program that has finished may have left the server of a file system behind, which has the output open.
        let has_closed =
            is_closed(self.output.as_fd(), &mut self.text) || has_finished || self.wait_until_closed();
        let end = match status {
            Some(_) if !is_killed => ChildEnd::Finished,
            Some(status) if has_closed && is_in_time && !has_finished => ChildEnd::Died(status),
            Some(_) if has_closed => ChildEnd::Killed,
            _ => ChildEnd::Stranded,
        };
        let Running { child, output, said, calls, text, .. } = self;
        let stranded = (end == ChildEnd::Stranded).then(|| StrandedStep {
            server: server.to_owned(),
            _locks: Arc::clone(locks),
            child,
            output,
        });
        Run { said, end, calls, output: text, stranded }
    }

    fn wait_for_end(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            let status = self.child.try_reap();
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            thread::park_timeout(REAP_INTERVAL);
        }
    }

    fn wait_until_closed(&mut self) -> bool {
        let deadline = Instant::now() + END_TIMEOUT;
        while !is_closed(self.output.as_fd(), &mut self.text) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::park_timeout(REAP_INTERVAL);
        }
        true
    }
}

/// Takes what the output has now, and returns whether no process can write any more.
fn is_closed(output: BorrowedFd<'_>, text: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match read_available(output, &mut buffer) {
            Ok(Some(0)) | Err(_) => return true,
            Ok(Some(length)) => {
                let room = MAX_OUTPUT.saturating_sub(text.len());
                text.extend_from_slice(&buffer[..length.min(room)]);
            }
            Ok(None) => return false,
        }
    }
}

fn retry<T>(
    channel: &mut Channel,
    deadline: Instant,
    mut attempt: impl FnMut(&mut Channel) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match attempt(channel) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ErrorKind::TimedOut.into());
                }
                wait_writable(channel, Some(left))?;
            }
            result => return result,
        }
    }
}
