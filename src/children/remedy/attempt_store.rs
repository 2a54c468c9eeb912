//! The attempts since the machine was started, in one file that the daemon and commands share. It is read, changed and
//! replaced under a lock; locks of servers are taken under the same lock, so its holder finds each server either free or
//! in use by an attempt that is in the file.

use super::record::read_uptime;
use crate::monitor::remedy::Attempts;
use platform::remedy::RemedyLock;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Of the file; another program version does not read it.
const VERSION: u32 = 1;
const FILE: &str = "attempts.json";
/// All that [`Attempts`] keeps, with paths of the longest kind, is less.
const MAX_BYTES: u64 = 8 << 20;
/// For the lock of the file, which others hold for milliseconds unless they are stopped.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

/// The file, and the locks of servers and of the machine beside it.
#[derive(Clone, Debug)]
pub(super) struct AttemptStore {
    directory: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    version: u32,
    attempts: Attempts,
}

impl AttemptStore {
    pub(super) fn new(directory: &Path) -> AttemptStore {
        AttemptStore { directory: directory.to_owned() }
    }

    /// Changes the attempts, at this time since the start of the machine. Those whose process has ended count as failed
    /// before.
    ///
    /// # Errors
    /// It is not known what was done, or the change could not be kept.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Attempts, Duration) -> T) -> io::Result<T> {
        let _lock = self.lock_file()?;
        let file = self.directory.join(FILE);
        let before = read(&file).map_err(|error| self.unknown(&error))?;
        let (mut attempts, now) = (before.clone(), read_uptime()?);
        self.end_abandoned(&mut attempts, now)?;
        let result = change(&mut attempts, now);
        if attempts != before {
            write(&file, &Stored { version: VERSION, attempts })?;
        }
        Ok(result)
    }

    /// The lock of a server; `None` if a process acts on a mount of it.
    pub(super) fn lock_server(&self, server: &[u8]) -> io::Result<Option<RemedyLock>> {
        self.lock(&file_name(server))
    }

    /// One of the places of the machine for attempts; `None` if all are taken.
    pub(super) fn lock_slot(&self, limit: usize) -> io::Result<Option<RemedyLock>> {
        (0..limit).find_map(|slot| self.lock(&format!("slot-{slot}")).transpose()).transpose()
    }

    fn lock(&self, name: &str) -> io::Result<Option<RemedyLock>> {
        RemedyLock::try_acquire(&self.directory.join(format!("{name}.lock")))
    }

    fn lock_file(&self) -> io::Result<RemedyLock> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            if let Some(lock) = self.lock("attempts")? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "another process, which may be stopped, holds the file of attempts",
                ));
            }
            thread::park_timeout(LOCK_INTERVAL);
        }
    }

    /// An attempt has the lock of its server from before it is in the file until it is out of it, and so has each child.
    fn end_abandoned(&self, attempts: &mut Attempts, now: Duration) -> io::Result<()> {
        let servers: Vec<Vec<u8>> = attempts.busy_servers().map(<[u8]>::to_vec).collect();
        for server in servers {
            if self.lock_server(&server)?.is_some() {
                attempts.server_is_free(now, &server);
            }
        }
        Ok(())
    }

    fn unknown(&self, error: &io::Error) -> io::Error {
        let file = self.directory.join(FILE);
        let text = format!(
            "it is not known what earlier remedies did: {} cannot be read ({error}); look at the mounts, and remove it to \
             permit remedies again",
            file.display()
        );
        io::Error::new(error.kind(), text)
    }
}

/// A name of bounded length without special characters.
pub(super) fn file_name(server: &[u8]) -> String {
    Sha256::digest(server).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn read(file: &Path) -> io::Result<Attempts> {
    let mut text = Vec::new();
    match File::open(file) {
        Ok(file) => file.take(MAX_BYTES).read_to_end(&mut text)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Attempts::default()),
        Err(error) => return Err(error),
    };
    let stored: Stored = serde_json::from_slice(&text)?;
    if stored.version == VERSION {
        Ok(stored.attempts)
    } else {
        Err(io::Error::new(ErrorKind::InvalidData, "another version of the program has written it"))
    }
}

