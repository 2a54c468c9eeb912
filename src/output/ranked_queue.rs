//! A bounded queue that keeps what matters most. When it is full, the newest of the least important items makes room for
//! a more important one. Pure.

use crate::monitor::Event;
use crate::render::{Message, Priority};
use std::collections::VecDeque;

/// How important an item is, from the least to the most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rank {
    /// A user's mount appeared, disappeared or changed.
    OfUser,
    /// The same of the system's mounts, runs, and most lines about the daemon itself.
    OfSystem,
    /// A user's mount died, recovered, or the like.
    VitalOfUser,
    /// The same of the system's mounts, and errors of the daemon.
    VitalOfSystem,
}

const RANKS: usize = 4;
const ALL: &[Rank; RANKS] = &[Rank::OfUser, Rank::OfSystem, Rank::VitalOfUser, Rank::VitalOfSystem];
const OF_USERS: &[Rank] = &[Rank::OfUser, Rank::VitalOfUser];

impl Rank {
    pub(super) fn of_event(event: &Event) -> Rank {
        let is_users = event.mount().is_some_and(|mount| mount.user().is_foreign());
        match (event.is_vital(), is_users) {
            (false, true) => Rank::OfUser,
            (false, false) => Rank::OfSystem,
            (true, true) => Rank::VitalOfUser,
            (true, false) => Rank::VitalOfSystem,
        }
    }

    pub(super) fn of_notice(priority: Priority) -> Rank {
        if priority <= Priority::Error { Rank::VitalOfSystem } else { Rank::OfSystem }
    }

    pub(super) fn of_message(message: &Message) -> Rank {
        message.event.as_ref().map_or_else(|| Rank::of_notice(message.priority), Rank::of_event)
    }

    pub(super) const fn is_vital(self) -> bool {
        matches!(self, Rank::VitalOfUser | Rank::VitalOfSystem)
    }

    pub(super) const fn is_of_system(self) -> bool {
        matches!(self, Rank::OfSystem | Rank::VitalOfSystem)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

impl Limits {
    /// What the items about users' mounts may use: the rest is for the system.
    const fn of_users(self) -> Limits {
        Limits { items: self.items - self.items / 4, bytes: self.bytes - self.bytes / 4 }
    }
}

#[derive(Debug)]
struct Queued<T> {
    number: u64,
    cost: usize,
    item: T,
}

/// Items leave it in the order in which they came.
#[derive(Debug)]
pub(super) struct RankedQueue<T> {
    limits: Limits,
    lanes: [VecDeque<Queued<T>>; RANKS],
    bytes: [usize; RANKS],
    last_number: u64,
}

/// Where an item is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    lane: usize,
    index: usize,
}

impl<T> RankedQueue<T> {
    pub(super) fn new(limits: Limits) -> RankedQueue<T> {
        RankedQueue { limits, lanes: Default::default(), bytes: [0; RANKS], last_number: 0 }
    }

    /// Returns how many items were dropped: this one, or less important ones.
    pub(super) fn push(&mut self, rank: Rank, cost: usize, item: T) -> u64 {
        if cost > self.limits.bytes {
            return 1;
        }
        let mut dropped = 0;
        while !self.fits(rank, cost) {
            dropped += 1;
            let candidates = if self.fits_users_share(rank, cost) { &ALL[..] } else { OF_USERS };
            let lower =
                |candidate: &&Rank| **candidate < rank && !self.lanes[**candidate as usize].is_empty();
            let Some(&lowest) = candidates.iter().find(lower) else { return dropped };
            self.pop_back(lowest);
        }
        self.push_always(rank, cost, item);
        dropped
    }

    /// Does it fit without a loss?
    pub(super) fn fits(&self, rank: Rank, cost: usize) -> bool {
        self.fits_users_share(rank, cost) && self.has_room(ALL, self.limits, cost)
    }

    fn fits_users_share(&self, rank: Rank, cost: usize) -> bool {
        !OF_USERS.contains(&rank) || self.has_room(OF_USERS, self.limits.of_users(), cost)
    }

    /// For the few items that must not be lost.
    pub(super) fn push_always(&mut self, rank: Rank, cost: usize, item: T) {
        self.last_number += 1;
        self.bytes[rank as usize] += cost;
        self.lanes[rank as usize].push_back(Queued { number: self.last_number, cost, item });
    }

    fn has_room(&self, ranks: &[Rank], limits: Limits, cost: usize) -> bool {
        let items: usize = ranks.iter().map(|&rank| self.lanes[rank as usize].len()).sum();
        let bytes: usize = ranks.iter().map(|&rank| self.bytes[rank as usize]).sum();
        items < limits.items && bytes + cost <= limits.bytes
    }

    fn pop_back(&mut self, rank: Rank) {
        if let Some(queued) = self.lanes[rank as usize].pop_back() {
            self.bytes[rank as usize] -= queued.cost;
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let first = |(lane, items): (usize, &VecDeque<Queued<T>>)| Some((items.front()?.number, lane));
        let (_, lane) = self.lanes.iter().enumerate().filter_map(first).min()?;
        self.take(Place { lane, index: 0 })
    }

    /// All items, those of each rank in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.lanes.iter().flatten().map(|queued| &queued.item)
    }

