//! A FUSE server with fault injection for the tests. A separate process, because a process that is both server and
//! stuck client could not exit. It reads one command per line from stdin and replies with one line:
//!
//! ```text
//! mount PATH [allow_other] [attr_ttl=SECONDS] [fsname=X] [subtype=Y] [owner=UID] [mute] [noinit]
//!            [source=DIRECTORY]      serve the files of this directory
//! ok PATH                            reply normally
//! mute PATH | statfs_mute PATH       read requests (or only statfs) and never reply
//! data_mute PATH | write_mute PATH   never reply to reads and writes (or only to writes)
//! write_errno PATH NAME              reply to writes with an error
//! errno PATH NAME                    reply with an error
//! delay PATH MS                      reply late
//! soft PATH MS NAME                  reply late with an error
//! release PATH                       reply to all pending requests
//! count PATH                         requests so far: `getattr=N statfs=N pending=N`
//! forget PATH                        make the kernel drop the cached pages of the files, mapped ones too
//! unmount PATH                       detach the mount
//! die PATH                           abort the connection, as if the server had ended
//! exit
//! ```
//!
//! `PATH` is escaped as in `/proc/self/mountinfo` (`\ooo`). `all` means every mount, `/m/0..200` means `/m/0` to
//! `/m/199`.

mod command;
mod files;
mod mounts;
mod source;

use std::io::{BufRead, Write};

fn main() -> std::io::Result<()> {
    let mut mounts = mounts::Mounts::new();
    let mut stdout = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line == "exit" {
            break;
        }
        let reply = match command::parse(&line).and_then(|command| mounts.execute(command)) {
            Ok(text) => format!("ok {text}"),
            Err(text) => format!("error {line}: {text}"),
        };
        writeln!(stdout, "{}", reply.trim_end())?;
        stdout.flush()?;
    }
    // Does not return from main, because dropping the pending requests would reply to them.
    std::process::exit(0);
}
