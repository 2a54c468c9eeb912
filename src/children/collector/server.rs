//! Asking a server for a sign of life: a connection, and for NFS a call of the procedure that does nothing (NULL,
//! RFC 5531), which every server answers to everybody.

use platform::Errno;
use platform::evidence::{ServerResponse, Service};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const NFS_PROGRAM: u32 = 100_003;
/// Tells our answer from any other.
const XID: u32 = 0x6d73_6d31;
/// A server that has taken a connection is given at least this long to speak.
const LEAST_TIME_TO_SPEAK: Duration = Duration::from_millis(200);
/// The longest answer to NULL that makes sense: a refusal with versions, and a verifier of up to 400 bytes.
const MAX_ANSWER: u32 = 512;
/// Times that a datagram is sent, for one may be lost.
const DATAGRAMS: u32 = 3;

/// Asks, and waits at most for `patience` and a little.
pub(super) fn ask(service: Service, address: SocketAddr, is_udp: bool, patience: Duration) -> ServerResponse {
    let begun = Instant::now();
    if let (true, Service::Nfs(version)) = (is_udp, service) {
        return ask_by_datagram(address, version, patience);
    }
    let mut stream = match TcpStream::connect_timeout(&address, patience) {
        Ok(stream) => stream,
        Err(error) => return refusal(&error, begun.elapsed()),
    };
    let Service::Nfs(version) = service else { return ServerResponse::Connects };
    let left = patience.saturating_sub(begun.elapsed()).max(LEAST_TIME_TO_SPEAK);
    match call(&mut stream, version, left) {
        Ok(()) => ServerResponse::Replies,
        Err(_) => ServerResponse::NoReply(begun.elapsed()),
    }
}

fn refusal(error: &io::Error, waited: Duration) -> ServerResponse {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => ServerResponse::NoConnection(waited),
        ErrorKind::ConnectionRefused => ServerResponse::Refused,
        _ => ServerResponse::Unreachable(Errno::from_io(error)),
    }
}

/// A call over a stream is preceded by its length, with a mark for the last fragment.
fn call(stream: &mut TcpStream, version: u32, limit: Duration) -> io::Result<()> {
    let end = Instant::now() + limit;
    let call = null_call(version);
    let mark = 0x8000_0000 | u32::try_from(call.len()).expect("it is short");
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(&[&mark.to_be_bytes()[..], &call].concat())?;
    let mut header = [0; 4];
    read_until(stream, &mut header, end)?;
    let length = u32::from_be_bytes(header) & 0x7fff_ffff;
    if !(8..=MAX_ANSWER).contains(&length) {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length as usize];
    read_until(stream, &mut answer, end)?;
    if is_answer(&answer) { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

/// A server that sends a byte now and then must not keep us.
fn read_until(stream: &mut TcpStream, mut buffer: &mut [u8], end: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
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

fn ask_by_datagram(address: SocketAddr, version: u32, patience: Duration) -> ServerResponse {
    let begun = Instant::now();
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let each = (patience / DATAGRAMS).max(Duration::from_millis(1));
    let attempt = || -> io::Result<bool> {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(each))?;
        let mut answer = [0; MAX_ANSWER as usize];
        for _ in 0..DATAGRAMS {
            socket.send(&null_call(version))?;
            match socket.recv(&mut answer) {
                Ok(length) if is_answer(&answer[..length]) => return Ok(true),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    };
    match attempt() {
        Ok(true) => ServerResponse::Replies,
        Ok(false) => ServerResponse::NoReply(begun.elapsed()),
        Err(error) => refusal(&error, begun.elapsed()),
    }
}

/// XID, CALL, RPC version 2, program, version, procedure 0, no credentials, no verifier.
fn null_call(version: u32) -> Vec<u8> {
    [XID, 0, 2, NFS_PROGRAM, version, 0, 0, 0, 0, 0].into_iter().flat_map(u32::to_be_bytes).collect()
}

/// Any reply to our call is a sign of life, a refusal too.
fn is_answer(bytes: &[u8]) -> bool {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    word(0) == Some(XID) && word(4) == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    const PATIENCE: Duration = Duration::from_millis(300);
    const NFS: Service = Service::Nfs(4);

    fn serve(answer: impl FnOnce(TcpStream, Vec<u8>) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = vec![0; 44];
            stream.read_exact(&mut call).unwrap();
            answer(stream, call);
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
    fn a_server_that_answers() {
        let address = serve(|mut stream, call| {
            assert_eq!(call[..4], [0x80, 0, 0, 40]);
            assert_eq!(call[16..24], [0, 1, 0x86, 0xa3, 0, 0, 0, 4], "program and version");
            stream.write_all(&reply(&call[4..8])).unwrap();
        });
        assert_eq!(ask(NFS, address, false, Duration::from_secs(10)), ServerResponse::Replies);
    }

    #[test]
    fn servers_that_say_nothing_or_nonsense() {
        for answer in [
            &b""[..],
            b"HTTP/1.0 400 Bad Request\r\n\r\n",
            b"\x80\x00\x00\x18 wrong xid and some more bytes",
            b"\x80\x00",
        ] {
            let address = serve(move |mut stream, _| {
                stream.write_all(answer).unwrap();
                let _ = stream.read(&mut [0; 1]); // until the other end is closed
            });
            let said = ask(NFS, address, false, PATIENCE);
            assert!(matches!(said, ServerResponse::NoReply(_)), "{answer:?}: {said:?}");
        }
    }

    #[test]
    fn a_server_that_drips_costs_no_more_than_the_patience() {
        let address = serve(|mut stream, _| {
            let (_keep, never) = std::sync::mpsc::channel::<()>();
            for byte in reply(&XID.to_be_bytes()) {
                let _ = never.recv_timeout(Duration::from_millis(100));
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
            }
        });
        let begun = Instant::now();
        assert!(matches!(ask(NFS, address, false, PATIENCE), ServerResponse::NoReply(_)));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[test]
    fn nobody_listens_or_nobody_accepts() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        assert_eq!(ask(Service::Smb, address, false, PATIENCE), ServerResponse::Connects);
        drop(free);
        assert_eq!(ask(NFS, address, false, PATIENCE), ServerResponse::Refused);
    }

    #[test]
    fn over_datagrams() {
        let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
        let said = ask(NFS, mute.local_addr().unwrap(), true, PATIENCE);
        assert!(matches!(said, ServerResponse::NoReply(_)), "{said:?}");
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let served = thread::spawn(move || {
            let mut call = [0; 64];
            let (_, from) = server.recv_from(&mut call).unwrap();
            server.send_to(&reply(&call[..4])[4..], from).unwrap();
            server
        });
        assert_eq!(ask(NFS, address, true, Duration::from_secs(10)), ServerResponse::Replies);
        drop(served.join().unwrap());
        assert_eq!(ask(NFS, address, true, PATIENCE), ServerResponse::Refused);
    }
}
