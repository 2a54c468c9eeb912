//! Packets over a stream: macOS has no `SOCK_SEQPACKET`, and FreeBSD 15 keeps its packets apart in another way than
//! FreeBSD 14. Each packet is preceded by its length.

use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The length of a packet, before it.
const HEADER: usize = size_of::<u32>();

/// No packet is larger: each takes about a thousand questions or answers, which makes the cost of the system calls
/// disappear.
pub const MAX_PACKET: usize = 64 * 1024;

/// One end of a connection that carries packets. It never waits.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    /// The rest of a packet of which a part was sent: the other end waits for it.
    unsent: Vec<u8>,
    /// What came of the next packet.
    incoming: Vec<u8>,
}

impl Channel {
    pub(super) fn over(stream: UnixStream) -> Channel {
        Channel { stream, unsent: Vec::new(), incoming: Vec::new() }
    }

    /// Two ends; the second goes to a child.
    pub(super) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Channel::over(ours), theirs.into()))
    }

    /// Sends one packet, or fails with `WouldBlock` and takes nothing of it. A packet that was taken may still have
    /// to be sent in part: see [`Channel::flush`].
    ///
    /// # Errors
    /// Those of `write(2)`; `BrokenPipe` when the other end is gone.
    pub fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        debug_assert!(!packet.is_empty() && packet.len() <= MAX_PACKET);
        self.flush()?;
        let header = header(packet);
        let sent = match self.stream.write_vectored(&[io::IoSlice::new(&header), io::IoSlice::new(packet)]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        let (of_header, of_packet) = (sent.min(HEADER), sent.saturating_sub(HEADER));
        self.unsent.extend_from_slice(&header[of_header..]);
        self.unsent.extend_from_slice(&packet[of_packet..]);
        Ok(())
    }

    /// Sends the rest of what was taken; fails with `WouldBlock` while there is no room for it.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives one packet and returns its length; 0 when the other end is gone. `buffer` has room for
    /// [`MAX_PACKET`].
    ///
    /// # Errors
    /// Those of `read(2)`, `WouldBlock` while no packet is complete among them; `InvalidData` for a length that no
    /// packet has.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let wanted = match self.incoming.first_chunk::<HEADER>() {
                None => HEADER,
                Some(&header) => match u32::from_le_bytes(header) as usize {
                    length if (1..=MAX_PACKET).contains(&length) => HEADER + length,
                    _ => return Err(ErrorKind::InvalidData.into()),
                },
            };
            let had = self.incoming.len();
            if had == wanted && wanted > HEADER {
                let length = wanted - HEADER;
                let place = buffer.get_mut(..length).ok_or(ErrorKind::InvalidData)?;
                place.copy_from_slice(&self.incoming[HEADER..]);
                self.incoming.clear();
                return Ok(length);
            }
            // Never beyond this packet: what follows it stays in the socket, so that polling still tells of it.
            self.incoming.resize(wanted, 0);
            let read = self.stream.read(&mut self.incoming[had..]);
            self.incoming.truncate(had + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(0),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(0),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until there is something to receive (or the other end is gone): true; or until the time is over: false.
    ///
    /// # Errors
    /// Those of `poll(2)`.
    pub fn wait_readable(&self, limit: Option<Duration>) -> io::Result<bool> {
        wait(self.as_fd(), PollFlags::POLLIN, limit)
    }

    /// Sends one packet, however long that takes.
    pub(super) fn send_waiting(&mut self, packet: &[u8]) -> io::Result<()> {
        self.send(packet).or_else(|error| self.wait_for_room(error, |channel| channel.send(packet)))?;
        self.flush().or_else(|error| self.wait_for_room(error, Channel::flush))
    }

    fn wait_for_room(
        &mut self,
        mut error: io::Error,
        again: impl Fn(&mut Channel) -> io::Result<()>,
    ) -> io::Result<()> {
        while error.kind() == ErrorKind::WouldBlock {
            wait(self.as_fd(), PollFlags::POLLOUT, None)?;
            match again(self) {
                Ok(()) => return Ok(()),
                Err(next) => error = next,
            }
        }
        Err(error)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

fn header(packet: &[u8]) -> [u8; HEADER] {
    u32::try_from(packet.len()).expect("no packet is that long").to_le_bytes()
}

fn wait(fd: BorrowedFd<'_>, flags: PollFlags, limit: Option<Duration>) -> io::Result<bool> {
    let timeout = limit.map_or(PollTimeout::NONE, |limit| {
        // Rounded up: a wait that ends too early is followed by one of no time at all, again and again.
        PollTimeout::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
    });
    match nix::poll::poll(&mut [PollFd::new(fd, flags)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = UnixStream::from(theirs);
        theirs.set_nonblocking(true).unwrap();
        (ours, Channel::over(theirs))
    }

    fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn packets_arrive_whole_and_in_order() {
        let (mut a, mut b) = pair();
        let mut buffer = vec![0; MAX_PACKET];
        assert_eq!(kind(b.receive(&mut buffer)), ErrorKind::WouldBlock);
        a.send(b"one").unwrap();
        a.send(&[7; MAX_PACKET]).unwrap();
        assert_eq!(b.receive(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"one");
        assert_eq!(b.receive(&mut buffer).unwrap(), MAX_PACKET);
        assert!(buffer.iter().all(|&byte| byte == 7));
        assert_eq!(kind(b.receive(&mut buffer)), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_full_stream_loses_nothing_and_doubles_nothing() {
        let (mut a, mut b) = pair();
        let mut buffer = vec![0; MAX_PACKET];
        let packet = |n: u32| [&n.to_le_bytes()[..], &vec![n as u8; MAX_PACKET - 4]].concat();
        let (mut sent, mut received) = (0, 0);
        while received < 100 {
            while sent < 100 {
                match a.send(&packet(sent)) {
                    Ok(()) => sent += 1,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if sent < 100 {
                assert_eq!(kind(a.send(b"x")), ErrorKind::WouldBlock, "not taken, not even in part");
            }
            loop {
                match b.receive(&mut buffer) {
                    Ok(length) => {
                        assert_eq!(&buffer[..length], packet(received));
                        received += 1;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let _ = a.flush();
        }
        assert_eq!((sent, a.unsent.len(), b.incoming.len()), (100, 0, 0));
    }

    #[test]
    fn a_packet_in_pieces_is_waited_for() {
        let (mut a, mut b) = pair();
        let mut buffer = vec![0; MAX_PACKET];
        for byte in [4, 0, 0, 0, b'w', b'o', b'r'] {
            a.stream.write_all(&[byte]).unwrap();
            assert_eq!(kind(b.receive(&mut buffer)), ErrorKind::WouldBlock);
        }
        a.stream.write_all(b"d").unwrap();
        assert_eq!(b.receive(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"word");
    }

    #[test]
    fn the_end_and_nonsense_are_told() {
        let mut buffer = vec![0; MAX_PACKET];
        let (mut a, mut b) = pair();
        a.stream.write_all(&[9, 0, 0, 0, 1, 2]).unwrap();
        drop(a);
        assert_eq!(b.receive(&mut buffer).unwrap(), 0, "half a packet is none");
        assert_eq!(kind(b.send(b"x")), ErrorKind::BrokenPipe);
        for header in [0u32, MAX_PACKET as u32 + 1, u32::MAX] {
            let (mut a, mut b) = pair();
            a.stream.write_all(&header.to_le_bytes()).unwrap();
            assert_eq!(kind(b.receive(&mut buffer)), ErrorKind::InvalidData, "{header}");
            a.flush().unwrap();
        }
    }

    #[test]
    fn a_sender_that_may_wait_does() {
        let (mut a, mut b) = pair();
        let sender = std::thread::spawn(move || {
            for n in 0..50u8 {
                a.send_waiting(&[n; MAX_PACKET]).unwrap();
            }
        });
        let mut buffer = vec![0; MAX_PACKET];
        for n in 0..50u8 {
            let length = loop {
                match b.receive(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        assert!(b.wait_readable(Some(Duration::from_secs(20))).unwrap(), "nothing comes");
                    }
                    other => break other.unwrap(),
                }
            };
            assert!(length == MAX_PACKET && buffer.iter().all(|&byte| byte == n));
        }
        sender.join().unwrap();
        assert_eq!(b.receive(&mut buffer).unwrap(), 0);
    }
}
