//! An ordered set of deadlines. Setting a timer again moves it.

use super::Time;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::hash::Hash;

pub(super) struct Timers<K> {
    order: BTreeSet<(Time, K)>,
    deadlines: FxHashMap<K, Time>,
}

impl<K> Default for Timers<K> {
    fn default() -> Timers<K> {
        Timers { order: BTreeSet::new(), deadlines: FxHashMap::default() }
    }
}

impl<K: Copy + Ord + Hash> Timers<K> {
    pub(super) fn set(&mut self, key: K, at: Time) {
        if let Some(before) = self.deadlines.insert(key, at) {
            self.order.remove(&(before, key));
        }
        self.order.insert((at, key));
    }

    pub(super) fn set_at_latest(&mut self, key: K, at: Time) {
        if self.deadlines.get(&key).is_none_or(|&deadline| deadline > at) {
            self.set(key, at);
        }
    }

    pub(super) fn set_if_none(&mut self, key: K, at: Time) {
        if !self.is_set(key) {
            self.set(key, at);
        }
    }

    /// Moves what is due before `at` to then.
    pub(super) fn postpone(&mut self, at: Time) {
        while let Some(key) = self.order.first().filter(|(due, _)| *due < at).map(|&(_, key)| key) {
            self.set(key, at);
        }
    }

    pub(super) fn deadline(&self, key: K) -> Option<Time> {
        self.deadlines.get(&key).copied()
    }

    pub(super) fn is_set(&self, key: K) -> bool {
        self.deadlines.contains_key(&key)
    }

    pub(super) fn cancel(&mut self, key: K) {
        if let Some(at) = self.deadlines.remove(&key) {
            self.order.remove(&(at, key));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.order.first().map(|&(at, _)| at)
    }

    pub(super) fn pop_due(&mut self, now: Time) -> Option<K> {
        let &(at, key) = self.order.first()?;
        (at <= now).then(|| {
            self.order.pop_first();
            self.deadlines.remove(&key);
            key
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn due_timers_are_taken_in_order_and_once() {
        let at = |seconds| Time::after_start(Duration::from_secs(seconds));
        let mut timers = Timers::default();
        for (key, seconds) in [('a', 3), ('b', 1), ('c', 2), ('a', 4), ('d', 9)] {
            timers.set(key, at(seconds));
        }
        timers.cancel('c');
        timers.set_at_latest('d', at(8));
        timers.set_at_latest('d', at(9));
        assert_eq!(timers.next_deadline(), Some(at(1)));
        let due: Vec<char> = std::iter::from_fn(|| timers.pop_due(at(5))).collect();
        assert_eq!((due, timers.next_deadline()), (vec!['b', 'a'], Some(at(8))));
        assert!(timers.is_set('d') && !timers.is_set('a'));
        timers.set('e', at(10));
        timers.postpone(at(9));
        assert_eq!(
            (timers.pop_due(at(8)), timers.pop_due(at(9)), timers.pop_due(at(9))),
            (None, Some('d'), None)
        );
    }
}
