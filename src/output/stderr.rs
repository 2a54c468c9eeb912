//! Standard error as a sink: text or JSON, one write per line. If the journal reads it, text goes to the journal as entries
//! with fields instead, and other lines have the prefix `<N>`.

use super::drill::Outcome;
use super::journal::{Journal, SOCKET};
use super::lock;
use super::sink::{Delivery, SinkWriter};
use crate::render::Message;
use crate::render::json;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(word: &str) -> Result<LogFormat, String> {
        match word {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("use text or json".to_owned()),
        }
    }
}

/// Can change while the sink runs.
pub(super) type SharedFormat = Arc<Mutex<LogFormat>>;

/// Writes to its own descriptor, so that a blocked write holds no lock of the standard library.
#[derive(Debug)]
pub struct StderrWriter {
    file: File,
    format: SharedFormat,
    with_priority: bool,
    journal: Option<Journal>,
    /// Whether text goes to the journal; read by the reporter.
    uses_journal: Arc<AtomicBool>,
    /// The unwritten rest of the current message.
    rest: Vec<u8>,
    /// Only a part of the last line was written.
    is_line_open: bool,
    problem: Option<Outcome>,
}

impl StderrWriter {
    pub(super) fn new(format: SharedFormat, uses_journal: Arc<AtomicBool>) -> io::Result<StderrWriter> {
        let file = io::stderr().as_fd().try_clone_to_owned()?.into();
        Ok(StderrWriter { uses_journal, ..StderrWriter::new_with(file, format) })
    }

    /// Writes to this file, pipe or socket instead.
    pub fn to_file(file: File, format: LogFormat) -> StderrWriter {
        StderrWriter::new_with(file, Arc::new(Mutex::new(format)))
    }

    fn new_with(file: File, format: SharedFormat) -> StderrWriter {
        StderrWriter {
            file,
            format,
            with_priority: false,
            journal: None,
            uses_journal: Arc::default(),
            rest: Vec::new(),
            is_line_open: false,
            problem: None,
        }
    }

    /// Sends text to the journal. None if it must be written to standard error.
    fn send_to_journal(&mut self, message: &Message) -> Option<Delivery> {
        let journal = self.journal.as_ref().filter(|_| *lock(&self.format) == LogFormat::Text)?;
        match journal.send(message) {
            Ok(()) => Some(Delivery::Done),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.problem = Some(Outcome::Failed("the journal does not read".to_owned()));
                Some(Delivery::Retry)
            }
            Err(error) => {
                let why = format!("{SOCKET}: {error}; written to standard error instead");
                self.problem = Some(Outcome::Failed(why));
                None
            }
        }
    }

    fn render(&self, message: &Message) -> Vec<u8> {
        let mut line = Vec::with_capacity(message.text.len() + 8);
        if self.is_line_open {
            line.push(b'\n');
        }
        if self.with_priority {
            line.extend_from_slice(format!("<{}>", message.priority.number()).as_bytes());
        }
        match *lock(&self.format) {
            LogFormat::Text => line.extend_from_slice(message.text.as_bytes()),
            LogFormat::Json => line.extend_from_slice(json::event(message).as_bytes()),
        }
        line.push(b'\n');
        line
    }
}

impl SinkWriter for StderrWriter {
    fn open(&mut self) {
        self.with_priority = is_journal();
        self.journal = self.with_priority.then(Journal::new).and_then(Result::ok);
        self.uses_journal.store(self.journal.is_some(), Ordering::Relaxed);
    }

    fn write(&mut self, message: &Message) -> Delivery {
        if self.rest.is_empty() {
            if let Some(delivery) = self.send_to_journal(message) {
                return delivery;
            }
            self.rest = self.render(message);
        }
        while !self.rest.is_empty() {
            match self.file.write(&self.rest) {
                Ok(0) => break,
                Ok(written) => {
                    self.rest.drain(..written);
                    self.is_line_open = !self.rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.problem = Some(Outcome::Failed("nobody reads standard error".to_owned()));
                    return Delivery::Retry;
                }
                Err(error) => {
                    self.problem = Some(Outcome::Failed(error.to_string())); // a closed pipe or a full disk
                    break;
                }
            }
        }
        if self.rest.is_empty() {
            return Delivery::Done;
        }
        self.rest.clear();
        Delivery::Lost
    }

    fn take_problem(&mut self) -> Option<Outcome> {
        self.problem.take()
    }

    fn abandon(&mut self) {
        self.rest.clear();
    }
}

/// Whether standard error goes to the journal. It is checked only if systemd sets the variable: `fstat` may hang if
/// standard error is a file on dead storage, where no child writes it.
pub(super) fn is_journal() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some_and(|stream| {
        let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
        stderr.and_then(|file| file.metadata()).is_ok_and(|file| is_stream(&stream, file.dev(), file.ino()))
    })
}

/// Whether systemd's `JOURNAL_STREAM`, which is `DEVICE:INODE`, is this file. A child whose standard error was
/// redirected inherits the variable, but not the stream.
fn is_stream(stream: &OsStr, device: u64, inode: u64) -> bool {
    let parsed = stream.to_str().and_then(|text| {
        let (dev, ino) = text.split_once(':')?;
        Some((dev.parse::<u64>().ok()?, ino.parse::<u64>().ok()?))
    });
    parsed == Some((device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Priority;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::SystemTime;

    fn message(text: &str) -> Message {
        Message {
            time: SystemTime::UNIX_EPOCH,
            priority: Priority::Warning,
            text: text.to_owned(),
            event: None,
        }
    }

    #[test]
    fn journal_is_recognised_by_device_and_inode() {
        for (stream, expected) in
            [("8:33", true), ("8:34", false), ("9:33", false), ("8", false), ("", false), ("8:33:1", false)]
        {
            assert_eq!(is_stream(OsStr::new(stream), 8, 33), expected, "{stream}");
        }
    }

    #[test]
    fn line_after_one_that_was_given_up_begins_anew() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let mut stderr = StderrWriter::to_file(OwnedFd::from(writer).into(), LogFormat::Text);
        assert_eq!(stderr.write(&message(&"x".repeat(1 << 20))), Delivery::Retry);
        assert!(matches!(stderr.take_problem(), Some(Outcome::Failed(_))));
        stderr.abandon();
        let mut read = vec![0; 1 << 16];
        let length = reader.read(&mut read).unwrap();
        assert!(length > 0);
        assert_eq!(stderr.write(&message("next")), Delivery::Done);
        drop(stderr);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest.trim_start_matches('x'), "\nnext\n");
    }

    #[test]
    fn priority_is_written_only_for_the_journal() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut stderr = StderrWriter::to_file(OwnedFd::from(writer).into(), LogFormat::Text);
        assert_eq!(stderr.write(&message("one")), Delivery::Done);
        stderr.with_priority = true;
        assert_eq!(stderr.write(&message("two")), Delivery::Done);
        *lock(&stderr.format) = LogFormat::Json;
        assert_eq!(stderr.write(&message("three")), Delivery::Done);
        drop(stderr);
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        let (plain, json) = all.split_once("<4>{").unwrap();
        assert_eq!(plain, "one\n<4>two\n");
        assert!(json.contains(r#""message":"three""#) && json.ends_with("}\n"), "{json}");
    }
}