/// Not synchronized to a disk: what was done ends with the machine, and so does this file.
fn write(file: &Path, stored: &Stored) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, serde_json::to_vec(stored)?)?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::remedy::testing::{facts, plan_for, settings};
    use crate::monitor::remedy::{Guard, Initiator, Outcome, Situation};

    const DAEMON: Initiator = Initiator::Daemon;

    fn directory() -> (tempfile::TempDir, AttemptStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = AttemptStore::new(directory.path());
        (directory, store)
    }

    /// As the next process finds it.
    fn guards(store: &AttemptStore, by: Initiator) -> Vec<Guard> {
        let facts = facts(Situation::Stale);
        store.update(|attempts, now| attempts.standing(now, &facts, &settings(), by).guards).unwrap()
    }

    #[test]
    fn process_that_has_ended_has_failed_and_none_that_still_acts() {
        let (_directory, store) = directory();
        let plan = plan_for(facts(Situation::Stale), &settings());
        let server = plan.facts().server_id();
        let lock = store.lock_server(&server).unwrap().unwrap();
        store.update(|attempts, now| attempts.begin(now, &plan, &settings(), DAEMON)).unwrap().unwrap();
        store.update(|attempts, _| attempts.step_begins(plan.mount().key, plan.steps()[0].kind)).unwrap();
        assert_eq!(guards(&store, DAEMON), [Guard::ServerBusy]);
        assert_eq!(guards(&store, Initiator::Operator), [Guard::ServerBusy]);
        drop(lock);
        assert_eq!(guards(&store, DAEMON), []);
        let made =
            store.update(|attempts, now| attempts.standing(now, plan.facts(), &settings(), DAEMON).made);
        assert_eq!(made.unwrap(), [plan.steps()[0].kind], "it may have been made");
        assert_eq!(store.update(|attempts, _| attempts.busy_servers().count()).unwrap(), 0);
    }

    #[test]
    fn stranded_child_blocks_its_server_as_long_as_it_has_the_lock() {
        let (_directory, store) = directory();
        let plan = plan_for(facts(Situation::Stale), &settings());
        let lock = store.lock_server(&plan.facts().server_id()).unwrap().unwrap();
        store.update(|attempts, now| attempts.begin(now, &plan, &settings(), DAEMON)).unwrap().unwrap();
        store.update(|attempts, now| attempts.end(now, plan.mount().key, Outcome::Stranded)).unwrap();
        assert_eq!(guards(&store, DAEMON), [Guard::Stranded]);
        drop(lock);
        assert_eq!(guards(&store, DAEMON), []);
    }

    #[test]
    fn wrong_hit_forbids_until_the_operator_resets_it() {
        let (_directory, store) = directory();
        store.update(|attempts, _| attempts.another_mount_was_hit()).unwrap();
        assert_eq!(guards(&store, Initiator::Operator), [Guard::WrongHit]);
        assert!(store.update(|attempts, _| attempts.reset("/x".as_ref())).unwrap());
        assert_eq!(guards(&store, Initiator::Operator), []);
        assert!(!store.update(|attempts, _| attempts.reset("/x".as_ref())).unwrap());
    }

    #[test]
    fn file_that_cannot_be_read_forbids_and_stays() {
        let (directory, store) = directory();
        let file = directory.path().join(FILE);
        for text in ["", "{}", r#"{"version":2,"attempts":{}}"#, "{\"version\":1,"] {
            fs::write(&file, text).unwrap();
            let error = store.update(|_, _| ()).unwrap_err().to_string();
            assert!(error.contains("attempts.json") && error.contains("remove it"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        fs::remove_file(&file).unwrap();
        store.update(|attempts, _| attempts.another_mount_was_hit()).unwrap();
        let kept = fs::read_to_string(&file).unwrap();
        fs::write(&file, kept.replace("\"version\":1", "\"version\":2")).unwrap();
        let error = store.update(|_, _| ()).unwrap_err().to_string();
        assert!(error.contains("another version"), "{error}");
    }

    #[test]
    fn changes_of_several_processes_are_all_kept() {
        let (directory, _) = directory();
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let store = AttemptStore::new(directory.path());
                thread::spawn(move || {
                    for n in 0..10u64 {
                        let mut mount = (*facts(Situation::Stale).mount).clone();
                        mount.mountpoint = format!("/srv/{thread}/{n}").as_str().into();
                        mount.key.0 += thread * 100 + n;
                        let facts = crate::monitor::remedy::testing::of_mount(mount, Situation::Stale);
                        let plan = plan_for(facts, &settings());
                        let key = plan.mount().key;
                        store
                            .update(|attempts, now| {
                                attempts.begin(now, &plan, &settings(), DAEMON).unwrap();
                                attempts.end(now, key, Outcome::Failed);
                            })
                            .unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let stored: serde_json::Value =
            serde_json::from_slice(&fs::read(directory.path().join(FILE)).unwrap()).unwrap();
        assert_eq!(
            (&stored["attempts"]["total"], stored["attempts"]["mounts"].as_array().unwrap().len()),
            (&40.into(), 40)
        );
    }

    #[test]
    fn servers_have_files_of_their_own() {
        let name = file_name(b"nas/../x");
        assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        assert_ne!(name, file_name(b"nas"));
    }
}
