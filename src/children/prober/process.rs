//! The prober: the process that may hang. `main` calls [`run`] instead of anything else when its first argument is
//! `prober`.
//!
//! Its main thread never touches a file system: it reads questions, and watches over the threads of the `Crew` that
//! ask them. While questions wait it looks each `GRACE` whether they get on, and if not, it lets more threads in:
//! twice as many each time, so that a thousand hung mounts are known to be hung after some tens of milliseconds.
//! When the daemon's end of the socket closes, the process ends at once, whatever its threads are doing.

use super::wire::{self, Reply, Request};
use super::worker_pool::{Crew, Started};
use platform::process::{self, Channel, MAX_PACKET};
use std::io;
use std::time::{Duration, Instant};

/// How long the waiting questions may get nowhere before more threads are let in; also how late an answer may be
/// that waits for others to fill a packet. Some thousand healthy mounts are asked in this time.
const GRACE: Duration = Duration::from_millis(5);
/// Questions that would take longer than this at the pace of the last [`GRACE`] get more threads too: a server that
/// takes 10 ms for each answer is not hung, but a thousand such mounts would wait for each other.
const PATIENCE: Duration = Duration::from_millis(250);
/// Threads are not added for mere slowness beyond this: the processor or the server is what is slow then.
const MAX_THREADS_FOR_PACE: usize = 64;
/// When no thread can be started and nothing gets on for this long, the waiting questions are given back.
const STARVED_LIMIT: Duration = Duration::from_millis(250);
/// Exit status when the daemon says something that it never says, or when we have a bug.
const BROKEN: i32 = 70; // EX_SOFTWARE of sysexits.h

/// Runs the prober until the daemon closes its end of the socket that is our descriptor 0.
pub fn run(enters_namespace: bool) -> ! {
    process::become_prober();
    if enters_namespace {
        process::enter_namespace();
    }
    // A thread that panics would take its question with it, silently; the end of the process tells the daemon.
    std::panic::set_hook(Box::new(|_| process::exit_now(BROKEN)));
    let Ok(mut channel) = process::prober_channel() else { process::exit_now(BROKEN) };
    let crew = Crew::new();
    process::drop_startup_pages();
    crew.reply(&[Reply::Hello]);
    let mut watch = Watch { next: None, done: 0, starved_since: None };
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        let now = Instant::now();
        if watch.next.is_some_and(|next| next <= now) {
            watch.look(&crew, now);
        }
        let limit = watch.next.map(|next| next.saturating_duration_since(now));
        match channel.wait_readable(limit) {
            Ok(true) => take_packet(&mut channel, &crew, &mut buffer),
            Ok(false) => {}
            Err(_) => process::exit_now(BROKEN),
        }
        if watch.next.is_none() && crew.has_open_ends() {
            watch.begin(&crew);
        }
    }
}

fn take_packet(channel: &mut Channel, crew: &Crew, buffer: &mut [u8]) {
    let length = match channel.receive(buffer) {
        Ok(0) => process::exit_now(0), // the daemon ended, or has no use for us any more
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
        Err(_) => process::exit_now(BROKEN),
    };
    let (mut probes, mut confirms, mut locates) = (Vec::new(), Vec::new(), Vec::new());
    for request in wire::requests(&buffer[..length]) {
        match request {
            Ok(Request::Probe(probe, target)) => probes.push((probe, target)),
            Ok(Request::Confirm(probe)) => confirms.push(probe),
            Ok(Request::Locate(probe)) => locates.push(probe),
            Err(wire::Malformed) => process::exit_now(BROKEN),
        }
    }
    if !probes.is_empty() {
        crew.take_in(probes);
    }
    if !confirms.is_empty() {
        crew.confirm(&confirms);
    }
    if !locates.is_empty() {
        crew.locate(&locates);
    }
}

/// The main thread's watch over the waiting questions; asleep (no `next`) while there are none.
struct Watch {
    next: Option<Instant>,
    done: u64,
    starved_since: Option<Instant>,
}

impl Watch {
    fn begin(&mut self, crew: &Crew) {
        self.done = crew.progress().done;
        self.starved_since = None;
        self.next = Some(Instant::now() + GRACE);
    }

    fn look(&mut self, crew: &Crew, now: Instant) {
        crew.flush();
        let progress = crew.progress();
        let done = progress.done - self.done;
        self.done = progress.done;
        if progress.waiting == 0 {
            self.next = None;
            crew.rest();
            return;
        }
        self.next = Some(now + GRACE);
        if done > 0 {
            self.starved_since = None;
        }
        let growth = growth(done, progress.waiting, progress.busy);
        if growth == 0 {
            return;
        }
        if let Started::None(errno) = crew.grow(growth) {
            let since = *self.starved_since.get_or_insert(now);
            if done == 0 && now - since >= STARVED_LIMIT {
                crew.give_back(errno);
                self.starved_since = None;
            }
        }
    }
}

/// How many threads to add when `done` questions were answered in the last [`GRACE`] by `busy` threads.
fn growth(done: u64, waiting: usize, busy: usize) -> usize {
    let stalled = done == 0;
    let ahead = GRACE.as_nanos() * waiting as u128 / u128::from(done.max(1));
    let slow = ahead > PATIENCE.as_nanos() && busy < MAX_THREADS_FOR_PACE;
    if stalled || slow { busy.max(1).min(waiting) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::growth;

    #[test]
    fn threads_are_added_when_nothing_gets_on_or_it_would_take_too_long() {
        for (done, waiting, busy, expected, why) in [
            (0, 100, 1, 1, "stalled: twice as many"),
            (0, 100, 16, 16, "stalled: twice as many"),
            (0, 100, 0, 1, "stalled without anybody at work"),
            (0, 5, 16, 5, "not more than there are questions"),
            (700, 10_000, 1, 0, "healthy: 70 ms to go"),
            (5, 1_000, 1, 1, "1 ms for each answer: a second to go"),
            (5, 1_000, 64, 0, "enough for mere slowness"),
            (5, 200, 1, 0, "200 ms to go"),
        ] {
            assert_eq!(growth(done, waiting, busy), expected, "{why}");
        }
    }
}
