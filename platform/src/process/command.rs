//! A command of the operator. It is started without waiting for its program, which may be on hung storage, and killed
//! together with its process group.

use super::child::{Child, ExitStatus};
use super::spawn::spawn;
use nix::sys::signal::Signal;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// A started command and its process group. Dropping it neither ends it nor waits.
#[derive(Debug)]
pub struct RunningCommand {
    child: Child,
}

/// Our ends of a command's pipes.
#[derive(Debug)]
pub struct Pipes {
    /// Its standard input.
    pub input: OwnedFd,
    /// Its standard output and standard error, interleaved.
    pub output: OwnedFd,
}

/// Starts the program at `arguments[0]`, an absolute path, with exactly these environment variables.
///
/// # Errors
/// No arguments; a NUL byte in one of the strings; those of `pipe(2)` and `fork(2)`. A program that cannot be executed
/// shows as its exit status.
pub fn start(
    arguments: &[OsString],
    environment: &[(&str, impl AsRef<OsStr>)],
) -> io::Result<(RunningCommand, Pipes)> {
    let arguments: Vec<CString> =
        arguments.iter().map(|argument| CString::new(argument.as_bytes())).collect::<Result<_, _>>()?;
    let Some(program) = arguments.first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program given"));
    };
    let variable = |(name, value): &(&str, _)| -> Result<CString, std::ffi::NulError> {
        let value: &OsStr = AsRef::<OsStr>::as_ref(value);
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
    };
    let environment: Vec<CString> = environment.iter().map(variable).collect::<Result<_, _>>()?;
    let (their_input, input) = io::pipe()?;
    let (output, their_output) = io::pipe()?;
    let standard = [their_input.as_fd(), their_output.as_fd(), their_output.as_fd()];
    let pid = spawn(program, &as_c_strs(&arguments), &as_c_strs(&environment), standard, None)?;
    Ok((RunningCommand { child: Child::new(pid) }, Pipes { input: input.into(), output: output.into() }))
}

fn as_c_strs(strings: &[CString]) -> Vec<&CStr> {
    strings.iter().map(CString::as_c_str).collect()
}

impl RunningCommand {
    /// Its process id, which is also the id of its process group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The exit status if it has ended; never blocks. Must be called after a SIGCHLD.
    pub fn try_reap(&mut self) -> Option<ExitStatus> {
        self.child.try_reap()
    }

    /// Like [`RunningCommand::try_reap`], but kills what is left of the process group first.
    pub fn try_reap_all(&mut self) -> Option<ExitStatus> {
        // Checked without reaping: afterwards the id of the group may belong to another one.
        if !self.child.has_ended() {
            return None;
        }
        self.kill();
        self.child.try_reap()
    }

    /// Sends SIGTERM to its process group.
    pub fn terminate(&self) {
        self.child.signal_group(Signal::SIGTERM);
    }

    /// Sends SIGKILL to its process group.
    pub fn kill(&self) {
        self.child.signal_group(Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read as _;
    #[cfg(target_os = "linux")]
    use std::io::Write as _;

    #[cfg(target_os = "linux")] // /proc shows the descriptors
    #[test]
    fn command_gets_only_its_arguments_variables_and_pipes() {
        let script =
            "cat; echo $0 $1; pwd; env | sort; ls /proc/self/fd; cut -d' ' -f5,6 /proc/$$/stat >&2; exit 3";
        let arguments = ["/bin/sh", "-c", script, "zero", "one"].map(OsString::from);
        let environment = [("PATH", "/usr/bin:/bin"), ("MSM_X", "a b")];
        let (mut running, pipes) = start(&arguments, &environment).unwrap();
        File::from(pipes.input).write_all(b"input\n").unwrap();
        let mut output = String::new();
        File::from(pipes.output).read_to_string(&mut output).unwrap();
        let ended = loop {
            if let Some(ended) = running.try_reap() {
                break ended;
            }
            std::thread::yield_now();
        };
        assert_eq!(ended, ExitStatus::Exited(3));
        let pid = running.pid();
        let lines: Vec<&str> = output.lines().map(str::trim).collect();
        let (head, tail) = lines.split_at(3);
        assert_eq!(head, ["input", "zero one", "/"]);
        let variables: Vec<&str> = tail.iter().copied().filter(|line| line.contains('=')).collect();
        assert_eq!(variables, ["MSM_X=a b", "PATH=/usr/bin:/bin", "PWD=/"]);
        // Descriptor 3 is the directory that `ls` itself reads.
        assert!(output.contains("\n0\n1\n2\n3\n") && !output.contains("\n4\n"), "{output}");
        let group = lines.last().unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(group, [pid.to_string(), pid.to_string()]);
    }

    #[test]
    fn process_group_is_killed_when_its_leader_has_ended() {
        // SIGTERM ends the leader but not its child.
        let script = "(trap '' TERM; echo ready; while :; do sleep 1000; done) & read line";
        let arguments = ["/bin/sh", "-c", script].map(OsString::from);
        let (mut running, pipes) = start(&arguments, &[("PATH", "/usr/bin:/bin")]).unwrap();
        let mut output = File::from(pipes.output);
        let mut ready = [0; 6];
        output.read_exact(&mut ready).unwrap();
        running.terminate();
        let ended = loop {
            if let Some(ended) = running.try_reap_all() {
                break ended;
            }
            std::thread::yield_now();
        };
        assert_eq!(ended, ExitStatus::Signaled(Signal::SIGTERM as i32));
        // No process holds the other end now.
        assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
}
