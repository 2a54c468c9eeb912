//! Checks whether a server replies: a connection, and for NFS a call of the NULL procedure (RFC 5531), which every
//! server answers without authentication.

use super::endpoint::ServerEndpoint;
use platform::Errno;
use platform::evidence::{ServerResponse, Service};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const NFS_PROGRAM: u32 = 100_003;
/// Distinguishes the reply to our call from any other.
const XID: u32 = 0x6d73_6d31;
/// A server that has accepted a connection gets at least this long to reply.
const MIN_REPLY_TIMEOUT: Duration = Duration::from_millis(200);
/// The longest useful reply to NULL: a rejection with versions, and a verifier of up to 400 bytes.
const MAX_REPLY: u32 = 512;
/// How many times a datagram is sent, because one may be lost.
const DATAGRAMS: u32 = 3;

/// Contacts the server, and waits at most slightly longer than `timeout`.
pub(super) fn check_server(endpoint: ServerEndpoint, timeout: Duration) -> ServerResponse {
    let ServerEndpoint { service, address, is_udp } = endpoint;
    let started = Instant::now();
    if let (true, Service::Nfs(version)) = (is_udp, service) {
        return check_by_datagram(address, version, timeout);
    }
    let mut stream = match TcpStream::connect_timeout(&address, timeout) {
        Ok(stream) => stream,
        Err(error) => return connect_failure(&error, started.elapsed()),
    };
    let Service::Nfs(version) = service else { return ServerResponse::Connects };
    let left = timeout.saturating_sub(started.elapsed()).max(MIN_REPLY_TIMEOUT);
    match call(&mut stream, version, left) {
        Ok(()) => ServerResponse::Replies,
        Err(_) => ServerResponse::NoReply(started.elapsed()),
    }
}

fn connect_failure(error: &io::Error, waited: Duration) -> ServerResponse {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => ServerResponse::NoConnection(waited),
        ErrorKind::ConnectionRefused => ServerResponse::Refused,
        _ => ServerResponse::Unreachable(Errno::from_io(error)),
    }
}

