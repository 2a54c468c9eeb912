//! What was begun and done since the machine was started: one small file for each server in a directory that the daemon and
//! commands share. A child writes the intent before its first call and the outcome after the last one, so a step without an
//! outcome was interrupted.

use super::wire::CallError;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Of the file; another program version does not read it.
const VERSION: u32 = 1;
/// Steps in one file: many attempts. The oldest are dropped.
const MAX_STEPS: usize = 64;
/// Of one file: [`MAX_STEPS`] with paths of the longest kind.
const MAX_BYTES: u64 = 2 << 20;
/// Files that are read: a machine has fewer servers.
const MAX_FILES: usize = 1000;
const SUFFIX: &str = "steps";

/// A step that was begun.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordedStep {
    /// The unique id of the mount.
    pub mount: u64,
    /// Any bytes.
    pub path: Vec<u8>,
    /// The word of the step.
    pub step: String,
    /// When it was begun: since 1970.
    pub at: Duration,
    /// The same, since the machine was started: no clock change makes it older.
    pub uptime: Duration,
    /// `None` if it was interrupted, or is being made.
    pub outcome: Option<RecordedOutcome>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RecordedOutcome {
    /// The calls were made without an error.
    Succeeded,
    /// The last call failed.
    Failed(CallError),
    /// No call was made.
    NotMade,
}

/// The recorded steps of one server.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepRecords {
    version: u32,
    steps: Vec<RecordedStep>,
}

impl StepRecords {
    /// The file of the records of a server, whose name was made into a file name.
    pub(super) fn file(directory: &Path, server: &str) -> PathBuf {
        directory.join(format!("{server}.{SUFFIX}"))
    }

    /// Those of a file; none if there is no such file.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` for a file of another version: what was done is not known then.
    pub(super) fn read(file: &Path) -> io::Result<StepRecords> {
        let mut text = Vec::new();
        match fs::File::open(file) {
            Ok(file) => file.take(MAX_BYTES).read_to_end(&mut text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(StepRecords { version: VERSION, steps: Vec::new() });
            }
            Err(error) => return Err(error),
        };
        let records: StepRecords =
            serde_json::from_slice(&text).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        if records.version == VERSION { Ok(records) } else { Err(ErrorKind::InvalidData.into()) }
    }

    /// Those of all servers.
    ///
    /// # Errors
    /// As for one; more files than [`MAX_FILES`].
    pub(super) fn read_all(directory: &Path) -> io::Result<Vec<RecordedStep>> {
        let mut steps = Vec::new();
        for (n, entry) in fs::read_dir(directory)?.enumerate() {
            let path = entry?.path();
            if n >= MAX_FILES {
                return Err(io::Error::other("too many files of records"));
            }
            if path.extension() == Some(OsStr::new(SUFFIX)) {
                steps.append(&mut StepRecords::read(&path)?.steps);
            }
        }
        Ok(steps)
    }

    /// The oldest first.
    #[must_use]
    pub fn steps(&self) -> &[RecordedStep] {
        &self.steps
    }

    /// Records the intent. It is on the disk of no machine: what is begun ends with the machine.
    pub(super) fn begin(file: &Path, word: &str, mount: u64, path: &[u8], at: Duration) -> io::Result<()> {
        let uptime = read_uptime()?;
        let mut records = StepRecords::read(file)?;
        let kept = records.steps.len().saturating_sub(MAX_STEPS - 1);
        records.steps.drain(..kept);
        let step = word.to_owned();
        records.steps.push(RecordedStep { mount, path: path.to_vec(), step, at, uptime, outcome: None });
        records.write(file)
    }

    /// Records the outcome of the step that was begun last.
    pub(super) fn end(file: &Path, outcome: RecordedOutcome) -> io::Result<()> {
        let mut records = StepRecords::read(file)?;
        if let Some(last) = records.steps.last_mut() {
            last.outcome = Some(outcome);
        }
        records.write(file)
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        let mut new: OsString = file.as_os_str().to_owned();
        new.push(".new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(&new, file)
    }
}

/// Time in suspension counts.
pub(super) fn read_uptime() -> io::Result<Duration> {
    uptime_in(&fs::read("/proc/uptime")?).ok_or(ErrorKind::InvalidData.into())
}

/// The time since the machine was started, in the text of `/proc/uptime`.
pub fn uptime_in(text: &[u8]) -> Option<Duration> {
    let seconds = std::str::from_utf8(text).ok()?.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

impl RecordedStep {
    #[must_use]
    pub fn path(&self) -> PathBuf {
        OsString::from_vec(self.path.clone()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1_700_000_000);

    #[test]
    fn step_without_an_outcome_was_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let file = StepRecords::file(directory.path(), "server");
        assert_eq!(StepRecords::read(&file).unwrap().steps(), []);
        StepRecords::begin(&file, "abort", 7, b"/a\xff", AT).unwrap();
        StepRecords::end(&file, RecordedOutcome::Failed(CallError::Errno(16))).unwrap();
        StepRecords::begin(&file, "detach", 7, b"/a\xff", AT).unwrap();
        let records = StepRecords::read(&file).unwrap();
        let [abort, detach] = records.steps() else { panic!("{records:?}") };
        assert_eq!(abort.outcome, Some(RecordedOutcome::Failed(CallError::Errno(16))));
        assert_eq!((detach.step.as_str(), &detach.outcome), ("detach", &None));
        StepRecords::begin(&StepRecords::file(directory.path(), "other"), "abort", 8, b"/b", AT).unwrap();
        assert_eq!(StepRecords::read_all(directory.path()).unwrap().len(), 3);
    }

    #[test]
    fn records_are_bounded_and_unreadable_ones_are_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = StepRecords::file(directory.path(), "server");
        for n in 0..MAX_STEPS as u64 + 5 {
            StepRecords::begin(&file, "unmount", n, b"/a", AT).unwrap();
        }
        let records = StepRecords::read(&file).unwrap();
        assert_eq!(records.steps().len(), MAX_STEPS);
        assert_eq!(records.steps().last().unwrap().mount, MAX_STEPS as u64 + 4);
        for text in ["", "{}", r#"{"version":2,"steps":[]}"#] {
            fs::write(&file, text).unwrap();
            assert!(StepRecords::read(&file).is_err(), "{text:?}");
            assert!(StepRecords::begin(&file, "abort", 1, b"/a", AT).is_err(), "{text:?}");
        }
    }
}
