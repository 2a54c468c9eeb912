//! Decisions of the pool without a prober; no process is started.

use super::*;
use mio::Poll;
use platform::{FsKind, MountKey};

const USER: User = User::Foreign(u32::MAX - 1);

/// A pool that may not start a prober yet, because one has just failed.
fn pool() -> Pool {
    let registry = Poll::new().unwrap().registry().try_clone().unwrap();
    let mut pool = Pool::new(registry, 100, None).unwrap();
    for user in [User::System, USER] {
        for _ in 0..6 {
            pool.classes.entry(user).or_default().backoff.next(at(0)); // 3.2 s
        }
    }
    pool
}

fn at(ms: u64) -> Time {
    Time::after_start(Duration::from_millis(ms))
}

fn target(path: &str, user: User) -> Target {
    Target { path: path.into(), kind: FsKind::Local, key: MountKey(1), id: 1, owner: None, user, data: None }
}

fn events(pool: &mut Pool) -> Vec<PoolEvent> {
    pool.drain_events().collect()
}

#[test]
fn probes_without_a_prober_are_aborted_after_a_timeout() {
    let mut pool = pool();
    assert_eq!(pool.next_deadline(), None);
    pool.start(ProbeId(1), &target("/a", User::System));
    pool.flush(at(100));
    pool.start(ProbeId(2), &target("/b", USER));
    pool.flush(at(600));
    assert_eq!(pool.next_deadline(), Some(at(1100)));
    pool.handle_deadline(at(1099));
    assert_eq!(events(&mut pool), []);
    pool.handle_deadline(at(1100));
    pool.flush(at(1100));
    assert_eq!(events(&mut pool), [PoolEvent::Aborted { probe: ProbeId(1) }]);
    assert_eq!(pool.next_deadline(), Some(at(1600)));
    pool.handle_deadline(at(1600));
    pool.flush(at(1600));
    assert_eq!(events(&mut pool), [PoolEvent::Aborted { probe: ProbeId(2) }]);
    assert_eq!((pool.next_deadline(), pool.probers()), (None, 0));
}

#[test]
fn abandoned_probe_that_was_not_sent_is_freed_at_once() {
    let mut pool = pool();
    pool.start(ProbeId(1), &target("/a", User::System));
    pool.confirm(ProbeId(1));
    pool.abandon(ProbeId(1));
    pool.abandon(ProbeId(1));
    assert_eq!(events(&mut pool), [PoolEvent::Freed { probe: ProbeId(1) }]);
    pool.flush(at(0));
    pool.handle_deadline(at(1000));
    assert_eq!(events(&mut pool), [], "each probe ends once");
}

#[test]
fn path_that_is_too_long_fails_without_a_prober() {
    let mut pool = pool();
    pool.start(ProbeId(1), &target(&"x".repeat(wire::MAX_PATH), User::System));
    let outcome = ProbeOutcome::Failed { call: Call::Identify, errno: Errno::ENAMETOOLONG };
    let response = PoolEvent::Responded { probe: ProbeId(1), outcome, took: Duration::ZERO };
    assert_eq!(events(&mut pool), [response]);
}

#[test]
fn unknown_probes_and_tokens_are_ignored() {
    let mut pool = pool();
    pool.confirm(ProbeId(1));
    pool.abandon(ProbeId(1));
    for token in [0, 99, 100, 100 + MAX_PROBERS, usize::MAX] {
        pool.handle_ready(at(0), Token(token));
    }
    pool.reap_children(at(0));
    pool.handle_deadline(at(0));
    assert_eq!(events(&mut pool), []);
}

#[test]
fn probes_beyond_the_limit_are_aborted() {
    let mut pool = pool();
    let target = target("/", User::System);
    for id in 0..MAX_PROBES as u64 {
        pool.start(ProbeId(id), &target);
    }
    assert_eq!(events(&mut pool), []);
    let over = ProbeId(MAX_PROBES as u64);
    pool.start(over, &target);
    assert_eq!(events(&mut pool), [PoolEvent::Aborted { probe: over }]);
    pool.shutdown();
    assert_eq!(pool.next_deadline(), None);
}