/// A call over a stream is preceded by its length, with the bit of the last fragment (RFC 5531, section 11).
fn call(stream: &mut TcpStream, version: u32, timeout: Duration) -> io::Result<()> {
    let deadline = Instant::now() + timeout;
    let call = null_call(version);
    let mark = 0x8000_0000 | u32::try_from(call.len()).expect("the call has 40 bytes");
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(&[&mark.to_be_bytes()[..], &call].concat())?;
    let mut header = [0; 4];
    read_until(stream, &mut header, deadline)?;
    let length = u32::from_be_bytes(header) & 0x7fff_ffff;
    if !(8..=MAX_REPLY).contains(&length) {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut reply = vec![0; length as usize];
    read_until(stream, &mut reply, deadline)?;
    if is_reply(&reply) { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Fills the buffer by the deadline, even if the server sends single bytes with pauses.
fn read_until(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => buffer = &mut buffer[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn check_by_datagram(address: SocketAddr, version: u32, timeout: Duration) -> ServerResponse {
    let started = Instant::now();
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let timeout = (timeout / DATAGRAMS).max(Duration::from_millis(1));
    let receives_reply = || -> io::Result<bool> {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(timeout))?;
        let mut reply = [0; MAX_REPLY as usize];
        for _ in 0..DATAGRAMS {
            socket.send(&null_call(version))?;
            match socket.recv(&mut reply) {
                Ok(length) if is_reply(&reply[..length]) => return Ok(true),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    };
    match receives_reply() {
        Ok(true) => ServerResponse::Replies,
        Ok(false) => ServerResponse::NoReply(started.elapsed()),
        Err(error) => connect_failure(&error, started.elapsed()),
    }
}

/// XID, CALL, RPC version 2, program, version, procedure 0, no credentials, no verifier.
fn null_call(version: u32) -> Vec<u8> {
    [XID, 0, 2, NFS_PROGRAM, version, 0, 0, 0, 0, 0].into_iter().flat_map(u32::to_be_bytes).collect()
}

/// Any reply to our call, even a rejection, shows that the server works.
fn is_reply(bytes: &[u8]) -> bool {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    word(0) == Some(XID) && word(4) == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    const TIMEOUT: Duration = Duration::from_millis(300);
    const NFS: Service = Service::Nfs(4);

    fn check(service: Service, address: SocketAddr, is_udp: bool, timeout: Duration) -> ServerResponse {
        check_server(ServerEndpoint { service, address, is_udp }, timeout)
    }

    fn serve(respond: impl FnOnce(TcpStream, Vec<u8>) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = vec![0; 44];
            stream.read_exact(&mut call).unwrap();
            respond(stream, call);
        });
        address
    }

    fn reply(xid: &[u8]) -> Vec<u8> {
        let rest = [1u32, 0, 0, 0, 0].into_iter().flat_map(u32::to_be_bytes);
        let body: Vec<u8> = xid.iter().copied().chain(rest).collect();
        let mark = 0x8000_0000 | u32::try_from(body.len()).unwrap();
        [&mark.to_be_bytes()[..], &body].concat()
    }

    #[test]
    fn reply_of_an_nfs_server_is_recognized() {
        let address = serve(|mut stream, call| {
            assert_eq!(call[..4], [0x80, 0, 0, 40]);
            assert_eq!(call[16..24], [0, 1, 0x86, 0xa3, 0, 0, 0, 4], "program and version");
            stream.write_all(&reply(&call[4..8])).unwrap();
        });
        assert_eq!(check(NFS, address, false, Duration::from_secs(10)), ServerResponse::Replies);
    }

    #[test]
    fn missing_or_invalid_reply_is_no_reply() {
        for reply in [
            &b""[..],
            b"HTTP/1.0 400 Bad Request\r\n\r\n",
            b"\x80\x00\x00\x18 wrong xid and some more bytes",
            b"\x80\x00",
        ] {
            let address = serve(move |mut stream, _| {
                stream.write_all(reply).unwrap();
                let _ = stream.read(&mut [0; 1]); // until the other end is closed
            });
            let response = check(NFS, address, false, TIMEOUT);
            assert!(matches!(response, ServerResponse::NoReply(_)), "{reply:?}: {response:?}");
        }
    }

    #[test]
    fn reply_in_slow_pieces_ends_with_the_timeout() {
        let address = serve(|mut stream, _| {
            let (_keep, never) = std::sync::mpsc::channel::<()>();
            for byte in reply(&XID.to_be_bytes()) {
                let _ = never.recv_timeout(Duration::from_millis(100));
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
            }
        });
        let started = Instant::now();
        assert!(matches!(check(NFS, address, false, TIMEOUT), ServerResponse::NoReply(_)));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }

    #[test]
    fn connection_is_accepted_or_refused() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        assert_eq!(check(Service::Smb, address, false, TIMEOUT), ServerResponse::Connects);
        drop(free);
        assert_eq!(check(NFS, address, false, TIMEOUT), ServerResponse::Refused);
    }

    #[test]
    fn nfs_over_udp_is_checked_by_datagrams() {
        let unresponsive = UdpSocket::bind("127.0.0.1:0").unwrap();
        let response = check(NFS, unresponsive.local_addr().unwrap(), true, TIMEOUT);
        assert!(matches!(response, ServerResponse::NoReply(_)), "{response:?}");
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let served = thread::spawn(move || {
            let mut call = [0; 64];
            let (_, from) = server.recv_from(&mut call).unwrap();
            server.send_to(&reply(&call[..4])[4..], from).unwrap();
            server
        });
        assert_eq!(check(NFS, address, true, Duration::from_secs(10)), ServerResponse::Replies);
        drop(served.join().unwrap());
        assert_eq!(check(NFS, address, true, TIMEOUT), ServerResponse::Refused);
    }
}
