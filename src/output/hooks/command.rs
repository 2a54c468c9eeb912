//! One run of a command. It gets the JSON object on its standard input, and the last line of its output is kept for the
//! log. It gets SIGTERM at its deadline and SIGKILL soon after. A command that does not exit even then is left behind.

use super::outcome::{HookOutcome, HookResult};
use super::payload::Payload;
use super::shutdown::Shutdown;
use crate::output::lock;
use crate::render::escape::escape;
use platform::command::{self, Pipes, RunningCommand};
use platform::process::ExitStatus;
use std::ffi::OsString;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::time::{self, Instant, sleep, timeout_at};

/// Time from SIGTERM to SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(1);
/// Time from SIGKILL until the command counts as stranded: killable commands exit within milliseconds.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum amount of output read at once before a pause. It limits a command that floods us to a megabyte per second,
/// which costs little time.
const READ_BURST: usize = 64 << 10;
const READ_PAUSE: Duration = Duration::from_millis(50);
/// Maximum logged length of the last line of the output.
const MAX_LAST_LINE: usize = 300;
/// The exit status by which shells and our own fork report that a program cannot be executed.
const NOT_EXECUTED: i32 = 127;

pub(super) async fn run(
    arguments: &[OsString],
    payload: &Payload,
    timeout: Duration,
    child_exited: &Notify,
    shutdown: &Shutdown,
) -> HookResult {
    let deadline = Instant::now() + timeout;
    let started = command::start(arguments, &payload.environment()).and_then(|(command, pipes)| {
        let Pipes { input, output } = pipes;
        let pipes = pipe::Sender::from_owned_fd(input)
            .and_then(|input| Ok((input, pipe::Receiver::from_owned_fd(output)?)));
        pipes.inspect_err(|_| command.kill()).map(|(input, output)| (command, input, output))
    });
    let (mut command, input, output) = match started {
        Ok(started) => started,
        Err(error) => return HookResult::failed(format!("it cannot be started: {error}")),
    };
    let tail = Arc::new(OutputTail::default());
    let pump = tokio::spawn(pump_io(input, payload.object() + "\n", output, Arc::clone(&tail)));
    let exited = tokio::select! {
        exited = timeout_at(deadline, wait_for_exit(&mut command, child_exited, RunningCommand::try_reap)) => {
            exited.map_err(|_| HookResult::new(HookOutcome::Timeout, format!("it did not exit in {}s", timeout.as_secs_f64())))
        }
        () = shutdown.terminate() => Err(HookResult::cancelled()),
    };
    let result = match exited {
        Ok(status) => {
            // The last output has been written, but may not have been read.
            let _ = time::timeout(READ_PAUSE, tail.is_complete.notified()).await;
            result_of(status, &tail.last_line())
        }
        Err(mut result) => {
            if !terminate(&mut command, child_exited, shutdown).await {
                let pid = command.pid();
                result.text += &format!(", and process {pid} cannot be killed; it is left behind");
                result.stranded = Some(command);
            }
            let text = with_last_line(result.text, &tail.last_line());
            HookResult { text, ..result }
        }
    };
    pump.abort();
    result
}

/// Returns whether the command has exited.
async fn terminate(command: &mut RunningCommand, child_exited: &Notify, shutdown: &Shutdown) -> bool {
    command.terminate();
    tokio::select! {
        _ = wait_for_exit(command, child_exited, RunningCommand::try_reap_all) => return true,
        () = sleep(KILL_AFTER) => {}
        () = shutdown.kill() => {}
    }
    command.kill();
    time::timeout(EXIT_TIMEOUT, wait_for_exit(command, child_exited, RunningCommand::try_reap)).await.is_ok()
}

