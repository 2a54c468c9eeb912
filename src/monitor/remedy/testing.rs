//! Facts for tests: a mount that may be remedied.

use super::{
    Ancestor, Kernel, Known, Machine, Mode, Origin, Plan, RemedyFacts, RemedySettings, Situation, Standing,
    plan,
};
use crate::monitor::testing::mount;
use platform::Mount;
use std::sync::Arc;

/// A unique id.
pub(crate) const KEY: u64 = 1 << 32;

pub(crate) fn facts(situation: Situation) -> RemedyFacts {
    let (fstype, device) = match situation {
        Situation::FuseServerGone | Situation::FuseHung | Situation::FuseStopped => ("fuse.sshfs", "nas:/x"),
        Situation::CephEvicted => ("ceph", "mon:/x"),
        Situation::Other => ("ext4", "/dev/sda1"),
        _ => ("nfs4", "nas:/x"),
    };
    let mount = Mount { fstype: fstype.into(), device: device.into(), ..mount(KEY, "/srv/nas") };
    of_mount(mount, situation)
}

pub(crate) fn of_mount(mount: Mount, situation: Situation) -> RemedyFacts {
    let nothing: Known<Vec<String>> = Ok(Vec::new());
    let facts = RemedyFacts {
        ancestors: vec![Ancestor { mountpoint: "/".into(), is_dead: false }],
        copies: Ok(Vec::new()),
        stacked: nothing,
        users: Ok(2),
        unwritten: Ok(4096),
        origin: Origin::Fstab { line: 3 },
        kernel: Kernel { has_unique_ids: true, moves_beneath: true, shuts_down_one_superblock: true },
        ..RemedyFacts::of(Arc::new(mount))
    };
    let facts = facts.supposing(situation, RemedySettings::AFTER);
    RemedyFacts { machine: Machine { has_systemd: true, ..facts.machine.clone() }, ..facts }
}

pub(crate) fn settings() -> RemedySettings {
    RemedySettings::new(Mode::Act)
}

pub(crate) fn plan_for(facts: RemedyFacts, settings: &RemedySettings) -> Plan {
    plan(Arc::new(facts), settings, &Standing::default())
}
