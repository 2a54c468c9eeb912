//! One run of a command: the object on its standard input, the end of what it says kept for the log, SIGTERM at its
//! deadline, SIGKILL soon after, and a command that does not end even then is left behind.

use super::counters::HookOutcome;
use super::payload::Payload;
use super::stop::Stop;
use crate::render::escape::escape;
use platform::command::{self, Pipes, RunningCommand};
use platform::process::ExitStatus;
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// From SIGKILL until a command counts as left behind: one that can be killed is gone in milliseconds.
const KILL_LIMIT: Duration = Duration::from_millis(500);
/// What is read of a command's output before others have their turn …
const GULP: usize = 64 << 10;
/// … for this long: what floods us takes a megabyte a second and little time.
const GULP_PAUSE: Duration = Duration::from_millis(50);
/// So much of the last line that a command said is shown.
const MAX_LAST_LINE: usize = 300;
/// The exit status that shells and our own fork give for a program that cannot be executed.
const NOT_EXECUTED: i32 = 127;

/// How a run ended.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) outcome: HookOutcome,
    /// Why it did not go well.
    pub(super) text: String,
    /// What could not be ended.
    pub(super) left: Option<RunningCommand>,
}

/// Runs it.
pub(super) async fn run(
    arguments: &[OsString],
    payload: &Payload,
    limit: Duration,
    reaped: &Notify,
    stop: &Stop,
) -> Report {
    let mut by = Instant::now() + limit;
    let object = payload.object();
    let environment = payload.environment(&object);
    let started = command::start(arguments, &environment).and_then(|(running, Pipes { input, output })| {
        let pipes = pipe::Sender::from_owned_fd(input)
            .and_then(|input| Ok((input, pipe::Receiver::from_owned_fd(output)?)));
        pipes.inspect_err(|_| running.kill()).map(|(input, output)| (running, input, output))
    });
    let (mut running, input, output) = match started {
        Ok(started) => started,
        Err(error) => return failed(format!("it cannot be started: {error}")),
    };
    let last = Arc::new(LastLine::default());
    let talk = tokio::spawn(talk(input, object + "\n", output, Arc::clone(&last)));

    let mut stopped = false;
    let ended = tokio::select! {
        ended = end_of(&mut running, reaped, RunningCommand::try_reap) => Some(ended),
        () = sleep_until(by) => None,
        () = stop.soft() => {
            stopped = true;
            None
        }
    };
    if let Some(ended) = ended {
        // What it said last has been written, and may not have been read.
        let _ = timeout_at(Instant::now() + GULP_PAUSE, last.finished()).await;
        talk.abort();
        return report(ended, &last.text());
    }
    running.terminate();
    by = Instant::now() + GRACE;
    let mut ended = tokio::select! {
        ended = end_of(&mut running, reaped, RunningCommand::try_reap_all) => Some(ended),
        () = sleep_until(by) => None,
        () = stop.hard() => None,
    };
    if ended.is_none() {
        running.kill();
        let by = Instant::now() + KILL_LIMIT;
        ended = timeout_at(by, end_of(&mut running, reaped, RunningCommand::try_reap)).await.ok();
    }
    talk.abort();
    let (outcome, mut text) = if stopped {
        (HookOutcome::Dropped, "the daemon ends".to_owned())
    } else {
        (HookOutcome::Timeout, format!("no end in {}s", limit.as_secs_f64()))
    };
    let left = ended.is_none().then_some(running);
    if let Some(left) = &left {
        text += &format!(", and process {} cannot be killed; it is left behind", left.pid());
    }
    Report { outcome, text: with_last(text, &last.text()), left }
}

fn failed(text: String) -> Report {
    Report { outcome: HookOutcome::Failed, text, left: None }
}

