//! A monitor with a few mounts whose probes respond at once.

use super::{at, monitor, rendering};
use mount_status_monitor::children::collector::CollectRequest;
use mount_status_monitor::monitor::testing::mount;
use mount_status_monitor::monitor::{Effect, Input, Monitor, ProbeId, Time};
use mount_status_monitor::render::notices;
use platform::{Call, DeviceNumber, Errno, Mount, MountTable, ProbeOutcome, TableUpdate, Usage};
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of effects that one input may have: far more than there are mounts.
const MAX_EFFECTS: usize = 10_000;

pub(super) struct Machine {
    pub(super) monitor: Monitor,
}

/// Mounts of every kind: local, NFS with a bind mount, FUSE with a mount inside, SMB.
pub(super) fn mounts() -> Vec<Mount> {
    let new = |key: u64, path: &str, fstype: &str, device: &str, super_options: &str| {
        let mut mount = mount(key, path);
        (mount.fstype, mount.device) = (fstype.into(), device.into());
        mount.super_options = super_options.into();
        mount.parent = u32::from(key > 1);
        mount
    };
    let nfs = new(2, "/nfs", "nfs4", "server:/export", "rw,vers=4.2,addr=192.0.2.1");
    let mut bind = new(3, "/bind", "nfs4", "server:/export", "rw,vers=4.2,addr=192.0.2.1");
    bind.device_number = nfs.device_number;
    let fuse = new(4, "/fuse", "fuse.sshfs", "vault:/x", "rw,user_id=0,group_id=0,allow_other");
    let mut inner = new(5, "/fuse/inner", "tmpfs", "none", "rw");
    inner.parent = fuse.id;
    let smb = new(6, "/smb", "cifs", "//nas/share", "rw,addr=192.0.2.2");
    vec![new(1, "/", "ext4", "/dev/vda", "rw"), nfs, bind, fuse, inner, smb]
}

pub(super) fn table(mounts: Vec<Mount>) -> MountTable {
    MountTable::new(mounts.into_iter().map(Arc::new).collect())
}

impl Machine {
    pub(super) fn new() -> Machine {
        let mut machine = Machine { monitor: monitor() };
        machine.handle(at(0), Input::TableUpdate(TableUpdate::Whole(table(mounts()))));
        machine
    }

    /// The NFS mount fails, and evidence about it is being collected.
    pub(super) fn kill_one(&mut self) -> DeviceNumber {
        let nfs = &mounts()[1];
        let later = at(25_000);
        self.monitor.settle(later);
        let mut probe = None;
        while let Some(effect) = self.monitor.next_effect() {
            match effect {
                Effect::StartProbe { probe: id, target } if target.key == nfs.key => probe = Some(id),
                Effect::StartProbe { probe, .. } => self.respond(later, probe),
                _ => {}
            }
        }
        let outcome = ProbeOutcome::Failed { call: Call::Statfs, errno: Errno::EIO };
        let probe = probe.expect("every mount is probed");
        self.handle(later, Input::ProbeResponded { probe, outcome, took: Duration::ZERO });
        nfs.device_number
    }

    pub(super) fn handle(&mut self, now: Time, input: Input) {
        self.monitor.handle(now, input);
        self.settle(now);
    }

    fn settle(&mut self, now: Time) {
        self.monitor.settle(now);
        let mut effects = 0;
        while let Some(effect) = self.monitor.next_effect() {
            effects += 1;
            assert!(effects < MAX_EFFECTS, "one input has no end of effects: {effect:?}");
            match effect {
                Effect::StartProbe { probe, .. } => {
                    self.respond(now, probe);
                    self.monitor.settle(now);
                }
                Effect::CollectEvidence { mount, mount_ids, only_hung, server_timeout, .. } => {
                    drop(CollectRequest::new(&mount, &mount_ids, only_hung, server_timeout));
                }
                Effect::Report(event) => rendering::check_event(event),
                Effect::Notify(notice) => rendering::check_notice(&notices::of_user(&notice)),
                Effect::ConfirmHang { .. } | Effect::AbandonProbe { .. } => {}
            }
        }
        let next = self.monitor.next_deadline();
        assert!(next.is_none_or(|next| next > now), "a deadline that is not in the future: {next:?}");
    }

    fn respond(&mut self, now: Time, probe: ProbeId) {
        let outcome = ProbeOutcome::Alive(Usage::default());
        self.monitor.handle(now, Input::ProbeResponded { probe, outcome, took: Duration::ZERO });
    }

    pub(super) fn finish(&mut self, now: Time) {
        self.settle(now);
        rendering::check_status(self.monitor.status(), now);
    }
}
