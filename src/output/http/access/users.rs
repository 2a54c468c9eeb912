//! Users and their passwords. A check is made to cost time, so it runs on a blocking thread, one at a time, and a success
//! is remembered.

use crate::output::lock;
use base64::Engine as _;
use rustls::crypto::ring;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The highest cost: each step doubles the time, this one takes seconds, and the check of the highest possible (31) days,
/// in which no other password is checked.
const MAX_COST: u32 = 16;
const MIN_COST: u32 = 4;
/// bcrypt takes no more of a password and the zero byte at its end.
const MAX_PASSWORD: usize = 72;
const SALT_LETTERS: usize = 22;

/// A hash of bcrypt, such as `$2y$10$…`.
#[derive(Clone)]
pub(super) struct PasswordHash {
    cost: u32,
    salt: [u8; 16],
    /// bcrypt computes one more byte, which is not kept.
    hash: [u8; 23],
}

impl PasswordHash {
    /// The error says what is wrong after `the password of NAME`.
    pub(super) fn parse(text: &str) -> Result<PasswordHash, String> {
        let parts = || {
            let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|start| text.strip_prefix(start))?;
            let (cost, rest) = rest.split_once('$')?;
            let (salt, hash) = rest.split_at_checked(SALT_LETTERS)?;
            let cost = Some(cost).filter(|cost| cost.len() == 2)?.parse().ok()?;
            let decode = |text: &str| bcrypt::BASE_64.decode(text).ok();
            Some((cost, decode(salt)?.try_into().ok()?, decode(hash)?.try_into().ok()?))
        };
        match parts() {
            Some((cost, ..)) if cost > MAX_COST => Err(format!("has a cost of more than {MAX_COST}")),
            Some((cost, salt, hash)) if cost >= MIN_COST => Ok(PasswordHash { cost, salt, hash }),
            _ => Err("is not a bcrypt hash: make one with `htpasswd -nBC 10 NAME`".to_owned()),
        }
    }

    /// Takes time.
    fn matches(&self, password: &[u8]) -> bool {
        let mut key: Vec<u8> = password.iter().copied().chain([0]).collect();
        key.truncate(MAX_PASSWORD);
        let found = bcrypt::bcrypt(self.cost, self.salt, &key);
        // All bytes are compared, so that the time tells nothing.
        self.hash.iter().zip(found).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
    }
}

pub(super) struct Users {
    users: Vec<(String, PasswordHash)>,
    /// The user whose hash an unknown name is compared with.
    stand_in: RandomState,
    salt: [u8; 32],
    /// For each user, a digest of the password that was right: at most one, so it does not grow.
    verified: Mutex<HashMap<usize, [u8; 32]>>,
    checking: Arc<Semaphore>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("number", &self.users.len()).finish_non_exhaustive()
    }
}

impl Users {
    /// There is at least one user, and the hashes are valid.
    pub(super) fn new(users: Vec<(String, String)>) -> Users {
        let mut salt = [0; 32];
        // Without random numbers there is no TLS either. The digests do not leave this process.
        let _ = ring::default_provider().secure_random.fill(&mut salt);
        let users =
            users.into_iter().filter_map(|(name, hash)| Some((name, PasswordHash::parse(&hash).ok()?)));
        Users {
            users: users.collect(),
            stand_in: RandomState::new(),
            salt,
            verified: Mutex::default(),
            checking: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.users.iter().position(|(known, _)| known == name)
    }

    /// Whether this is the password of this user. An unknown name takes as long as a wrong password.
    pub(super) async fn admits(&self, name: &str, password: &[u8]) -> bool {
        let position = self.position(name);
        let digest = self.digest(position, password);
        if self.is_verified(position, &digest) {
            return true;
        }
        // Always the same for a name, as the hash of a user is.
        let index = position.unwrap_or_else(|| {
            let number = self.stand_in.hash_one(name) % self.users.len() as u64;
            usize::try_from(number).unwrap_or_default()
        });
        let hash = self.users[index].1.clone();
        let Ok(permit) = Arc::clone(&self.checking).acquire_owned().await else { return false };
        // A request that waited may be one of many of the same client.
        if self.is_verified(position, &digest) {
            return true;
        }
        let password = password.to_vec();
        let check = spawn_blocking(move || {
            let _permit = permit; // also if the client is gone, until the check ends
            hash.matches(&password)
        });
        let is_right = check.await.unwrap_or(false);
        match position {
            Some(position) if is_right => {
                lock(&self.verified).insert(position, digest);
                true
            }
            _ => false,
        }
    }

    fn is_verified(&self, position: Option<usize>, digest: &[u8; 32]) -> bool {
        position.is_some_and(|position| lock(&self.verified).get(&position) == Some(digest))
    }

    fn digest(&self, position: Option<usize>, password: &[u8]) -> [u8; 32] {
        let parts = [&self.salt[..], &position.unwrap_or(usize::MAX).to_le_bytes(), password];
        Sha256::digest(parts.concat()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the password `secret`, with the least cost by crypt(3).
    const SECRET: &str = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn only_the_right_password_of_a_known_user_is_admitted() {
        let users = Users::new(vec![("a".into(), SECRET.into())]);
        for (name, password, is_admitted) in [
            ("a", "wrong", false),
            ("b", "secret", false),
            ("a", "", false),
            ("a", "secret", true),
            ("a", "secret", true),
            ("a", "wrong", false),
            ("b", "secret", false),
            ("a", "secret\0", false),
        ] {
            assert_eq!(block_on(users.admits(name, password.as_bytes())), is_admitted, "{name} {password}");
        }
        assert_eq!(lock(&users.verified).len(), 1, "only what was right is remembered");
    }

    #[test]
    fn hashes_of_bcrypt_are_known_and_others_refused() {
        for start in ["$2a$", "$2b$", "$2y$"] {
            let hash =
                PasswordHash::parse(&SECRET.replace("$2y$", start)).unwrap_or_else(|why| panic!("{why}"));
            assert!(hash.matches(b"secret") && !hash.matches(b"Secret"));
        }
        for text in
            ["", "secret", "$2y$04$short", "$1$abc$def", &SECRET.replace("$04$", "$03$"), &SECRET[..59]]
        {
            assert!(PasswordHash::parse(text).is_err_and(|why| why.contains("htpasswd")), "{text}");
        }
        assert!(PasswordHash::parse(&SECRET.replace("$04$", "$17$")).is_err_and(|why| why.contains("cost")));
    }
}