    /// The first of the most important items that fulfil the condition.
    pub(super) fn find(&self, condition: impl Fn(&T) -> bool) -> Option<(Place, &T)> {
        let in_lane = |lane: usize| {
            let index = self.lanes[lane].iter().position(|queued| condition(&queued.item))?;
            Some((Place { lane, index }, &self.lanes[lane][index].item))
        };
        (0..RANKS).rev().find_map(in_lane)
    }

    /// The item that came first of those that fulfil the condition.
    pub(super) fn find_first(&self, condition: impl Fn(&T) -> bool) -> Option<Place> {
        let in_lane = |lane: usize| {
            let index = self.lanes[lane].iter().position(|queued| condition(&queued.item))?;
            Some((self.lanes[lane][index].number, Place { lane, index }))
        };
        (0..RANKS).filter_map(in_lane).min_by_key(|(number, _)| *number).map(|(_, place)| place)
    }

    pub(super) fn take(&mut self, place: Place) -> Option<T> {
        let queued = self.lanes[place.lane].remove(place.index)?;
        self.bytes[place.lane] -= queued.cost;
        if self.lanes[place.lane].is_empty() {
            self.lanes[place.lane] = VecDeque::new(); // a burst must not cost memory permanently
        }
        Some(queued.item)
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.iter().sum()
    }

    /// Drops all items. Returns their number.
    pub(super) fn clear(&mut self) -> usize {
        let before = self.len();
        *self = RankedQueue { last_number: self.last_number, ..RankedQueue::new(self.limits) };
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Rank::{OfSystem, OfUser, VitalOfSystem, VitalOfUser};

    fn queue() -> RankedQueue<u32> {
        RankedQueue::new(Limits { items: 8, bytes: 800 })
    }

    fn drain(queue: &mut RankedQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn full_queue_drops_the_newest_of_the_least_important() {
        let mut queue = queue();
        let dropped: Vec<u64> = (0..10).map(|n| queue.push(OfSystem, 1, n)).collect();
        assert_eq!(dropped.iter().sum::<u64>(), 2);
        assert_eq!(queue.push(OfUser, 1, 100), 1, "less important");
        assert_eq!([queue.push(VitalOfUser, 1, 101), queue.push(VitalOfSystem, 1, 102)], [1, 1]);
        assert_eq!(drain(&mut queue), [0, 1, 2, 3, 4, 5, 101, 102]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn deaths_of_the_system_outlive_everything_else() {
        let mut queue = queue();
        for n in 0..20 {
            for (rank, item) in [(OfUser, n), (OfSystem, 100 + n), (VitalOfUser, 200 + n)] {
                queue.push(rank, 1, item);
            }
        }
        let dropped: u64 = (0..10).map(|n| queue.push(VitalOfSystem, 1, 300 + n)).sum();
        assert_eq!(dropped, 10, "eight others, and the last two");
        assert_eq!(drain(&mut queue), (300..308).collect::<Vec<_>>());
    }

    #[test]
    fn users_never_use_the_share_of_the_system() {
        let mut queue = queue();
        for n in 0..20 {
            queue.push(if n % 2 == 0 { OfUser } else { VitalOfUser }, 1, n);
        }
        assert_eq!(queue.len(), 6);
        assert_eq!(queue.push(OfSystem, 1, 50) + queue.push(OfSystem, 1, 51), 0);
        assert_eq!(queue.push(VitalOfUser, 1, 52), 1);
        assert!(drain(&mut queue).ends_with(&[50, 51]));
    }

    #[test]
    fn bytes_are_limited_too() {
        let mut queue = queue();
        assert_eq!([queue.push(OfSystem, 500, 1), queue.push(OfSystem, 200, 2)], [0, 0]);
        assert_eq!(queue.push(VitalOfSystem, 700, 3), 2, "both make room");
        assert_eq!(queue.push(VitalOfUser, 200, 4), 1);
        assert_eq!(queue.push(VitalOfSystem, 10_000, 5), 1, "never fits");
        assert_eq!((drain(&mut queue), queue.bytes()), (vec![3], 0));
    }

    #[test]
    fn items_can_be_taken_by_rank_or_by_age() {
        let mut queue = queue();
        for (rank, item) in [(OfUser, 10), (VitalOfSystem, 21), (OfSystem, 31), (VitalOfSystem, 22)] {
            queue.push(rank, 1, item);
        }
        assert_eq!(queue.find(|item| item % 10 != 1).map(|(_, item)| *item), Some(22));
        let place = queue.find_first(|item| item % 10 == 1).unwrap();
        assert_eq!(queue.take(place), Some(21));
        assert_eq!(queue.find_first(|_| false), None);
        assert_eq!(queue.clear(), 3);
    }
}
