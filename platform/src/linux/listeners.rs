//! Who listens on a TCP port, from `/proc/self` only, like `process_stats`; and on the Unix socket of a connection.

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Backlog, getsockopt, listen, sockopt::PeerCredentials};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;

/// Listeners precede connections in the table; there are at most a few thousand, of 150 bytes each.
const MAX_TABLE: u64 = 1 << 20;
/// `TCP_LISTEN`
const LISTENING: &str = "0A";

/// The ids of the users who listen on this TCP port of the own network namespace, on any address.
#[must_use]
pub fn listener_owners(port: u16) -> Vec<u32> {
    let mut owners = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let mut text = String::new();
        // Without IPv6 there is no second table.
        if File::open(table).and_then(|file| file.take(MAX_TABLE).read_to_string(&mut text)).is_ok() {
            owners.extend(owners_in(&text, port));
        }
    }
    owners
}

/// Makes this process the one that [`hang_up_listener`] finds, if another has bound the socket.
pub fn adopt_listener(listener: &impl AsFd) -> io::Result<()> {
    Ok(listen(listener, Backlog::MAXCONN)?)
}

/// Sends SIGHUP to the process that listens at the other end of this connection, if it is seen from here and has the user of
/// this process: others could have it sent to a process of their choice.
#[must_use]
pub fn hang_up_listener(connection: &impl AsFd) -> bool {
    let Ok(peer) = getsockopt(connection, PeerCredentials) else { return false };
    peer.pid() > 0
        && peer.uid() == crate::user_id()
        && kill(Pid::from_raw(peer.pid()), Signal::SIGHUP).is_ok()
}

/// `0: 0100007F:2659 00000000:0000 0A 00000000:00000000 00:00000000 00000000 UID …`
fn owners_in(table: &str, port: u16) -> impl Iterator<Item = u32> {
    let port = format!("{port:04X}");
    table.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_one = fields.get(3) == Some(&LISTENING) && fields.get(1)?.rsplit(':').next() == Some(&*port);
        fields.get(7)?.parse().ok().filter(|_| is_one)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn only_listeners_on_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:2659 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 1059 1 0\n\
            \x20  1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1060 1 0\n\
            \x20  2: 0100007F:2659 0100007F:C4D8 01 00000000:00000000 00:00000000 00000000  1002        0 1061 1 0\n\
            broken\n";
        assert_eq!(owners_in(table, 0x2659).collect::<Vec<_>>(), [1001]);
        assert_eq!(owners_in(table, 0x50).collect::<Vec<_>>(), [0]);
        assert_eq!(owners_in(table, 1).count(), 0);
    }

    #[test]
    fn own_listener_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue }; // without IPv6
            let port = listener.local_addr().unwrap().port();
            assert_eq!(listener_owners(port), [crate::user_id()], "{address}");
        }
    }
}
