//! How messages between the daemon and its children become packets: in the format of `postcard`, many messages to a
//! packet. Both ends are the same program, so there is no version. A packet that is malformed ends the connection.

use platform::process::MAX_PACKET;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;

/// A packet that the other end of this version does not send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// Packets to be sent, of which the last may still grow.
#[derive(Default)]
pub(super) struct PacketQueue(VecDeque<Vec<u8>>);

impl PacketQueue {
    /// Adds a message to the last packet, or to a new one if there is no room. A message that exceeds a packet is
    /// dropped; all are much shorter.
    pub(super) fn push(&mut self, message: &impl Serialize) {
        if self.0.is_empty() {
            self.0.push_back(Vec::new());
        }
        let packet = self.0.back_mut().expect("a packet was added if there was none");
        let length = packet.len();
        encode(packet, message);
        if packet.len() > MAX_PACKET {
            let message = packet.split_off(length);
            if length == 0 {
                self.0.pop_back();
            }
            if message.len() <= MAX_PACKET {
                self.0.push_back(message);
            }
        }
    }

    pub(super) fn first(&self) -> Option<&[u8]> {
        self.0.front().map(Vec::as_slice)
    }

    pub(super) fn remove_first(&mut self) {
        self.0.pop_front();
    }

    /// Moves all packets of `other` to the end of this queue.
    pub(super) fn append(&mut self, other: &mut PacketQueue) {
        self.0.append(&mut other.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Appends a message to a packet.
pub(super) fn encode(packet: &mut Vec<u8>, message: &impl Serialize) {
    struct Append<'a>(&'a mut Vec<u8>);
    impl Flavor for Append<'_> {
        type Output = ();
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
    postcard::serialize_with_flavor(message, Append(packet)).expect("messages are plain data");
}

/// The messages of a packet, up to the first that is malformed.
pub(super) fn decode<T: DeserializeOwned>(mut packet: &[u8]) -> impl Iterator<Item = Result<T, Malformed>> {
    std::iter::from_fn(move || {
        if packet.is_empty() {
            return None;
        }
        let message = postcard::take_from_bytes(packet);
        packet = message.as_ref().map_or(&[], |(_, rest)| rest);
        Some(message.map(|(message, _)| message).map_err(|_| Malformed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_fill_packets_up_to_the_limit() {
        let mut queue = PacketQueue::default();
        let message = "x".repeat(MAX_PACKET / 2 - 3); // and three bytes of length
        (0..5).for_each(|_| queue.push(&message));
        queue.push(&"x".repeat(MAX_PACKET));
        assert_eq!(
            queue.0.iter().map(Vec::len).collect::<Vec<_>>(),
            [MAX_PACKET, MAX_PACKET, MAX_PACKET / 2]
        );
        let decoded: Result<Vec<String>, Malformed> = decode(queue.first().unwrap()).collect();
        assert_eq!(decoded, Ok(vec![message.clone(), message]));
    }

    #[test]
    fn message_beyond_the_limit_is_dropped() {
        let mut queue = PacketQueue::default();
        queue.push(&"x".repeat(MAX_PACKET));
        assert!(queue.is_empty());
    }
}