fn report(ended: ExitStatus, last: &str) -> Report {
    match ended {
        ExitStatus::Exited(0) => Report { outcome: HookOutcome::Ok, text: String::new(), left: None },
        // A script may end so as well, but then somebody said what was not found.
        ExitStatus::Exited(NOT_EXECUTED) if !last.is_empty() => {
            failed(with_last(format!("exit status {NOT_EXECUTED}"), last))
        }
        ended => failed(with_last(ended.to_string(), last)),
    }
}

fn with_last(text: String, last: &str) -> String {
    if last.is_empty() { text } else { format!("{text}: {last}") }
}

/// Waits for its end.
async fn end_of(
    running: &mut RunningCommand,
    reaped: &Notify,
    look: impl Fn(&mut RunningCommand) -> Option<ExitStatus>,
) -> ExitStatus {
    loop {
        let mut bell = std::pin::pin!(reaped.notified());
        // From here on no ring is missed.
        bell.as_mut().enable();
        if let Some(ended) = look(running) {
            return ended;
        }
        bell.await;
    }
}

/// Writes and reads at the same time: a command may want either first.
async fn talk(input: pipe::Sender, object: String, output: pipe::Receiver, last: Arc<LastLine>) {
    let write = async move {
        let mut input = input;
        // It may not want to know.
        let _ = input.write_all(object.as_bytes()).await;
    };
    let read = async {
        let _ = listen(output, &last).await;
        last.ended.notify_one();
    };
    join(write, read).await;
}

async fn join(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::join!(one, other);
}

async fn listen(mut output: pipe::Receiver, last: &LastLine) -> io::Result<()> {
    let mut buffer = vec![0; 4 << 10];
    let mut gulp = 0;
    loop {
        let n = output.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        last.add(&buffer[..n]);
        gulp += n;
        if gulp >= GULP {
            gulp = 0;
            sleep(GULP_PAUSE).await;
        }
    }
}

/// The end of what was said.
#[derive(Debug, Default)]
struct LastLine {
    bytes: std::sync::Mutex<Vec<u8>>,
    ended: Notify,
}

impl LastLine {
    fn add(&self, bytes: &[u8]) {
        let mut kept = self.bytes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        // Blank lines at the end are no last line: some room is left for them.
        let surplus = kept.len().saturating_sub(4 * MAX_LAST_LINE);
        kept.drain(..surplus);
    }

    async fn finished(&self) {
        self.ended.notified().await;
    }

    /// The last line that says something, escaped.
    fn text(&self) -> String {
        let kept = self.bytes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut lines = kept.split(|byte| *byte == b'\n' || *byte == b'\r').map(<[u8]>::trim_ascii);
        let line = lines.rfind(|line| !line.is_empty()).unwrap_or_default();
        escape(&line[..line.len().min(MAX_LAST_LINE)]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_last_that_says_something() {
        let last = LastLine::default();
        assert_eq!(last.text(), "");
        last.add(b"one\ntwo");
        last.add(b" more \n\n \r\n");
        assert_eq!(last.text(), "two more");
        last.add(b"\x1b[1mbold\xff\n");
        assert_eq!(last.text(), "\\033[1mbold\\377");
        for _ in 0..1000 {
            last.add(&[b'x'; 100]);
        }
        assert_eq!(last.text().len(), MAX_LAST_LINE);
        assert!(last.bytes.lock().unwrap().len() <= 4 * MAX_LAST_LINE);
    }

    #[test]
    fn ends_in_words() {
        for (ended, last, text) in [
            (ExitStatus::Exited(3), "why", "exit status 3: why"),
            (ExitStatus::Exited(1), "", "exit status 1"),
            (ExitStatus::Exited(127), "", "the program could not be executed"),
            (ExitStatus::Exited(127), "sh: x: not found", "exit status 127: sh: x: not found"),
            (ExitStatus::Signaled(9), "", "killed by SIGKILL"),
        ] {
            let report = report(ended, last);
            assert_eq!((report.outcome, report.text.as_str()), (HookOutcome::Failed, text));
        }
        assert_eq!(report(ExitStatus::Exited(0), "done").outcome, HookOutcome::Ok);
    }
}