fn result_of(status: ExitStatus, last_line: &str) -> HookResult {
    let text = match status {
        ExitStatus::Exited(0) => return HookResult::ok(),
        // A script may exit with this status too, but then its output says what was not found.
        ExitStatus::Exited(NOT_EXECUTED) if !last_line.is_empty() => format!("exit status {NOT_EXECUTED}"),
        status => status.to_string(),
    };
    HookResult::failed(with_last_line(text, last_line))
}

fn with_last_line(text: String, last_line: &str) -> String {
    if last_line.is_empty() { text } else { format!("{text}: {last_line}") }
}

async fn wait_for_exit(
    command: &mut RunningCommand,
    child_exited: &Notify,
    try_reap: impl Fn(&mut RunningCommand) -> Option<ExitStatus>,
) -> ExitStatus {
    loop {
        let mut notified = pin!(child_exited.notified());
        notified.as_mut().enable(); // an exit from here on is not missed
        if let Some(status) = try_reap(command) {
            return status;
        }
        notified.await;
    }
}

/// Writes and reads at the same time: a command may want either first.
async fn pump_io(mut input: pipe::Sender, object: String, mut output: pipe::Receiver, tail: Arc<OutputTail>) {
    let write = async {
        let _ = input.write_all(object.as_bytes()).await; // a command need not read it
        drop(input);
    };
    let read = async {
        let (mut buffer, mut burst) = (vec![0; 4 << 10], 0);
        while let Ok(count @ 1..) = output.read(&mut buffer).await {
            tail.add(&buffer[..count]);
            burst += count;
            if burst >= READ_BURST {
                burst = 0;
                sleep(READ_PAUSE).await;
            }
        }
        tail.is_complete.notify_one();
    };
    tokio::join!(write, read);
}

/// The end of a command's output.
#[derive(Default)]
struct OutputTail {
    bytes: Mutex<Vec<u8>>,
    is_complete: Notify,
}

impl OutputTail {
    fn add(&self, bytes: &[u8]) {
        let mut tail = lock(&self.bytes);
        tail.extend_from_slice(bytes);
        // With room for blank lines after the last one.
        let surplus = tail.len().saturating_sub(4 * MAX_LAST_LINE);
        tail.drain(..surplus);
    }

    /// The last line that is not blank, escaped.
    fn last_line(&self) -> String {
        let tail = lock(&self.bytes);
        let mut lines = tail.split(|byte| *byte == b'\n' || *byte == b'\r').map(<[u8]>::trim_ascii);
        let line = lines.rfind(|line| !line.is_empty()).unwrap_or_default();
        escape(&line[..line.len().min(MAX_LAST_LINE)]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_is_the_last_that_is_not_blank() {
        let tail = OutputTail::default();
        assert_eq!(tail.last_line(), "");
        tail.add(b"one\ntwo");
        tail.add(b" more \n\n \r\n");
        assert_eq!(tail.last_line(), "two more");
        tail.add(b"\x1b[1mbold\xff\n");
        assert_eq!(tail.last_line(), "\\033[1mbold\\377");
        for _ in 0..1000 {
            tail.add(&[b'x'; 100]);
        }
        assert_eq!(tail.last_line().len(), MAX_LAST_LINE);
        assert!(lock(&tail.bytes).len() <= 4 * MAX_LAST_LINE);
    }

    #[test]
    fn failure_is_described_by_exit_status_and_last_line() {
        for (status, last_line, text) in [
            (ExitStatus::Exited(3), "why", "exit status 3: why"),
            (ExitStatus::Exited(1), "", "exit status 1"),
            (ExitStatus::Exited(127), "", "the program could not be executed"),
            (ExitStatus::Exited(127), "sh: x: not found", "exit status 127: sh: x: not found"),
            (ExitStatus::Signaled(9), "", "killed by SIGKILL"),
        ] {
            let result = result_of(status, last_line);
            assert_eq!((result.outcome, result.text.as_str()), (HookOutcome::Failed, text));
        }
        assert_eq!(result_of(ExitStatus::Exited(0), "done").outcome, HookOutcome::Ok);
    }
}
