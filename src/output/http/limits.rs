//! Every limit of the server, with its reason.

use std::time::Duration;

/// TCP connections at a time. Some scrapers and open pages are far below; one connection takes about 20 KiB. When all
/// are taken, the one that has been idle for longest makes room, so that thousands of them shut nobody out.
pub(super) const TCP_CONNECTIONS: usize = 256;
/// Connections on the Unix socket at a time: scripts and people on this machine.
pub(super) const SOCKET_CONNECTIONS: usize = 64;
/// Connections that wait to be accepted: a burst does not have to be sent again by its clients.
pub(super) const BACKLOG: u32 = 1024;
/// From the start of a connection, or the end of its last answer, to the end of a request's header. It is the time
/// for slow senders and for idle connections alike.
pub(super) const HEADER_TIME: Duration = Duration::from_secs(5);
/// Bytes that are read ahead of what is understood, so also the largest header: a browser's with many cookies fits.
/// The HTTP library takes no smaller one.
pub(super) const HEADER_BYTES: usize = 16 * 1024;
/// Fields of a header: browsers send about twenty.
pub(super) const HEADER_FIELDS: usize = 64;
/// A client that takes nothing of an answer for this long is gone or hostile.
pub(super) const WRITE_STALL: Duration = Duration::from_secs(10);
/// The same for a client of events: it may be suspended for a while (a laptop, a debugger), and loses events instead.
pub(super) const EVENTS_WRITE_STALL: Duration = Duration::from_secs(600);
/// Clients of events at a time: below the connections, so that there is always one for a scrape.
pub(super) const EVENT_CLIENTS: usize = 64;
/// The same on the Unix socket.
pub(super) const SOCKET_EVENT_CLIENTS: usize = 32;
/// Events that are written to one client at once, which bounds what is held for it.
pub(super) const EVENTS_AT_ONCE: usize = 64;
/// A sign of life to clients of events, who else could not tell silence from a dead connection.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// After `accept` failed (no more descriptors), the next try comes after this.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// The loop is alive if it turns within this after it was woken.
pub(super) const ALIVE_WITHIN: Duration = Duration::from_secs(1);
/// How often the loop's turns are looked at meanwhile.
pub(super) const ALIVE_LOOK: Duration = Duration::from_millis(5);
/// One answer about the loop's life serves everybody who asks so soon after: who asks often does not keep it busy.
pub(super) const ALIVE_FRESH: Duration = Duration::from_millis(250);
/// How long a clean stop waits for the thread, which removes its socket: a file system that hangs is left behind.
pub(super) const STOP_PATIENCE: Duration = Duration::from_millis(200);
/// Rows in the page itself; its script shows the rest. A page of this size is drawn at once everywhere.
pub(super) const PAGE_ROWS: usize = 500;
/// Events on the page.
pub(super) const PAGE_EVENTS: usize = 50;
