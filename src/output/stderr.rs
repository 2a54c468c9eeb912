//! Standard error as a sink: text or JSON, one write for each line, with journald's `<N>` before it where journald
//! reads.

use super::sink::{Delivery, Output};
use crate::render::Message;
use crate::render::json;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How messages look on standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// The line for people.
    Text,
    /// One JSON object.
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

/// A format that can be changed while the sink is in use.
#[derive(Clone, Debug)]
pub struct SharedFormat(Arc<AtomicBool>);

impl From<LogFormat> for SharedFormat {
    fn from(format: LogFormat) -> SharedFormat {
        SharedFormat(Arc::new(AtomicBool::new(format == LogFormat::Json)))
    }
}

impl SharedFormat {
    /// From now on this one.
    pub fn set(&self, format: LogFormat) {
        self.0.store(format == LogFormat::Json, Ordering::Relaxed);
    }

    fn get(&self) -> LogFormat {
        if self.0.load(Ordering::Relaxed) { LogFormat::Json } else { LogFormat::Text }
    }
}

/// The output of the sink. The descriptor is its own copy, so that a write that blocks holds no lock of the
/// standard library.
#[derive(Debug)]
pub struct Stderr {
    file: File,
    format: SharedFormat,
    with_priority: bool,
    /// What is still to be written of the message in hand.
    rest: Vec<u8>,
}

impl Stderr {
    /// Writes to this process's standard error.
    pub fn new(format: SharedFormat) -> io::Result<Stderr> {
        Ok(Stderr::onto(io::stderr().as_fd().try_clone_to_owned()?.into(), format))
    }

    /// Writes to this file, pipe or socket as if it were standard error.
    #[must_use]
    pub fn onto(file: File, format: impl Into<SharedFormat>) -> Stderr {
        Stderr { file, format: format.into(), with_priority: false, rest: Vec::new() }
    }

    fn render(&self, message: &Message) -> Vec<u8> {
        let mut line = Vec::with_capacity(message.text.len() + 8);
        if self.with_priority {
            line.extend_from_slice(format!("<{}>", message.priority.number()).as_bytes());
        }
        match self.format.get() {
            LogFormat::Text => line.extend_from_slice(message.text.as_bytes()),
            LogFormat::Json => line.extend_from_slice(json::event(message).as_bytes()),
        }
        line.push(b'\n');
        line
    }
}

impl Output for Stderr {
    /// `fstat` may hang where standard error is a file on dead storage; so it is asked in the sink's thread, and
    /// only where systemd says that there is a journal.
    fn open(&mut self) {
        self.with_priority = std::env::var_os("JOURNAL_STREAM").is_some_and(|stream| {
            self.file.metadata().is_ok_and(|file| names(&stream, file.dev(), file.ino()))
        });
    }

    fn write(&mut self, message: &Message) -> Delivery {
        if self.rest.is_empty() {
            self.rest = self.render(message);
        }
        while !self.rest.is_empty() {
            match self.file.write(&self.rest) {
                Ok(0) => break,
                Ok(written) => drop(self.rest.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Delivery::Later,
                Err(_) => break, // nobody reads any more, or the disk is full: there is nobody left to tell
            }
        }
        if self.rest.is_empty() {
            return Delivery::Done;
        }
        self.rest.clear();
        Delivery::Lost
    }
}

/// Is `DEVICE:INODE` in systemd's `JOURNAL_STREAM` this file? A child whose standard error was redirected inherits
/// the variable, but not the stream.
fn names(stream: &OsStr, device: u64, inode: u64) -> bool {
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
    fn the_journal_is_known_by_device_and_inode() {
        for (stream, is_it) in
            [("8:33", true), ("8:34", false), ("9:33", false), ("8", false), ("", false), ("8:33:1", false)]
        {
            assert_eq!(names(OsStr::new(stream), 8, 33), is_it, "{stream}");
        }
    }

    #[test]
    fn lines_with_and_without_priority() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut stderr = Stderr::onto(OwnedFd::from(writer).into(), LogFormat::Text);
        assert_eq!(stderr.write(&message("one")), Delivery::Done);
        stderr.with_priority = true;
        assert_eq!(stderr.write(&message("two")), Delivery::Done);
        stderr.format.set(LogFormat::Json);
        assert_eq!(stderr.write(&message("three")), Delivery::Done);
        drop(stderr);
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        let (plain, json) = all.split_once("<4>{").unwrap();
        assert_eq!(plain, "one\n<4>two\n");
        assert!(json.contains(r#""message":"three""#) && json.ends_with("}\n"), "{json}");
    }

    #[test]
    fn a_closed_pipe_loses_messages_and_nothing_else() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut stderr = Stderr::onto(OwnedFd::from(writer).into(), LogFormat::Text);
        assert_eq!(stderr.write(&message("one")), Delivery::Lost);
        assert_eq!(stderr.write(&message("two")), Delivery::Lost);
    }
}
