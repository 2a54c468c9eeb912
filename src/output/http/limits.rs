//! The limits of the server, with reasons.

use std::time::Duration;

/// Maximum number of TCP connections, of about 20 KiB each: far more than scrapers and open pages need. When all are in
/// use, the connection that has been idle longest is closed, so that idle connections cannot block new ones.
pub(super) const MAX_TCP_CONNECTIONS: usize = 256;
/// Maximum number of connections on the Unix socket: scripts and users on this host.
pub(super) const MAX_SOCKET_CONNECTIONS: usize = 64;
/// Maximum number of connections waiting for `accept`, so that the connections of a burst need not be retried.
pub(super) const BACKLOG: u32 = 1024;
/// Time limit from the start of a connection, or the end of its last response, to the end of a request's header. It
/// limits slow senders and idle connections.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of a TLS handshake, which counts as an idle connection: less than a scrape waits.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Threads for calls that take time: one binds the Unix socket, one checks a password.
pub(super) const MAX_BLOCKING_THREADS: usize = 2;
/// Refused clients are reported at once up to this number, so that an operator sees the first ones of an attack.
pub(super) const REFUSALS_AT_ONCE: f64 = 5.0;
/// And then one a minute, with the number of the others.
pub(super) const REFUSALS_PER_SECOND: f64 = 1.0 / 60.0;
/// The size of the read buffer, and so of the largest header: that of a browser with many cookies fits.
pub(super) const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Maximum number of header fields: browsers send about twenty.
pub(super) const MAX_HEADER_FIELDS: usize = 64;
/// A client that reads nothing of a response for this long is gone or hostile.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A response that is made while it is sent ends after this time: it holds a snapshot, and each run makes another one.
pub(super) const MAX_SENDING_TIME: Duration = Duration::from_secs(60);
/// Maximum number of responses that are compressed at the same time, each with about 300 KiB of state. Others are sent as
/// they are.
pub(super) const MAX_COMPRESSORS: usize = 16;
/// The same as [`WRITE_TIMEOUT`] for a client of events: it may be suspended for a while (a laptop, a debugger), and misses events then.
pub(super) const EVENTS_WRITE_TIMEOUT: Duration = Duration::from_secs(600);
/// Maximum number of event clients over TCP: fewer than connections, so that one is always left for a scrape.
pub(super) const MAX_EVENT_CLIENTS: usize = 64;
/// Maximum number of event clients on the Unix socket.
pub(super) const MAX_SOCKET_EVENT_CLIENTS: usize = 32;
/// Maximum number of events written to a client at once, which bounds its memory.
pub(super) const EVENTS_AT_ONCE: usize = 64;
/// Interval between comments in an idle event stream, so that clients detect a dead connection.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// The pause after a failed `accept` (no descriptors left).
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// How much longer than the timeout a request for a fresh judgement waits: for the confirmation of a hang and the next
/// snapshot.
pub(crate) const FRESH_ALLOWANCE: Duration = Duration::from_secs(2);
/// How long the response to a request for fresh probes waits for hung mounts. A mount that was repaired answers the next
/// probe in milliseconds, also on a busy machine within this time; one that is hung delays the response by it.
pub(super) const REPAIR_ALLOWANCE: Duration = Duration::from_millis(500);
/// An event loop that does not respond to a wake-up for this long is stuck.
pub(super) const LIVENESS_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval between reads of the loop's counter during the check.
pub(super) const LIVENESS_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// A result of the liveness check is reused for this long, so that frequent requests do not keep the loop busy.
pub(super) const LIVENESS_REUSE: Duration = Duration::from_millis(250);
/// Binding the Unix socket may take this long: a file system that takes longer is dead.
pub(super) const BIND_TIMEOUT: Duration = Duration::from_secs(5);
/// Removing the Unix socket may take this long: part of the second that a stop may take.
pub(super) const REMOVE_TIMEOUT: Duration = Duration::from_millis(400);
/// A stop waits this long for the thread, which closes the listeners and then removes its socket.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum number of columns of a requested table.
pub(super) const MAX_WIDTH: usize = 10_000;
