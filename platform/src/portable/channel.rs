//! Packets over a stream, each preceded by its length: macOS has no `SOCK_SEQPACKET`, and FreeBSD 15 separates packets
//! differently from FreeBSD 14.

use crate::process::{MAX_PACKET, wait_ready};
use nix::poll::PollFlags;
use nix::sys::socket::SockType;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The type of the sockets below a [`Channel`].
pub(crate) const SOCKET_TYPE: SockType = SockType::Stream;
/// Size of the length before each packet.
const HEADER: usize = size_of::<u32>();

/// One end of a connection that carries packets. It never blocks.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    /// The rest of a packet that was sent in part.
    unsent: Vec<u8>,
    /// The received part of the next packet.
    incoming: Vec<u8>,
}

impl Channel {
    fn new(stream: UnixStream) -> io::Result<Channel> {
        stream.set_nonblocking(true)?;
        Ok(Channel { stream, unsent: Vec::new(), incoming: Vec::new() })
    }

    /// Two ends; the second is for a child.
    pub(crate) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Channel::new(ours)?, theirs.into()))
    }

    /// The other end of a [`Channel::pair`], for tests that are the child.
    #[cfg(test)]
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> io::Result<Channel> {
        Channel::new(descriptor.into())
    }

    /// The child's end.
    pub(crate) fn from_stdin() -> io::Result<Channel> {
        // SAFETY: the daemon passed its socket as descriptor 0. The reader and the sender of this process own it
        // together; neither closes it before the process ends.
        Channel::new(unsafe { UnixStream::from_raw_fd(libc::STDIN_FILENO) })
    }

    /// Accepts one packet, or fails with `WouldBlock` and accepts nothing of it. [`Channel::flush`] must send the rest of
    /// an accepted packet.
    ///
    /// # Errors
    /// Those of `write(2)`; `BrokenPipe` when the other end is closed.
    pub fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        debug_assert!(!packet.is_empty() && packet.len() <= MAX_PACKET);
        self.flush()?;
        let header = u32::try_from(packet.len()).map_err(|_| ErrorKind::InvalidInput)?.to_le_bytes();
        let sent = match self.stream.write_vectored(&[io::IoSlice::new(&header), io::IoSlice::new(packet)]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        self.unsent.extend_from_slice(&header[sent.min(HEADER)..]);
        self.unsent.extend_from_slice(&packet[sent.saturating_sub(HEADER)..]);
        Ok(())
    }

    /// Sends the rest of an accepted packet; fails with `WouldBlock` while there is no room for it.
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

    /// Receives one packet and returns its length; 0 when the other end is closed. `buffer` holds [`MAX_PACKET`].
    ///
    /// # Errors
    /// Those of `read(2)`, `WouldBlock` while no packet is complete among them; `InvalidData` for an invalid length.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let wanted = match self.incoming.first_chunk::<HEADER>() {
                None => HEADER,
                Some(&header) => match u32::from_le_bytes(header) as usize {
                    length if (1..=MAX_PACKET).contains(&length) => HEADER + length,
                    _ => return Err(ErrorKind::InvalidData.into()),
                },
            };
            let received = self.incoming.len();
            if received == wanted && wanted > HEADER {
                let length = wanted - HEADER;
                let packet = buffer.get_mut(..length).ok_or(ErrorKind::InvalidData)?;
                packet.copy_from_slice(&self.incoming[HEADER..]);
                self.incoming.clear();
                return Ok(length);
            }
            // Never beyond this packet: the next one stays in the socket, so that poll(2) still reports it.
            self.incoming.resize(wanted, 0);
            let read = self.stream.read(&mut self.incoming[received..]);
            self.incoming.truncate(received + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(0),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(0),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until there is something to receive or the other end is closed (true), or until the timeout (false).
    ///
    /// # Errors
    /// Those of `poll(2)`.
    pub fn wait_readable(&self, timeout: Option<Duration>) -> io::Result<bool> {
        wait_ready(self.as_fd(), PollFlags::POLLIN, timeout)
    }

    /// Sends one packet, however long that takes.
    pub(super) fn send_blocking(&mut self, packet: &[u8]) -> io::Result<()> {
        self.retry_blocking(|channel| channel.send(packet))?;
        self.retry_blocking(Channel::flush)
    }

    fn retry_blocking(&mut self, attempt: impl Fn(&mut Channel) -> io::Result<()>) -> io::Result<()> {
        loop {
            match attempt(self) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait_ready(self.as_fd(), PollFlags::POLLOUT, None)?;
                }
                result => return result,
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        (ours, Channel::new(UnixStream::from(theirs)).unwrap())
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
    fn full_stream_neither_loses_nor_repeats_packets() {
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
                assert_eq!(kind(a.send(b"x")), ErrorKind::WouldBlock, "not accepted, not even in part");
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
    fn packet_is_received_only_when_complete() {
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
    fn closed_end_and_invalid_length_are_reported() {
        let mut buffer = vec![0; MAX_PACKET];
        let (mut a, mut b) = pair();
        a.stream.write_all(&[9, 0, 0, 0, 1, 2]).unwrap();
        drop(a);
        assert_eq!(b.receive(&mut buffer).unwrap(), 0, "half a packet is not received");
        assert_eq!(kind(b.send(b"x")), ErrorKind::BrokenPipe);
        for header in [0u32, MAX_PACKET as u32 + 1, u32::MAX] {
            let (mut a, mut b) = pair();
            a.stream.write_all(&header.to_le_bytes()).unwrap();
            assert_eq!(kind(b.receive(&mut buffer)), ErrorKind::InvalidData, "{header}");
            a.flush().unwrap();
        }
    }

    #[test]
    fn blocking_send_waits_for_room() {
        let (mut a, mut b) = pair();
        let sender = std::thread::spawn(move || {
            for n in 0..50u8 {
                a.send_blocking(&[n; MAX_PACKET]).unwrap();
            }
        });
        let mut buffer = vec![0; MAX_PACKET];
        for n in 0..50u8 {
            let length = loop {
                match b.receive(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        assert!(
                            b.wait_readable(Some(Duration::from_secs(20))).unwrap(),
                            "nothing to receive"
                        );
                    }
                    other => break other.unwrap(),
                }
            };
            assert!(length == MAX_PACKET && buffer.iter().all(|&byte| byte == n));
        }
        sender.join().unwrap();
        // A process that another test is starting has the other end for a moment.
        assert!(b.wait_readable(Some(Duration::from_secs(20))).unwrap(), "no end");
        assert_eq!(b.receive(&mut buffer).unwrap(), 0);
    }
}
