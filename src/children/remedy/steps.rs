//! The calls of each step. Everything here may hang.

use super::mounting::{
    HowToMount, Programs, descendants, inside, probe_repeatedly, succeeded, superblock_is_gone, topmost,
};
use super::process::report;
use super::record::{RecordedOutcome, StepRecords};
use super::wire::{self, CallError, CallRecord, Deed, Message, NotMade, Request, Said, Then};
use platform::collect::connection;
use platform::remedy::{
    ChangeWindow, FUSE_CONNECTIONS, NFS_SUPERBLOCKS, PinnedMount, Placeholder, PrivatePlace,
    continue_fuse_server, move_in,
};
use platform::{MountKey, MountNamespace, MountTable, Unmount, unmount};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// After the requests were failed, the tasks need a moment to leave the mount.
const UNMOUNT_TRIES: u32 = 20;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(50);

/// Why a step ended early.
enum Stop {
    NotMade(NotMade),
    Error(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Error(error)
    }
}

/// Makes the step, with its intent and outcome on record.
pub(super) fn carry_out(request: &Request, output: &OwnedFd) -> Said {
    let records = wire::path(&request.records);
    if let Some(word) = &request.word
        && let Err(error) = StepRecords::begin(&records, word, request.mount, &request.path, since_1970())
    {
        let not_made = Some(NotMade::NotRecorded(error.to_string()));
        return Said { not_made, ..Said::default() };
    }
    let mut step = Step {
        request,
        namespace: None,
        path: wire::path(&request.path),
        place: wire::path(&request.place),
        said: Said::default(),
    };
    match step.make(output) {
        Ok(()) => {}
        Err(Stop::NotMade(why)) => step.said.not_made = Some(why),
        Err(Stop::Error(error)) => step.said.error = Some(CallError::new(&error)),
    }
    if request.word.is_some() {
        let outcome = match &step.said {
            Said { not_made: Some(_), .. } => RecordedOutcome::NotMade,
            Said { error: Some(error), .. } => RecordedOutcome::Failed(error.clone()),
            Said { .. } => RecordedOutcome::Succeeded,
        };
        let _ = StepRecords::end(&records, outcome); // the intent is on record
    }
    step.said
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

struct Step<'r> {
    request: &'r Request,
    /// Of the mount, if it is not our own.
    namespace: Option<MountNamespace>,
    path: PathBuf,
    place: PathBuf,
    said: Said,
}

