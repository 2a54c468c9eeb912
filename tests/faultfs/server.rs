//! A file server with faults on command, for the tests. It is a process of its own: a server and a stuck client in
//! one process could never exit. One command per line on stdin, one line back on stdout:
//!
//! ```text
//! mount PATH [allow_other] [attr_ttl=SECONDS] [fsname=X] [subtype=Y] [owner=UID] [mute] [noinit]
//! ok | mute | statfs_mute PATH       answer; read and never answer; never answer statfs alone
//! errno PATH NAME                    answer with an error
//! delay PATH MS | soft PATH MS NAME  answer late; hang, then answer with an error
//! release PATH                       answer now all that was kept unanswered
//! count PATH                         what was asked so far: `getattr=N statfs=N kept=N`
//! unmount | die PATH                 detach the mount; the server of that mount is gone
//! exit
//! ```
//!
//! `PATH` is escaped as in `/proc/self/mountinfo` (`\ooo`). `all` stands for every mount served, and `/m/0..200` for
//! `/m/0` to `/m/199`.

mod command;
mod files;
mod mounts;

use std::io::{BufRead, Write};

fn main() -> std::io::Result<()> {
    let mut mounts = mounts::Mounts::new();
    let mut stdout = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line == "exit" {
            break;
        }
        let answer = match command::parse(&line).and_then(|command| mounts.obey(command)) {
            Ok(text) => format!("ok {text}"),
            Err(text) => format!("error {line}: {text}"),
        };
        writeln!(stdout, "{}", answer.trim_end())?;
        stdout.flush()?;
    }
    // Not a return: threads of mounts that are still served would be waited for by nobody, but their kept replies
    // would be answered when dropped.
    std::process::exit(0);
}
