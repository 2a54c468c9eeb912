//! Encodes messages between the daemon and its children in packets: little-endian binary fields, many messages per
//! packet. Both ends are the same program, so there is no version. Decoding never panics; a malformed packet ends the
//! connection.

use platform::process::MAX_PACKET;
use std::collections::VecDeque;
use std::time::Duration;

/// A packet that the other end of this version does not send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// Packets to be sent; the last one may still grow.
#[derive(Default)]
pub(super) struct PacketQueue(VecDeque<Vec<u8>>);

impl PacketQueue {
    /// The last packet if it has room for `size` more bytes, else a new one.
    pub(super) fn packet_with_room(&mut self, size: usize) -> &mut Vec<u8> {
        if self.0.back().is_none_or(|last| last.len() + size > MAX_PACKET) {
            self.0.push_back(Vec::new());
        }
        self.0.back_mut().expect("a packet was pushed if there was none")
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

pub(super) fn encode_u32(packet: &mut Vec<u8>, value: u32) {
    packet.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn encode_u64(packet: &mut Vec<u8>, value: u64) {
    packet.extend_from_slice(&value.to_le_bytes());
}

/// In nanoseconds, which is enough for 584 years.
pub(super) fn encode_duration(packet: &mut Vec<u8>, value: Duration) {
    encode_u64(packet, u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
}

/// The length (32 bits), then the bytes.
pub(super) fn encode_bytes(packet: &mut Vec<u8>, bytes: &[u8]) {
    encode_u32(packet, u32::try_from(bytes.len()).expect("no packet is that long"));
    packet.extend_from_slice(bytes);
}

/// Encodes a value as its index in a fixed list.
pub(super) fn encode_choice<T: PartialEq>(packet: &mut Vec<u8>, choices: &[T], value: &T) {
    let index = choices.iter().position(|choice| choice == value);
    packet.push(index.map_or(u8::MAX, |index| index as u8));
}

/// The messages of a packet, up to the first that is malformed.
pub(super) fn decode_messages<T>(
    packet: &[u8],
    decode: impl Fn(&mut Decoder<'_>) -> Result<T, Malformed>,
) -> impl Iterator<Item = Result<T, Malformed>> {
    let mut decoder = Decoder(packet);
    std::iter::from_fn(move || {
        if decoder.0.is_empty() {
            return None;
        }
        let message = decode(&mut decoder);
        if message.is_err() {
            decoder.0 = &[];
        }
        Some(message)
    })
}

/// The rest of a packet, from which fields are taken.
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// The number of bytes that were not decoded yet.
    pub(super) fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn duration(&mut self) -> Result<Duration, Malformed> {
        self.u64().map(Duration::from_nanos)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn choice<T: Copy>(&mut self, choices: &[T]) -> Result<T, Malformed> {
        choices.get(usize::from(self.u8()?)).copied().ok_or(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_fill_packets_up_to_the_limit() {
        let mut queue = PacketQueue::default();
        for _ in 0..5 {
            queue.packet_with_room(MAX_PACKET / 2).extend(vec![1; MAX_PACKET / 2]);
        }
        assert_eq!(
            queue.0.iter().map(Vec::len).collect::<Vec<_>>(),
            [MAX_PACKET, MAX_PACKET, MAX_PACKET / 2]
        );
    }

    #[test]
    fn length_beyond_the_packet_is_malformed() {
        let mut packet = Vec::new();
        encode_bytes(&mut packet, b"ab");
        packet.pop();
        let decoded: Vec<_> =
            decode_messages(&packet, |decoder| decoder.bytes().map(<[u8]>::to_vec)).collect();
        assert_eq!(decoded, [Err(Malformed)]);
    }
}