impl Step<'_> {
    fn make(&mut self, output: &OwnedFd) -> Result<(), Stop> {
        let deed = &self.request.deed;
        if let Some(namespace) = &self.request.namespace {
            self.namespace = Some(namespace.open()?);
            if !matches!(deed, Deed::Abort | Deed::Unmount) {
                return Err(io::Error::from(ErrorKind::Unsupported).into());
            }
        }
        match deed {
            Deed::Resume { pid } => self.resume(*pid),
            Deed::MountPrivately(how) => self.mount_privately(how, output),
            Deed::Placeholder => self.place_placeholder(),
            Deed::MoveBeneath { new } => self.move_beneath(MountKey(*new)),
            Deed::Abort => self.abort(),
            Deed::Unmount | Deed::Force | Deed::Detach => self.remove(),
            Deed::MoveIn { new } => self.move_in(MountKey(*new)),
            Deed::ShutDown => {
                let pinned = self.pin()?;
                Ok(self.shut_down(&pinned)?)
            }
            Deed::MountAgain(how) => self.mount_again(how, output),
            Deed::Probe { mount } => self.probe(MountKey(*mount)),
            Deed::Clear => Ok(PrivatePlace::remove(&self.place)?),
        }
    }

    /// Makes a call with its record, which is sent before and after it.
    fn call<T>(
        &self,
        call: &str,
        path: &Path,
        flags: &str,
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut record = CallRecord {
            at: since_1970(),
            call: call.to_owned(),
            mount: self.request.mount,
            path: wire::bytes(path),
            flags: flags.to_owned(),
            duration: None,
            error: None,
        };
        report(&Message::Calling(record.clone()));
        let start = Instant::now();
        let result = make();
        record.duration = Some(start.elapsed());
        record.error = result.as_ref().err().map(CallError::new);
        report(&Message::Called(record));
        result
    }

    /// Holds the dead mount, if the path leads to it.
    fn pin(&self) -> Result<PinnedMount, Stop> {
        let key = self.request.key();
        let pinned = match &self.namespace {
            None => PinnedMount::open(&self.path, key),
            Some(namespace) => namespace.pin(&self.path, key),
        };
        match pinned {
            Ok(Some(pinned)) => Ok(pinned),
            Ok(None) => Err(Stop::NotMade(NotMade::Replaced)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Stop::NotMade(NotMade::Replaced)),
            Err(error) => Err(error.into()),
        }
    }

    /// Nothing may be below it that was not there when the step was planned: that would go with it.
    fn check_below(&self) -> Result<(), Stop> {
        let table = match &self.namespace {
            None => MountTable::read()?,
            Some(namespace) => namespace.table()?,
        };
        let below: Vec<u64> = descendants(&table, self.request.key())
            .map(|mount| mount.key.0)
            .filter(|key| !self.request.below.contains(key))
            .collect();
        if below.is_empty() { Ok(()) } else { Err(Stop::NotMade(NotMade::MountsBelow(below))) }
    }

    fn resume(&self, pid: u32) -> Result<(), Stop> {
        let pinned = self.pin()?;
        let resume = || continue_fuse_server(pid, connection(pinned.device()));
        let process = PathBuf::from(format!("/proc/{pid}"));
        if self.call("pidfd_send_signal", &process, "SIGCONT", resume)? {
            Ok(())
        } else {
            Err(Stop::NotMade(NotMade::NotItsServer))
        }
    }

    /// Without the control file, by `MNT_FORCE`: it aborts the connection, and fails with EBUSY because the mount is held.
    fn abort(&self) -> Result<(), Stop> {
        let pinned = self.pin()?;
        let number = connection(pinned.device()).to_string();
        let file = Path::new(FUSE_CONNECTIONS).join(number).join("abort");
        match self.call("write", &file, "1", || pinned.abort_fuse(Path::new(FUSE_CONNECTIONS))) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.namespace.is_none() => {
                Ok(self.force_held(&pinned)?)
            }
            result => Ok(result?),
        }
    }

    fn force_held(&self, pinned: &PinnedMount) -> io::Result<()> {
        match self.call("umount2", &self.path, "MNT_FORCE", || pinned.force()) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(()),
            result => result,
        }
    }

    /// Takes the dead mount away. What takes its place moves in at once.
    fn remove(&mut self) -> Result<(), Stop> {
        let Then { move_in: new, shut_down } = self.request.then;
        let place = self.mount_point_in_place();
        if let Some(new) = new
            && PinnedMount::open(&place, MountKey(new))?.is_none()
        {
            return Err(Stop::NotMade(NotMade::PlaceChanged));
        }
        let mut held = None;
        match self.request.deed {
            Deed::Unmount => self.unmount_plainly()?,
            Deed::Force => self.force()?,
            _ => {
                let pinned = held.insert(self.pin()?);
                let window = self.detach(pinned)?;
                self.close(window);
            }
        }
        let moved = match new {
            Some(new) => {
                let moved = || move_in(&place, MountKey(new), &self.path);
                self.call("move_mount", &self.path, "", moved)
            }
            None => Ok(true),
        };
        if let Some(pinned) = held.filter(|_| shut_down) {
            self.said.shut_down = Some(self.shut_down(&pinned).map_err(|error| CallError::new(&error)));
        }
        if moved? { Ok(()) } else { Err(io::Error::other("the private place has another mount").into()) }
    }

    /// Fails the requests of exactly this mount, then unmounts by path, because a held mount is busy.
    fn force(&mut self) -> Result<(), Stop> {
        let pinned = self.pin()?;
        self.check_below()?;
        let window = ChangeWindow::open().ok();
        let forced = self.force_held(&pinned);
        self.close(window);
        drop(pinned);
        forced?;
        if self.said.detached.as_ref().is_some_and(|detached| !detached.is_empty()) {
            return Ok(()); // it can only have hit another one: the held one is busy
        }
        for _ in 1..UNMOUNT_TRIES {
            match self.unmount_plainly() {
                Err(Stop::Error(error)) if error.kind() == ErrorKind::ResourceBusy => {
                    thread::park_timeout(UNMOUNT_PAUSE);
                }
                result => return result,
            }
        }
        self.unmount_plainly()
    }

    /// By path: a mount that is held is busy. So it is checked last, and what was hit is seen afterwards.
    fn unmount_plainly(&mut self) -> Result<(), Stop> {
        self.check_below()?;
        // It shows our own mounts only.
        let window = self.namespace.is_none().then(|| ChangeWindow::open().ok()).flatten();
        let mut stop = None;
        let result = self.call("umount2", &self.path, "UMOUNT_NOFOLLOW", || match self.pin() {
            Ok(pinned) => {
                drop(pinned);
                match &self.namespace {
                    None => unmount(&self.path, Unmount::Plain),
                    Some(namespace) => namespace.unmount(&self.path),
                }
            }
            Err(why) => {
                stop = Some(why);
                Err(io::Error::other("not made: the path does not lead to the mount"))
            }
        });
        if let Some(stop) = stop {
            return Err(stop);
        }
        self.close(window);
        Ok(result?)
    }

    fn detach(&self, pinned: &PinnedMount) -> Result<Option<ChangeWindow>, Stop> {
        self.check_below()?;
        let window = ChangeWindow::open().ok();
        self.call("umount2", &self.path, "MNT_DETACH", || pinned.detach())?;
        Ok(window)
    }

    /// Notes which mounts left the table during a call.
    fn close(&mut self, window: Option<ChangeWindow>) {
        let ids = |keys: Vec<MountKey>| keys.into_iter().map(|key| key.0).collect();
        let changes = window.and_then(ChangeWindow::close);
        self.said.detached = changes.as_ref().map(|changes| ids(changes.detached()));
        let after = changes.map(|changes| changes.detached_after(self.request.key()));
        self.said.detached_after = ids(after.unwrap_or_default());
    }

    /// Only to a path that no mount has.
    fn move_in(&self, new: MountKey) -> Result<(), Stop> {
        match topmost(&MountTable::read()?, &self.path) {
            Some(there) if there.key == new => return Ok(()),
            Some(_) => return Err(Stop::NotMade(NotMade::Replaced)),
            None => {}
        }
        let place = self.mount_point_in_place();
        if self.call("move_mount", &self.path, "", || move_in(&place, new, &self.path))? {
            Ok(())
        } else {
            Err(Stop::NotMade(NotMade::PlaceChanged))
        }
    }

    fn shut_down(&self, pinned: &PinnedMount) -> io::Result<()> {
        let file = Path::new(NFS_SUPERBLOCKS).join(pinned.device().to_string()).join("shutdown");
        self.call("write", &file, "1", || pinned.shut_down_nfs(Path::new(NFS_SUPERBLOCKS)))
    }

    fn move_beneath(&self, new: MountKey) -> Result<(), Stop> {
        let pinned = self.pin()?;
        let place = self.mount_point_in_place();
        let move_in = || pinned.move_beneath(&place, new);
        if self.call("move_mount", &self.path, "MOVE_MOUNT_BENEATH", move_in)? {
            Ok(())
        } else {
            Err(Stop::NotMade(NotMade::PlaceChanged))
        }
    }

    fn mount_point_in_place(&self) -> PathBuf {
        inside(&self.place, &self.path)
    }

    fn make_place(&self) -> io::Result<PathBuf> {
        let make = || PrivatePlace::make(&self.place);
        self.call("mount", &self.place, "MS_NOSUID|MS_NODEV|MS_NOEXEC", make)?.mount_point(&self.path)
    }

    fn place_placeholder(&self) -> Result<(), Stop> {
        let inside = self.make_place()?;
        let placeholder = Placeholder::make()?;
        Ok(self.call("move_mount", &inside, "", || placeholder.attach(&inside))?)
    }

    fn mount_privately(&mut self, how: &HowToMount, output: &OwnedFd) -> Result<(), Stop> {
        let inside = self.make_place()?;
        self.run_mount_program(how, Some(&self.place), output)?;
        let mounted = topmost(&MountTable::read()?, &inside).ok_or_else(|| not_mounted(&inside))?;
        self.said.responses = probe_repeatedly(&mounted);
        Ok(())
    }

    fn mount_again(&mut self, how: &HowToMount, output: &OwnedFd) -> Result<(), Stop> {
        let table = MountTable::read()?;
        if table.get(self.request.key()).is_some() {
            return Err(Stop::NotMade(NotMade::Replaced)); // it is still there
        }
        self.said.old_is_gone = self.request.fuse.is_some_and(|device| superblock_is_gone(device, &table));
        Ok(self.run_mount_program(how, None, output)?)
    }

    fn run_mount_program(&self, how: &HowToMount, place: Option<&Path>, output: &OwnedFd) -> io::Result<()> {
        let (words, mut command) = Programs { output }.mount(how, &self.path, place)?;
        let line = words.join(OsStr::new(" "));
        // A server that it starts must not be spared as the daemon is.
        let _ = fs::write("/proc/self/oom_score_adj", "0");
        self.call("execve", Path::new(&line), "", || succeeded(command.status()?))
    }

    fn probe(&mut self, key: MountKey) -> Result<(), Stop> {
        let table = MountTable::read()?;
        let mount = table.get(key).ok_or(Stop::NotMade(NotMade::Replaced))?;
        self.said.responses = probe_repeatedly(mount);
        Ok(())
    }
}

fn not_mounted(path: &Path) -> io::Error {
    io::Error::other(format!("the program has mounted nothing at {}", path.display()))
}
