//! What is to happen when, in one ordered set. Setting a timer again moves it.

use super::Time;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::hash::Hash;

#[derive(Debug)]
pub(super) struct Timers<K> {
    order: BTreeSet<(Time, K)>,
    due: FxHashMap<K, Time>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    pub(super) fn new() -> Timers<K> {
        Timers { order: BTreeSet::new(), due: FxHashMap::default() }
    }

    pub(super) fn set(&mut self, key: K, at: Time) {
        if let Some(before) = self.due.insert(key, at) {
            self.order.remove(&(before, key));
        }
        self.order.insert((at, key));
    }

    /// Sets a timer that is not set yet.
    pub(super) fn set_if_none(&mut self, key: K, at: Time) {
        if !self.due.contains_key(&key) {
            self.set(key, at);
        }
    }

    /// Sets a timer that is not set yet, or moves it towards now, never away.
    pub(super) fn set_if_later(&mut self, key: K, at: Time) {
        if self.due.get(&key).is_none_or(|&due| due > at) {
            self.set(key, at);
        }
    }

    pub(super) fn cancel(&mut self, key: K) {
        if let Some(at) = self.due.remove(&key) {
            self.order.remove(&(at, key));
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.order.first().map(|&(at, _)| at)
    }

    /// Takes the earliest timer that is due.
    pub(super) fn pop(&mut self, now: Time) -> Option<K> {
        let &(at, key) = self.order.first()?;
        (at <= now).then(|| {
            self.order.pop_first();
            self.due.remove(&key);
            key
        })
    }
}
