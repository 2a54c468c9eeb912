//! The messages between the daemon and the reader of signs.

use crate::children::codec::{
    Decoder, Malformed, PacketQueue, decode_messages, encode_bytes, encode_duration, encode_u32,
};
use platform::DeviceNumber;
use platform::signs::Sign;
use std::time::Duration;

/// More than any message takes: an address has at most 64 bytes.
const MAX_MESSAGE: usize = 256;

/// From the daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// Watch NFS servers or not, and the FUSE file systems that follow. Must be answered with [`Reply::Alive`].
    Watch { interval: Duration, servers: bool },
    /// Watch this FUSE file system too.
    Fuse(DeviceNumber),
    /// Must be answered with [`Reply::Alive`].
    Ping,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    Alive,
    Found(Sign),
}

pub(super) fn encode_request(packets: &mut PacketQueue, request: &Request) {
    let packet = packets.packet_with_room(MAX_MESSAGE);
    match request {
        Request::Watch { interval, servers } => {
            packet.extend([0, u8::from(*servers)]);
            encode_duration(packet, *interval);
        }
        Request::Fuse(device) => {
            packet.push(1);
            encode_device(packet, *device);
        }
        Request::Ping => packet.push(2),
    }
}

pub(super) fn decode_requests(packet: &[u8]) -> Result<Vec<Request>, Malformed> {
    let decode = |decoder: &mut Decoder<'_>| match decoder.u8()? {
        0 => Ok(Request::Watch { servers: decoder.choice(&[false, true])?, interval: decoder.duration()? }),
        1 => decode_device(decoder).map(Request::Fuse),
        2 => Ok(Request::Ping),
        _ => Err(Malformed),
    };
    decode_messages(packet, decode).collect()
}

/// A sign with a longer address is dropped; the kernel writes none.
pub(super) fn encode_reply(packets: &mut PacketQueue, reply: &Reply) {
    let packet = packets.packet_with_room(MAX_MESSAGE);
    match reply {
        Reply::Alive => packet.push(0),
        Reply::Found(Sign::Fuse(device)) => {
            packet.push(1);
            encode_device(packet, *device);
        }
        Reply::Found(Sign::Server(address)) if address.len() <= MAX_MESSAGE / 2 => {
            packet.push(2);
            encode_bytes(packet, address);
        }
        Reply::Found(Sign::Server(_)) => {}
    }
}

pub(super) fn decode_replies(packet: &[u8]) -> Result<Vec<Reply>, Malformed> {
    let decode = |decoder: &mut Decoder<'_>| match decoder.u8()? {
        0 => Ok(Reply::Alive),
        1 => decode_device(decoder).map(|device| Reply::Found(Sign::Fuse(device))),
        2 => decoder.bytes().map(|address| Reply::Found(Sign::Server(address.to_vec()))),
        _ => Err(Malformed),
    };
    decode_messages(packet, decode).collect()
}

fn encode_device(packet: &mut Vec<u8>, device: DeviceNumber) {
    encode_u32(packet, device.major);
    encode_u32(packet, device.minor);
}

fn decode_device(decoder: &mut Decoder<'_>) -> Result<DeviceNumber, Malformed> {
    Ok(DeviceNumber { major: decoder.u32()?, minor: decoder.u32()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceNumber = DeviceNumber { major: 3, minor: 70_000 };

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let interval = Duration::from_millis(2500);
        let requests = [Request::Watch { interval, servers: true }, Request::Fuse(DEVICE), Request::Ping];
        let mut packets = PacketQueue::default();
        requests.iter().for_each(|request| encode_request(&mut packets, request));
        assert_eq!(decode_requests(packets.first().unwrap()), Ok(requests.to_vec()));

        let server = |length| Reply::Found(Sign::Server(vec![b'f'; length]));
        let replies = [Reply::Alive, Reply::Found(Sign::Fuse(DEVICE)), server(39)];
        let mut packets = PacketQueue::default();
        replies.iter().chain([&server(1000)]).for_each(|reply| encode_reply(&mut packets, reply));
        assert_eq!(decode_replies(packets.first().unwrap()), Ok(replies.to_vec()));
        for packet in [&[3][..], &[1, 0], &[2, 9, 0, 0, 0, 1]] {
            assert_eq!(decode_replies(packet), Err(Malformed));
        }
        assert!(decode_requests(&[0, 2]).is_err() && decode_requests(&[9]).is_err());
    }
}
