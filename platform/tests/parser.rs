//! Properties of the mountinfo parser and of the table, with random input.

#![cfg(target_os = "linux")]

use platform::{DeviceNumber, Mount, MountKey, MountTable, mountinfo};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

/// Mostly the bytes with a meaning in the format.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        3 => prop::sample::select(b" \t\n\\#-:,/0147".to_vec()),
        2 => b'a'..=b'z',
        1 => 1..=255u8,
    ]
}

fn name(sizes: std::ops::Range<usize>) -> impl Strategy<Value = OsString> {
    vec(byte(), sizes).prop_map(OsString::from_vec)
}

fn mount() -> impl Strategy<Value = Mount> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    let names = (name(1..20), name(1..40), name(1..10), name(0..20));
    let options = ("r[wo](,[a-z=0-9]{1,8}){0,4}", "r[wo](,[a-ln-z\\\\=0-9 ]{1,8}){0,4}");
    (numbers, names, options).prop_map(|(numbers, names, options)| Mount {
        key: MountKey(u64::from(numbers.0)),
        id: numbers.0,
        parent: numbers.1,
        device_number: DeviceNumber { major: numbers.2, minor: numbers.3 },
        root: names.0.into(),
        mountpoint: names.1.into(),
        fstype: names.2.into(),
        device: names.3.into(),
        options: options.0.into(),
        super_options: options.1.into(),
        connection_owner: None,
        shortened: platform::ShortenedNames::default(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_do_not_panic(text in vec(any::<u8>(), 0..600)) {
        let _ = mountinfo::parse(&text);
    }

    #[test]
    fn damaged_mountinfo_does_not_panic(
        mounts in vec(mount(), 1..4),
        changes in vec((any::<prop::sample::Index>(), byte()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut text = Vec::new();
        mounts.iter().for_each(|mount| mountinfo::write_line(mount, &mut text));
        for (index, byte) in changes {
            let index = index.index(text.len());
            text[index] = byte;
        }
        text.truncate(cut.index(text.len() + 1));
        let _ = mountinfo::parse(&text);
    }

    #[test]
    fn written_lines_are_parsed(mounts in vec(mount(), 0..8), last_newline: bool) {
        let mut text = Vec::new();
        mounts.iter().for_each(|mount| mountinfo::write_line(mount, &mut text));
        if !last_newline {
            text.pop();
        }
        prop_assert_eq!(mountinfo::parse(&text).unwrap(), mounts);
    }

    #[test]
    fn table_is_ordered_and_keeps_the_last_entry_of_each_key(
        one in mount(),
        ids in vec(0..20u32, 0..40),
    ) {
        let entry = |(at, &id): (usize, &u32)| {
            let number = u32::try_from(at).unwrap();
            Arc::new(Mount { key: MountKey(id.into()), id, parent: number, ..one.clone() })
        };
        let table = MountTable::new(ids.iter().enumerate().map(entry).collect());
        prop_assert!(table.iter().is_sorted_by(|a, b| a.key < b.key));
        for id in 0..20 {
            let last = ids.iter().rposition(|other| *other == id).map(|at| u32::try_from(at).unwrap());
            prop_assert_eq!(table.get(MountKey(id.into())).map(|entry| entry.parent), last);
        }
    }
}
