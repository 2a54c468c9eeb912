//! Maps keyed by ids that the kernel or this program counts up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A hash map in which ids that follow each other are neighbours in memory. A run starts and ends probes in the order of
/// their ids: scattered over the table, each would wait for memory. An attacker cannot choose the ids.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// So many low bits stay as they are: 64 neighbours.
const NEAR: u64 = 64 - 1;
/// The table compares these bits before it compares keys.
const TAG: u64 = 0x7f << 57;
/// 2^64 divided by the golden ratio: a product's upper bits depend on all bits.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        let block = (self.0 & !NEAR).wrapping_mul(FACTOR).rotate_left(32);
        (block & !NEAR & !TAG) | (self.0 & NEAR) | (self.0.wrapping_mul(FACTOR) & TAG)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = self.0.rotate_left(32) ^ u64::from(number);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn hash(id: u64) -> u64 {
        let mut hasher = IdHasher::default();
        hasher.write_u64(id);
        hasher.finish()
    }

    #[test]
    fn neighbours_are_near_and_strides_are_spread() {
        let bucket = |id| hash(id) % 8192;
        for first in [0, 64, 1 << 40] {
            let near: Vec<u64> = (first..first + 64).map(bucket).collect();
            assert!(near.windows(2).all(|pair| pair[1] == pair[0] + 1), "{near:?}");
            let tags: HashSet<u64> = (first..first + 64).map(|id| hash(id) >> 57).collect();
            assert!(tags.len() > 32, "{} tags", tags.len());
        }
        for stride in (6..40).map(|shift| 1_u64 << shift) {
            let buckets: HashSet<u64> = (0..4096).map(|n| bucket(n * stride)).collect();
            assert!(buckets.len() > 60, "{} buckets for the stride {stride}", buckets.len());
        }
    }
}
