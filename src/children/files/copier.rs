//! Standard error that is a file: a child writes it, so that neither a write nor the close at the end of this process
//! waits for the storage of the file.

use super::helper::{Helper, uses_children};
use super::request::Request;
use platform::process::{replace_standard_error, standard_error_is_file};
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// The child must take over the file within this time.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// A child that copies what this process writes to standard error, which is a pipe now.
pub struct StderrCopier(Helper);

impl StderrCopier {
    /// `None` if standard error cannot wait for storage: it is no file.
    ///
    /// # Errors
    /// No child can be started.
    pub fn start() -> io::Result<Option<StderrCopier>> {
        if !uses_children() || !standard_error_is_file() {
            return Ok(None);
        }
        let mut helper = Helper::start()?;
        let (reader, writer) = io::pipe()?;
        let file = replace_standard_error(writer.as_fd())?;
        helper.send(&Request::Copy, &[reader.as_fd(), file.as_fd()], Instant::now() + START_TIMEOUT)?;
        Ok(Some(StderrCopier(helper)))
    }

    /// Ends standard error, and waits at most for this time until its last lines are written.
    pub fn finish(mut self, timeout: Duration) {
        let nowhere = File::options().write(true).open("/dev/null");
        if nowhere.is_ok_and(|nowhere| replace_standard_error(nowhere.as_fd()).is_ok()) {
            self.0.wait_for_end(Instant::now() + timeout);
        }
    }
}
