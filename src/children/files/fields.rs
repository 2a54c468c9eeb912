//! Lists of byte strings, of which requests and replies consist, and their transport in packets.

use platform::process::MAX_PACKET;

/// The last packet of a list.
pub(super) const LAST: u8 = 0;
/// Another packet of the same list follows.
pub(super) const MORE: u8 = 1;
/// A watched file has changed. May come between the packets of a list.
pub(super) const CHANGED: u8 = 2;
/// Maximum size of a list: the metrics of 10,000 mounts with long paths take a quarter of it.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// The length (32 bits) of each field, then the field.
pub(super) fn pack<F: AsRef<[u8]>>(fields: impl IntoIterator<Item = F>) -> Vec<u8> {
    let mut packed = Vec::new();
    for field in fields {
        let field = field.as_ref();
        packed.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_le_bytes());
        packed.extend_from_slice(field);
    }
    packed
}

/// The fields of a list, or `None` if it is malformed.
pub(super) fn unpack(mut packed: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !packed.is_empty() {
        let (length, rest) = packed.split_first_chunk()?;
        let (field, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        fields.push(field);
        packed = rest;
    }
    Some(fields)
}

/// The packets of a list, each with a mark in front.
pub(super) fn packets(packed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let last = packed.len().div_ceil(MAX_PACKET - 1).max(1) - 1;
    (0..=last).map(move |number| {
        let start = number * (MAX_PACKET - 1);
        let end = packed.len().min(start + MAX_PACKET - 1);
        let mark = if number == last { LAST } else { MORE };
        [&[mark], &packed[start..end]].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_list_is_cut_into_packets() {
        for length in [0, 1, MAX_PACKET - 1, MAX_PACKET, 3 * MAX_PACKET] {
            let all: Vec<Vec<u8>> = packets(&vec![7; length]).collect();
            let (last, others) = all.split_last().unwrap();
            assert!(last[0] == LAST && others.iter().all(|packet| packet[0] == MORE), "{length}");
            assert!(all.iter().all(|packet| packet.len() <= MAX_PACKET), "{length}");
            assert_eq!(all.iter().map(|packet| packet.len() - 1).sum::<usize>(), length);
        }
    }

    proptest! {
        #[test]
        fn fields_are_unpacked_as_they_were_packed(fields: Vec<Vec<u8>>) {
            let packed = pack(&fields);
            prop_assert_eq!(unpack(&packed).unwrap(), fields.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes: Vec<u8>) {
            let _ = unpack(&bytes);
        }
    }
}
